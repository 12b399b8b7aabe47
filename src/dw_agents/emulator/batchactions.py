"""What can be done to a batch: cancel, retry, delete.

Owns: ``POST /batches/{id}/cancel``, ``/retry``, ``/retry-requests`` and ``DELETE /batches/{id}``. Must not import
the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dw_agents.emulator.batches import batch_of, shown
from dw_agents.emulator.batchstore import CANCELLED, FAILED
from dw_agents.emulator.errors import Refused, Reply, text_reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator.batchstore import Batch
    from dw_agents.emulator.call import Call

__all__ = ["cancel", "delete", "retry", "retry_requests"]


class _Selection(msgspec.Struct):
    request_ids: list[str]


async def cancel(call: Call) -> Reply:
    """Answer ``POST /batches/{id}/cancel``: a completed batch is turned to ``cancelled`` too; OpenAI refuses that."""
    batch, service = batch_of(call), call.service
    if service.openai and not batch.unfinished:
        raise Refused(text_reply(409, f"Cannot cancel a batch with status '{batch.state}'."))
    service.runner.cancel(batch)
    return shown(service, batch)


async def retry(call: Call) -> Reply:
    """Answer ``POST /batches/{id}/retry``: every failed and cancelled line runs again."""
    batch = batch_of(call)
    return _again(call, batch, [one for one, state in enumerate(batch.lines) if state in (FAILED, CANCELLED)])


async def retry_requests(call: Call) -> Reply:
    """Answer ``POST /batches/{id}/retry-requests``: the lines named by their ids run again."""
    batch = batch_of(call)
    try:
        wanted = msgspec.json.decode(call.body, type=_Selection).request_ids
    except msgspec.DecodeError as error:
        raise Refused(text_reply(422, f"Failed to deserialize the JSON body into the target type: {error}")) from None
    numbers = {batch.line_number(ident) for ident in wanted}
    return _again(call, batch, sorted(n for n in numbers if n is not None and batch.lines[n] in (FAILED, CANCELLED)))


def _again(call: Call, batch: Batch, numbers: Sequence[int]) -> Reply:
    if not numbers or batch.input is None:
        raise Refused(text_reply(400, "Nothing to retry: this batch has no failed or cancelled requests"))
    call.service.runner.retry(batch, numbers)
    return shown(call.service, batch)


async def delete(call: Call) -> Reply:
    """Answer ``DELETE /batches/{id}``: it is hidden, and stopped."""
    batch = batch_of(call)
    if batch.unfinished:
        call.service.runner.cancel(batch)
    batch.deleted = True
    return Reply(204, b"", "")
