"""Stored files: list, read, delete, estimate.

Owns: ``GET /files``, ``GET`` and ``DELETE /files/{id}``, ``GET /files/{id}/cost-estimate``, and finding the file
that a path names. Must not import the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dw_agents.emulator.batchobjects import file_object
from dw_agents.emulator.errors import Refused, Reply, json_reply, object_not_found, text_reply
from dw_agents.emulator.filestore import plain_uuid
from dw_agents.emulator.paging import listing

if TYPE_CHECKING:
    from dw_agents.emulator.call import Call
    from dw_agents.emulator.filestore import StoredFile

__all__ = ["delete", "estimate", "file_of", "list_files", "retrieve"]

_BYTES_PER_TOKEN = 4


def file_of(call: Call) -> StoredFile:
    """The caller's file that the path names.

    Raises:
        Refused: 401, 400 for an id that is none, 404.
    """
    account = call.filer()
    if not call.service.openai and plain_uuid(call.ident) is None:
        raise Refused(text_reply(400, "Invalid file ID format"))
    file = call.service.files.get(call.ident)
    if file is None or file.owner != account.owner:
        raise Refused(object_not_found("File", call.ident))
    return file


async def list_files(call: Call) -> Reply:
    """Answer ``GET /files``: newest first; OpenAI has no ``search``."""
    account, query, service = call.filer(), call.query(), call.service
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise Refused(text_reply(400, "Failed to deserialize query string: order: expected asc or desc"))
    search = "" if service.openai else query.get("search", "").lower()
    purpose = query.get("purpose")
    found = [
        file
        for file in service.files.all()
        if file.owner == account.owner
        and (purpose is None or file.purpose == purpose)
        and search in file.filename.lower()
    ]
    if order == "desc":
        found.reverse()
    now = service.clock.now()
    return json_reply(200, listing(query, found, lambda file: file_object(file, now, openai=service.openai)))


async def retrieve(call: Call) -> Reply:
    """Answer ``GET /files/{id}``."""
    file = file_of(call)
    return json_reply(200, file_object(file, call.service.clock.now(), openai=call.service.openai))


async def delete(call: Call) -> Reply:
    """Answer ``DELETE /files/{id}``: batches that still read it are cancelled, and stay without an input."""
    file, service = file_of(call), call.service
    for batch in service.batches.all():
        if batch.input is file:
            if batch.unfinished:
                service.runner.cancel(batch)
            batch.input = None
    service.files.remove(file)
    return json_reply(200, {"id": file.id, "object": "file", "deleted": True})


async def estimate(call: Call) -> Reply:
    """Answer ``GET /files/{id}/cost-estimate``: tokens by bytes; prices are not set here, so the cost is zero."""
    file = file_of(call)
    lines = len(file.spool)
    tokens = file.spool.size // _BYTES_PER_TOKEN
    models = [
        {
            "model": model,
            "request_count": count,
            "estimated_input_tokens": tokens * count // max(1, lines),
            "estimated_output_tokens": 0,
            "estimated_cost": "0",
        }
        for model, count in file.models.items()
    ]
    return json_reply(
        200,
        {
            "file_id": file.id,
            "total_requests": lines,
            "total_estimated_input_tokens": tokens,
            "total_estimated_output_tokens": 0,
            "total_estimated_cost": "0",
            "models": models,
        },
    )
