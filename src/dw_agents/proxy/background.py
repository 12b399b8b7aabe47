"""Background Responses that a client asks for and polls itself.

Owns: that no job is left behind at the service whose id its client never got, that an id works from the moment it was
given, and a cancel for services that have OpenAI's and for those that only delete.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from dw_agents.proxy.delivery import JSON
from dw_agents.proxy.errors import ONCE, Refused
from dw_agents.schedule.retries import Verdict, judge_read, judge_submission
from dw_agents.wire.http import NotSent, ReplyLost, WireError
from dw_agents.wire.responses import UNFINISHED, read_job, salvage_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dw_agents.proxy.upstreams import Relay
    from dw_agents.wire.http import Reply

__all__ = ["Background"]

log = logging.getLogger("dw_agents.proxy")

_SUBMIT: Final = 60.0
_READ: Final = 60.0
_VISIBLE_WITHIN: Final = 30.0
"""Seconds in which the service may not yet know an id that it has just given."""
_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0)
_STOP_TRIES: Final = 5
_GONE: Final = frozenset({404, 410})


class Background:
    """Takes part in the conversation about background Responses.

    Args:
        clock: seconds, from any point on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given: dict[str, float] = {}
        self._chores: set[asyncio.Task[None]] = set()

    async def submit(self, request: web.Request, relay: Relay, body: Mapping[str, Any]) -> web.Response:
        """Submit a Response and send the service's reply.

        Args:
            request: of the client; where it leaves before it has the id, the job is stopped.
            relay: to the service.
            body: what is submitted.

        Raises:
            Refused: no reply came.
        """
        task = asyncio.get_running_loop().create_task(
            relay.request("POST", "/responses", msgspec.json.encode(body), timeout=_SUBMIT)
        )
        try:
            reply = await asyncio.shield(task)
            job = read_job(reply.body) if reply.status < 300 else None
            if job is not None:
                self._note(job.id)
            response = _relayed(reply)
            if judge_submission(reply.status, reply.body) is Verdict.UNKNOWN:
                response.headers.update(ONCE)
            await response.prepare(request)
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            chore = asyncio.get_running_loop().create_task(self._undo(relay, task))
            self._chores.add(chore)
            chore.add_done_callback(self._chores.discard)
            raise
        except WireError as error:
            raise _no_reply(error) from error
        return response

    async def retrieve(self, relay: Relay, ident: str) -> web.Response:
        """Look a Response up.

        Raises:
            Refused: no reply came.
        """
        return _relayed(await self._known(relay, "GET", ident))

    async def delete(self, relay: Relay, ident: str) -> web.Response:
        """Delete a Response.

        Raises:
            Refused: no reply came.
        """
        return _relayed(await self._known(relay, "DELETE", ident))

    async def cancel(self, relay: Relay, ident: str) -> web.Response:
        """Cancel a Response and return it.

        Raises:
            Refused: no reply came.
        """
        reply = await _request(relay, "POST", f"/responses/{ident}/cancel")
        if reply.status not in {404, 405}:
            return _relayed(reply)
        found = await self._known(relay, "GET", ident)
        job = read_job(found.body) if found.status == 200 else None
        if job is None or job.status not in UNFINISHED:
            return _relayed(found)
        deleted = await self._known(relay, "DELETE", ident)
        if judge_read(deleted.status) is Verdict.FATAL and deleted.status not in _GONE:
            # It has OpenAI's cancel after all, and did not know the id yet when that was asked for.
            return _relayed(await _request(relay, "POST", f"/responses/{ident}/cancel"))
        if judge_read(deleted.status) is not Verdict.ACCEPTED:
            return _relayed(deleted)
        gone = {**msgspec.json.decode(found.body), "status": "cancelled", "background": True}
        return web.Response(body=msgspec.json.encode(gone), headers={"Content-Type": JSON})

    async def close(self, seconds: float) -> None:
        """Wait until what clients left behind has been stopped, at most so long."""
        if self._chores:
            await asyncio.wait(self._chores, timeout=seconds)

    async def _known(self, relay: Relay, method: str, ident: str) -> Reply:
        """Ask for a Response, and again for a while where it should be there."""
        path = f"/responses/{ident}"
        for pause in _PAUSES:
            reply = await _request(relay, method, path)
            if method == "DELETE" and judge_read(reply.status) is Verdict.ACCEPTED:
                self._given.pop(ident, None)
            if reply.status != 404 or not self._is_fresh(ident):
                return reply
            await asyncio.sleep(pause)
        return await _request(relay, method, path)

    def _note(self, ident: str) -> None:
        now = self._clock()
        for old in [old for old, given in self._given.items() if now - given > _VISIBLE_WITHIN]:
            del self._given[old]
        self._given[ident] = now

    def _is_fresh(self, ident: str) -> bool:
        given = self._given.get(ident)
        return given is not None and self._clock() - given <= _VISIBLE_WITHIN

    async def _undo(self, relay: Relay, submission: asyncio.Task[Reply]) -> None:
        """Stop a job whose client left before it got the id."""
        try:
            job = read_job((await submission).body)
            ident = job.id if job is not None else None
        except ReplyLost as error:
            ident = salvage_id(error.partial)
        except WireError:
            return
        if ident is None:
            return
        self._note(ident)
        for pause in _PAUSES[:_STOP_TRIES]:
            try:
                response = await self.cancel(relay, ident)
            except Refused:
                response = None
            if response is not None and (judge_read(response.status) is Verdict.ACCEPTED or response.status in _GONE):
                return
            await asyncio.sleep(pause)
        log.warning("%s could not be cancelled; its client has left, it runs on and will be billed.", ident)


async def _request(relay: Relay, method: str, path: str) -> Reply:
    try:
        return await relay.request(method, path, timeout=_READ)
    except WireError as error:
        raise _no_reply(error) from error


def _no_reply(error: WireError) -> Refused:
    if isinstance(error, NotSent):
        return Refused(502, f"No connection to the service could be made ({error}).", code="service_unreachable")
    return Refused(
        502,
        f"The request was sent to the service and no usable reply came ({error}); the service may have acted on it.",
        code="submission_unknown",
        headers=ONCE,
    )


def _relayed(reply: Reply) -> web.Response:
    names = ("Content-Type", "Retry-After", "Retry-After-Ms", "X-Request-Id")
    headers = {name: reply.headers[name] for name in names if name in reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)
