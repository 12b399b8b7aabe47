"""A read that is repeated until it succeeds, is refused for good, or patience ends.

Owns: ``read`` for the rare reads of the batch route; the many polls of the flex route have a schedule of their own
(``poller.py``). Must not know what is read.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from dw_agents.errors import ServiceUnreachable, StepError, StepLost
from dw_agents.schedule.retries import Verdict, judge_read, retry_after
from dw_agents.wire.http import Reply, WireError
from dw_agents.wire.responses import reply_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["Patience", "Refused", "read"]

VISIBLE_WITHIN: Final = 30.0
"""Seconds after its creation within which the service may not find a thing yet (its reads lag behind)."""


class Refused(Exception):
    """A read that will not succeed; ``error(ticket)`` makes the error of a step out of it."""

    def __init__(self, what: str, error: Callable[[Ticket], StepError]) -> None:
        super().__init__(what)
        self.error = error


class Patience:
    """Decides after each failure of a read whether and when to repeat it.

    Args:
        shared: of the engine.
        visible_since: when the thing was created, if it may not be visible yet.
    """

    def __init__(self, shared: Shared, visible_since: float | None = None) -> None:
        self._shared = shared
        self._visible_since = visible_since
        self._since = shared.clock()
        self._tries = 0

    async def lost(self, error: WireError) -> None:
        """Wait after a read that got no reply.

        Raises:
            Refused: patience is at its end.
        """
        if self._over():
            raise Refused(str(error), lambda t: ServiceUnreachable(f"{t}: reading it failed: {error}.", ticket=t))
        await asyncio.sleep(self._shared.retries.pause(self._tries))

    async def replied(self, reply: Reply, doing: str) -> None:
        """Wait after a reply that is no success.

        Raises:
            Refused: it is refused for good, or patience is at its end.
        """
        over = self._over()
        now = self._shared.clock()
        asked = retry_after(reply.headers, time.time())
        if reply.status == 404 and self._visible_since is not None and now - self._visible_since < VISIBLE_WITHIN:
            await asyncio.sleep(0.5)
            return
        if judge_read(reply.status) is Verdict.FATAL or over:

            def error(ticket: Ticket) -> StepError:
                made = reply_error(reply.status, reply.body, doing=doing, ticket=ticket)
                if reply.status in {404, 410}:
                    return StepLost(f"{made} It was accepted, and now it cannot be found.", ticket=ticket)
                return made

            raise Refused(f"{reply.status} {reply.text[:200]}", error)
        await asyncio.sleep(asked if asked is not None else self._shared.retries.pause(self._tries))

    def _over(self) -> bool:
        self._tries += 1
        return self._shared.clock() - self._since >= self._shared.retries.patience


async def read(
    shared: Shared,
    path: str,
    *,
    timeout: float,  # noqa: ASYNC109 - handed on to the connection
    visible_since: float | None = None,
) -> Reply:
    """GET ``path`` until there is a good reply.

    Raises:
        Refused: it will not succeed.
    """
    patience = Patience(shared, visible_since)
    while True:
        try:
            reply = await shared.connection.request("GET", path, timeout=timeout)
        except WireError as error:
            await patience.lost(error)
            continue
        if judge_read(reply.status) is Verdict.ACCEPTED:
            return reply
        await patience.replied(reply, "polling its batch")
