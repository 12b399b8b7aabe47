"""Flex chat calls that hold a connection until the answer comes, sent with the HTTP client of the SDK's client.

Owns: the I/O of such a call, and where it goes. What each outcome leads to is ``translate/holding.py``'s. The engine
does not take these calls.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import anyio

from dw_agents.translate.held import Lines
from dw_agents.translate.holding import Holding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dw_agents.openai.deferral import Deferral
    from dw_agents.openai.request import Asked
    from dw_agents.translate.call import Hold

__all__ = ["HeldCall"]

_CONNECT: Final = 15.0
_WRITE: Final = 90.0
_COLLECT: Final = 30.0
_COLLECT_TRIES: Final = 3
_COLLECT_PAUSE: Final = 0.3


class HeldCall:
    """One call.

    Args:
        deferral: of the client.
        request: the SDK's.
        asked: what was read out of it.
        hold: the decision.

    Raises:
        InvalidStep: the body is no JSON.
    """

    def __init__(self, deferral: Deferral, request: Any, asked: Asked, hold: Hold) -> None:
        self._deferral = deferral
        self._request = request
        self._base_url = deferral.base_url or asked.base_url
        self._holding = Holding(hold)

    def run(self, client: Any) -> Any:
        """Send the call and return the reply for the SDK.

        Args:
            client: an ``httpx`` (or ``httpx2``) ``Client``.

        Raises:
            StepError: what went wrong.
        """
        try:
            while (pause := self._once(client)) is not None:
                time.sleep(pause)
            return self._finish(self._collect(client))
        except BaseException as error:
            self._holding.failed(error)
            raise

    async def arun(self, client: Any) -> Any:
        """Do the same on an event loop, with an ``AsyncClient``."""
        try:
            while (pause := await self._alimited(client)) is not None:  # noqa: ASYNC110 - a pause, no wait for an event
                await anyio.sleep(pause)
            return self._finish(await self._acollect(client))
        except BaseException as error:
            self._holding.failed(error)
            raise

    def _once(self, client: Any) -> float | None:
        """Send the call once; returns the seconds until it is sent again, None where it has been answered."""
        try:
            response = client.send(self._outgoing(), stream=True, follow_redirects=False)
            try:
                if response.status_code >= 300:
                    return self._holding.refused(response.status_code, response.headers, response.read())
                lines = Lines()
                for chunk in response.iter_bytes():
                    self._take(lines.feed(chunk))
            finally:
                response.close()
        except (self._deferral.hx.HTTPError, RuntimeError) as error:
            return self._broken(error, client)
        return self._holding.ended()

    async def _alimited(self, client: Any) -> float | None:
        """Send the call once, and end it at the time limit; a thread notices that at the next sign of life only."""
        with anyio.move_on_after(self._holding.left()):
            return await self._aonce(client)
        raise self._holding.overdue()

    async def _aonce(self, client: Any) -> float | None:
        try:
            response = await client.send(self._outgoing(), stream=True, follow_redirects=False)
            try:
                if response.status_code >= 300:
                    return self._holding.refused(response.status_code, response.headers, await response.aread())
                lines = Lines()
                async for chunk in response.aiter_bytes():
                    self._take(lines.feed(chunk))
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except (self._deferral.hx.HTTPError, RuntimeError) as error:
            return self._broken(error, client)
        return self._holding.ended()

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._holding.line(line)

    def _collect(self, client: Any) -> bytes | None:
        """Read the stored answer; None where it cannot be had."""
        for attempt in range(_COLLECT_TRIES):
            if attempt:
                time.sleep(_COLLECT_PAUSE)
            try:
                response = client.send(self._look_up(), follow_redirects=False)
            except (self._deferral.hx.HTTPError, RuntimeError):  # the latter of a client that was closed
                continue
            if response.status_code == 200:
                return bytes(response.content)
        return None

    async def _acollect(self, client: Any) -> bytes | None:
        for attempt in range(_COLLECT_TRIES):
            if attempt:
                await anyio.sleep(_COLLECT_PAUSE)
            try:
                response = await client.send(self._look_up(), follow_redirects=False)
            except (self._deferral.hx.HTTPError, RuntimeError):  # the latter of a client that was closed
                continue
            if response.status_code == 200:
                return bytes(response.content)
        return None

    def _outgoing(self) -> Any:
        return self._to("POST", "/chat/completions", self._holding.begins(), content=self._holding.content)

    def _look_up(self) -> Any:
        self._holding.ticket.polls += 1
        return self._to("GET", self._holding.answer_path, _COLLECT)

    def _to(self, method: str, path: str, silence: float, **content: Any) -> Any:
        headers = self._deferral.headers_for(self._request)
        # A connection that was held for an hour is not kept for the next call, which may come from another loop.
        headers["connection"] = "close"
        limits = {"connect": _CONNECT, "read": silence, "write": _WRITE, "pool": None}
        return self._deferral.hx.Request(
            method, self._base_url + path, headers=headers, extensions={"timeout": limits}, **content
        )

    def _broken(self, error: Exception, client: Any) -> float:
        hx, why = self._deferral.hx, f"{type(error).__name__}: {error}"
        own = isinstance(error, RuntimeError)  # the client's, which did not send
        if client.is_closed:
            raise self._holding.client_closed(sent=not own)
        if own:
            raise error
        not_sent = isinstance(error, hx.ConnectError | hx.ConnectTimeout | hx.PoolTimeout)
        return self._holding.not_connected(why) if not_sent else self._holding.broken(why)

    def _finish(self, stored: bytes | None) -> Any:
        kind, content = self._holding.finish(stored)
        return self._deferral.respond(kind, content, self._request, self._holding.ticket)
