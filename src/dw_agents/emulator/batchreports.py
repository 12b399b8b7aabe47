"""Looking over batches: the list, the results of one in input order, and its analytics.

Owns: ``GET /batches``, ``GET /batches/{id}/results`` and ``/analytics``. Must not import the app.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from dw_agents.emulator.batches import batch_of
from dw_agents.emulator.batchobjects import analytics_object, batch_object
from dw_agents.emulator.batchstore import COMPLETED, FAILED, RUNNING, mentions
from dw_agents.emulator.call import Download
from dw_agents.emulator.errors import Refused, Reply, json_reply, text_reply
from dw_agents.emulator.lines import parse
from dw_agents.emulator.paging import MOST, listing, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator.batchstore import Batch
    from dw_agents.emulator.call import Call

__all__ = ["analytics", "list_batches", "results"]

_FILTERS = ("in_progress", "completed", "failed", "cancelled", "expired")
_LINE_STATES = ("completed", "failed", "pending", "in_progress")


async def list_batches(call: Call) -> Reply:
    """Answer ``GET /batches``: newest first. OpenAI knows ``after`` and ``limit`` alone."""
    account, query, service = call.filer(), call.query(), call.service
    now, openai = service.clock.now(), service.openai
    found = service.batches.listed(account.owner, visible_after=service.settings.visible_after)
    if not openai:
        found = _filtered(found, query, now)
    with_analytics = not openai and "analytics" in query.get("include", "").split(",")

    def show(batch: Batch) -> dict[str, Any]:
        told = batch_object(batch, now, openai=openai)
        return {**told, "analytics": analytics_object(batch)} if with_analytics else told

    return json_reply(200, listing(query, found, show))


def _filtered(found: list[Batch], query: dict[str, str], now: float) -> list[Batch]:
    status, search = query.get("status"), query.get("search", "")
    if status is not None and status not in _FILTERS:
        raise Refused(text_reply(400, f"Invalid status '{status}'. Allowed: {', '.join(_FILTERS)}"))
    after, before = _moment(query, "created_after"), _moment(query, "created_before")
    windows = query["completion_window"].split(",") if "completion_window" in query else None
    chosen = [
        batch
        for batch in found
        if mentions(batch, search)
        and (status is None or _has_status(batch, status, now))
        and (after is None or batch.created >= after)
        and (before is None or batch.created <= before)
        and (windows is None or batch.window in windows)
    ]
    if query.get("active_first") == "true":
        chosen.sort(key=lambda batch: not batch.unfinished)
    return chosen


def _has_status(batch: Batch, status: str, now: float) -> bool:
    if status == "expired":
        return now >= batch.expires
    return batch.unfinished if status == "in_progress" else batch.state == status


def _moment(query: dict[str, str], name: str) -> float | None:
    if name not in query:
        return None
    try:
        # A plus sign in a query is a space; the offset of a time is written with one all the same.
        moment = datetime.fromisoformat(query[name].replace(" ", "+"))
    except ValueError:
        raise Refused(text_reply(400, f"Failed to deserialize query string: {name}: expected ISO 8601")) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def analytics(call: Call) -> Reply:
    """Answer ``GET /batches/{id}/analytics``."""
    return json_reply(200, analytics_object(batch_of(call)))


async def results(call: Call) -> Download:
    """Answer ``GET /batches/{id}/results``: a line for each request, in the order of the input file."""
    batch, query = batch_of(call), call.query()
    if batch.input is None:
        raise Refused(text_reply(404, "The input file of this batch was deleted"))
    status, search = query.get("status"), query.get("search", "").lower()
    if status is not None and status not in _LINE_STATES:
        raise Refused(text_reply(400, f"Invalid status '{status}'. Allowed: {', '.join(_LINE_STATES)}"))
    skip = max(0, number(query, "skip", 0))
    limit = min(max(number(query, "limit", 0), 1), MOST) if "limit" in query else None
    rows = [
        one
        for one in range(batch.total)
        if (status is None or _line_state(batch, one) == status)
        and (not search or search in parse(batch.input.spool.line(one)).custom_id.lower())
    ]
    page = rows[skip:] if limit is None else rows[skip : skip + limit]
    incomplete = batch.unfinished or len(rows) > skip + len(page)
    headers = {
        "Content-Type": "application/x-ndjson",
        "X-Incomplete": "true" if incomplete else "false",
        "X-Last-Line": str(skip + len(page)),
    }
    return Download(_result_lines(batch, page), batch.input.spool.size + batch.output.spool.size, headers)


def _line_state(batch: Batch, one: int) -> str:
    # A cancelled line shows as if it were still to come.
    return {COMPLETED: "completed", FAILED: "failed", RUNNING: "in_progress"}.get(batch.lines[one], "pending")


def _result_lines(batch: Batch, page: list[int]) -> Iterator[bytes]:
    for one in page:
        if batch.input is None:
            return
        request = parse(batch.input.spool.line(one))
        answer, error = _result(batch, one)
        told = {
            "id": batch.line_id(one),
            "custom_id": request.custom_id,
            "model": request.body.get("model"),
            "input_body": request.body,
            "response_body": answer,
            "error": error,
            "status": _line_state(batch, one),
        }
        yield msgspec.json.encode(told) + b"\n"


def _result(batch: Batch, one: int) -> tuple[Any, str | None]:
    row, state = batch.rows[one], batch.lines[one]
    if row < 0 or state not in (COMPLETED, FAILED):
        return None, None
    try:
        line = msgspec.json.decode((batch.output if state == COMPLETED else batch.errors).spool.line(row))
    except msgspec.DecodeError:
        return None, None
    if state == FAILED:
        return None, line["error"]["message"]
    return line["response"]["body"], None
