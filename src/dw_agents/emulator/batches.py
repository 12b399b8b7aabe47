"""Batches: create one and look at one.

Owns: ``POST /batches`` with its checks and ``GET /batches/{id}``, and finding the batch that a path names. Must not
import the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dw_agents.emulator.batchobjects import batch_object
from dw_agents.emulator.batchrun import CREATION
from dw_agents.emulator.batchstore import Batch
from dw_agents.emulator.clock import window_seconds
from dw_agents.emulator.errors import (
    Refused,
    Reply,
    balance_too_low,
    json_reply,
    object_not_found,
    text_reply,
    too_many_requests,
)
from dw_agents.emulator.filestore import StoredFile, new_object_id, plain_uuid
from dw_agents.emulator.lines import URLS
from dw_agents.emulator.openai_profile import ENDPOINTS, metadata_problem

if TYPE_CHECKING:
    from dw_agents.emulator.accounts import Account
    from dw_agents.emulator.call import Call
    from dw_agents.emulator.filestore import Purpose
    from dw_agents.emulator.service import Service

__all__ = ["batch_of", "create", "retrieve", "shown"]

_OPENAI_WINDOWS = ("24h",)
_RESULTS: tuple[Purpose, Purpose] = ("batch_output", "batch_error")
_RESERVED = frozenset(
    {"created_by_email", "context_name", "context_type", "request_source", "created_by", "dw_user_agent"}
)


class _Creation(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


def shown(service: Service, batch: Batch) -> Reply:
    """A batch as the body of a reply."""
    return json_reply(200, batch_object(batch, service.clock.now(), openai=service.openai))


def batch_of(call: Call, *, replica: bool = False) -> Batch:
    """The caller's batch that the path names.

    Args:
        call: the request.
        replica: read where new batches appear late.

    Raises:
        Refused: 401, 400 for an id that is none, 404.
    """
    account, service = call.filer(), call.service
    if not service.openai and plain_uuid(call.ident) is None:
        raise Refused(text_reply(400, "Invalid batch ID format"))
    lag = service.settings.visible_after if replica else 0.0
    batch = service.batches.find(call.ident, account.owner, visible_after=lag)
    if batch is None:
        raise Refused(object_not_found("Batch", call.ident))
    return batch


async def retrieve(call: Call) -> Reply:
    """Answer ``GET /batches/{id}``."""
    return shown(call.service, batch_of(call, replica=True))


async def create(call: Call) -> Reply:
    """Answer ``POST /batches``: 201 here, 200 at OpenAI."""
    account, service = call.filer(), call.service
    if not account.batch_role:
        raise Refused(text_reply(403, "Insufficient permissions: creating batches needs the role BatchAPIUser"))
    asked = _read(call)
    _check(service, asked)
    source = _source(call, account, asked)
    window = window_seconds(asked.completion_window)
    if not service.openai:
        _check_capacity(service, account, source, asked.completion_window)
    now = service.clock.now()
    ident = new_object_id("batch", openai=service.openai)
    output, errors = (_empty_file(service, account, ident, purpose) for purpose in _RESULTS)
    faults = service.faults.for_batch(CREATION, call.path, call.body, now) if service.faults else []
    for fault in faults:
        service.counters.fired(fault.kind)
    batch = Batch(
        ident,
        source=source,
        output=output,
        errors=errors,
        endpoint=asked.endpoint,
        window=asked.completion_window,
        metadata=_kept(asked.metadata) if not service.openai else asked.metadata,
        created=now,
        expires=now + window,
        faults=faults,
    )
    service.batches.add(batch)
    if not service.openai:
        service.files.add(output)
        service.files.add(errors)
    service.counters.batch_created(len(source.spool))
    service.runner.start(batch)
    reply = shown(service, batch)
    reply.status = 200 if service.openai else 201
    return reply


def _empty_file(service: Service, account: Account, batch: str, purpose: Purpose) -> StoredFile:
    return StoredFile(
        new_object_id("file", openai=service.openai),
        owner=account.owner,
        filename=f"{purpose}_{batch}.jsonl",
        purpose=purpose,
        created=service.clock.now(),
    )


def _read(call: Call) -> _Creation:
    if not call.headers.get("Content-Type", "").startswith("application/json"):
        raise Refused(text_reply(415, "Expected request with `Content-Type: application/json`"))
    try:
        return msgspec.json.decode(call.body, type=_Creation)
    except msgspec.ValidationError as error:
        status = 400 if call.service.openai else 422
        message = f"Failed to deserialize the JSON body into the target type: {error}"
        raise Refused(text_reply(status, message)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(text_reply(400, f"Failed to parse the request body as JSON: {error}")) from None


def _check(service: Service, asked: _Creation) -> None:
    windows = _OPENAI_WINDOWS if service.openai else tuple(service.settings.completion_windows)
    if asked.completion_window not in windows:
        allowed = ", ".join(windows)
        raise Refused(text_reply(400, f"Unsupported completion_window. Allowed values: {allowed}"))
    endpoints = ENDPOINTS if service.openai else URLS
    if asked.endpoint not in endpoints:
        message = f"Unsupported endpoint '{asked.endpoint}'. Supported: {', '.join(endpoints)}"
        raise Refused(text_reply(400, message))
    problem = metadata_problem(asked.metadata or {}) if service.openai else None
    if problem is not None:
        raise Refused(text_reply(400, problem))
    if not service.openai and plain_uuid(asked.input_file_id) is None:
        raise Refused(text_reply(400, "Invalid input_file_id format"))


def _source(call: Call, account: Account, asked: _Creation) -> StoredFile:
    """The input file, once the account may use it."""
    service = call.service
    if account.in_debt:
        raise Refused(balance_too_low())
    source = service.files.get(asked.input_file_id)
    if source is None or (service.openai and source.owner != account.owner):
        raise Refused(object_not_found("File", asked.input_file_id))
    if source.owner != account.owner:
        raise Refused(text_reply(403, "Insufficient permissions: this file belongs to someone else"))
    for model in source.models:
        if not service.knows_model(model) or not account.may_use(model):
            raise Refused(text_reply(400, f"Model '{model}' is not available any more"))
    return source


def _check_capacity(service: Service, account: Account, source: StoredFile, window: str) -> None:
    most = service.settings.batch_capacity
    full: list[str] = []
    for model, count in source.models.items():
        waiting = sum(batch.waiting(model) for batch in service.batches.unfinished())
        if most is not None and waiting + count > most:
            full.append(model)
    if full:
        message = (
            f"Insufficient capacity for {window} completion window. The following models are currently at capacity: "
            f"{', '.join(full)}. Try again later or use a longer completion window."
        )
        raise Refused(too_many_requests(message))
    if not account.take_batch(len(source.spool), window_seconds(window), service.clock.now()):
        message = f"Unverified accounts may submit {account.unverified_limit} requests per hour of the window."
        raise Refused(too_many_requests(message))


def _kept(metadata: dict[str, str] | None) -> dict[str, str] | None:
    """The metadata without the names that the service keeps for itself."""
    if metadata is None:
        return None
    return {name: value for name, value in metadata.items() if name.lower().replace("-", "_") not in _RESERVED}
