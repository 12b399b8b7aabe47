"""``GET /files/{id}/content``: what a file holds by now, whole or in pages.

Owns: the query, the headers and their oddities. Must not import the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dw_agents.emulator.call import Download
from dw_agents.emulator.errors import Refused, text_reply
from dw_agents.emulator.files import file_of
from dw_agents.emulator.paging import MOST, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator.call import Call
    from dw_agents.emulator.filestore import StoredFile

__all__ = ["retrieve"]


class _Named(msgspec.Struct, gc=False):
    custom_id: str = ""


_named = msgspec.json.Decoder(_Named)


async def retrieve(call: Call) -> Download:
    """Answer ``GET /files/{id}/content``; ``offset`` is not a parameter here, and is ignored like any other."""
    file = file_of(call)
    if call.service.openai:
        size = file.spool.size
        return Download(file.spool.chunks(), size, {"Content-Type": "application/octet-stream"})
    query = call.query()
    skip = number(query, "skip", 0)
    if skip < 0:
        raise Refused(text_reply(400, "Failed to deserialize query string: skip: invalid digit found in string"))
    limit = min(max(number(query, "limit", 0), 1), MOST) if "limit" in query else _page_of_a_fault(call)
    search = query.get("search", "")
    headers = {"Content-Type": "application/x-ndjson"}
    unfinished = file.batch is not None and file.batch.unfinished
    if limit is None:
        headers["X-Incomplete"] = _flag(unfinished)
        if file.batch is not None and not search:
            # Counted before the first line is read: what is sent can be more, or less.
            headers["X-Last-Line"] = str(max(skip, _counted(file)))
        if search:
            chosen = _matching(file, search, skip)
            return Download((file.spool.line(one) + b"\n" for one in chosen), file.spool.size, headers)
        return Download(file.spool.chunks(skip), file.spool.size, headers)
    matching = _matching(file, search, skip)
    page = [one for one, _ in zip(matching, range(limit), strict=False)]
    more = next(matching, None) is not None
    headers["X-Incomplete"] = _flag(more or unfinished)
    headers["X-Last-Line"] = str(skip + len(page))
    body = [file.spool.line(one) + b"\n" for one in page]
    return Download(iter(body), sum(map(len, body)), headers)


def _page_of_a_fault(call: Call) -> int | None:
    """Lines per answer where a fault pages what nobody asked to page."""
    service = call.service
    if not service.faults:
        return None
    struck = service.faults.for_download(call.route, call.path, service.clock.now())
    for fault in struck:
        service.counters.fired(fault.kind)
    return struck[0].page if struck else None


def _counted(file: StoredFile) -> int:
    batch = file.batch
    if batch is None:
        return len(file.spool)
    return batch.completed if file is batch.output else batch.failed


def _matching(file: StoredFile, search: str, skip: int) -> Iterator[int]:
    """The numbers of the lines whose ``custom_id`` holds ``search``, without the first ``skip`` of them."""
    wanted, spool = search.lower(), file.spool
    if not wanted:
        yield from range(min(skip, len(spool)), len(spool))
        return
    for one in range(len(spool)):
        try:
            found = wanted in _named.decode(spool.line(one)).custom_id.lower()
        except msgspec.DecodeError:
            found = False
        if found and skip:
            skip -= 1
        elif found:
            yield one


def _flag(value: bool) -> str:
    return "true" if value else "false"
