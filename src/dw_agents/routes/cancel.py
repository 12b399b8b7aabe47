"""Stops jobs at the service.

Owns: cancellation requests and their retries. The API's own cancel is ``DELETE /responses/{id}``; OpenAI's is
``POST /responses/{id}/cancel``. Must not settle tickets: their callers have left.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from dw_agents.routes.reader import VISIBLE_WITHIN
from dw_agents.schedule.retries import Verdict, judge_read
from dw_agents.wire.http import WireError

if TYPE_CHECKING:
    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["Canceller"]

log = logging.getLogger("dw_agents")

_LIMIT: Final = 64
_TIMEOUT: Final = 30.0
_TRIES: Final = 6


class Canceller:
    """Cancels jobs whose callers left, in the background."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._slots = asyncio.Semaphore(_LIMIT)
        self._open = 0
        self._has_cancel: bool | None = None
        """Whether the server has OpenAI's cancel; None until it is known."""

    def cancel(self, ticket: Ticket) -> None:
        """Stop an accepted job."""
        self._open += 1
        self._shared.spawn(self._stop(ticket))

    def idle(self) -> bool:
        """Whether every cancellation is through."""
        return self._open == 0

    async def _stop(self, ticket: Ticket) -> None:
        try:
            async with self._slots:
                if await self._stopped(ticket):
                    self._shared.book.cancelled(ticket)
                else:
                    log.warning("%s could not be cancelled; it runs on and will be billed.", ticket.response_id)
                    self._shared.not_cancelled.append(ticket.response_id or "")
                    self._shared.book.released(ticket)
        finally:
            self._open -= 1

    async def _stopped(self, ticket: Ticket) -> bool:
        shared = self._shared
        tries = 0
        while True:
            status = await self._ask(ticket)
            if status is not None and judge_read(status) is Verdict.ACCEPTED:
                return True
            since = shared.clock() - (ticket.accepted_at or shared.clock())
            if status == 404:
                if since > VISIBLE_WITHIN or tries >= _TRIES:
                    return True
            elif status is not None and judge_read(status) is Verdict.FATAL and since > VISIBLE_WITHIN:
                # Earlier, it may have become visible between the two ways to cancel, of which a service has one.
                return False
            tries += 1
            if tries > _TRIES:
                return False
            await asyncio.sleep(min(2.0, shared.retries.pause(tries)))

    async def _ask(self, ticket: Ticket) -> int | None:
        """Send one cancellation; returns the status, or None when there was no reply."""
        path = f"/responses/{ticket.response_id}"
        try:
            if self._has_cancel is not False:
                status = await self._request("POST", path + "/cancel")
                if judge_read(status) is not Verdict.FATAL:
                    self._has_cancel = judge_read(status) is Verdict.ACCEPTED or self._has_cancel
                    return status
            status = await self._request("DELETE", path)
        except WireError as error:
            log.info("cancelling %s: %s", ticket.response_id, error)
            return None
        if judge_read(status) is Verdict.ACCEPTED and self._has_cancel is None:
            self._has_cancel = False
        return status

    async def _request(self, method: str, path: str) -> int:
        self._shared.tally.request("cancel")
        return (await self._shared.connection.request(method, path, timeout=_TIMEOUT)).status
