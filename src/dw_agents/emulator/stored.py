"""Stored responses: read, delete and (on a server like OpenAI's) cancel.

Owns: ``GET`` and ``DELETE /responses/{id}`` and ``POST /responses/{id}/cancel``. Must not import the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dw_agents.emulator.errors import (
    Refused,
    Reply,
    invalid_request,
    json_reply,
    object_not_found,
    object_unauthenticated,
)

if TYPE_CHECKING:
    from dw_agents.emulator.call import Call
    from dw_agents.emulator.jobs import Job

__all__ = ["cancel", "delete", "retrieve"]


def _visible(call: Call) -> Job:
    account = call.reader()
    if account is None:
        raise Refused(object_unauthenticated())
    service = call.service
    job = service.jobs.find(call.ident, account.owner, visible_after=service.settings.visible_after)
    if job is None:
        raise Refused(object_not_found("response", call.ident))
    return job


async def retrieve(call: Call) -> Reply:
    """Answer ``GET /responses/{id}``; query parameters are ignored."""
    return Reply(200, call.service.encoded(_visible(call)))


async def delete(call: Call) -> Reply:
    """Answer ``DELETE /responses/{id}``: the row goes, and a job that has not finished will not run."""
    job = _visible(call)
    if call.service.like_openai and not job.terminal:
        return invalid_request(400, "Cancel this response before deleting it: it is still running.")
    job.end(call.service.clock.now(), "deleted")
    return json_reply(200, {"id": call.ident, "object": "response", "deleted": True})


async def cancel(call: Call) -> Reply:
    """Answer ``POST /responses/{id}/cancel``; a finished job stays as it is."""
    job = _visible(call)
    if not job.terminal:
        job.end(call.service.clock.now(), "cancelled")
    return Reply(200, call.service.encoded(job))
