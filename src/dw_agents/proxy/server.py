"""The proxy as a program holds it: it listens, and it stops in good order.

Owns: the listening socket and the order of the stop. Must not know what any route does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from aiohttp import web

from dw_agents.journal.place import find_place
from dw_agents.proxy.app import App
from dw_agents.proxy.settings import Settings
from dw_agents.proxy.upstreams import Upstreams

if TYPE_CHECKING:
    from types import TracebackType

    from dw_agents.receipt import Receipt

__all__ = ["Proxy"]

_BACKLOG = 2048
_REPLIES = 1.0
"""Seconds in which the replies to calls that were cut off are written."""
_CHORES = 10.0
_CONNECTIONS = 0.2


class Proxy:
    """A local server with OpenAI's API whose calls travel on the service's tiers.

    Use it as an async context manager; it serves on the running event loop.

    Example:
        >>> async with Proxy(Settings(port=0)) as proxy:  # doctest: +SKIP
        ...     print(proxy.base_url)

    Args:
        settings: default: all defaults.

    Raises:
        MissingAPIKey: no key was found.
        ConfigurationError: a setting that cannot be used.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._upstreams = Upstreams(self.settings)
        self._kept = find_place(self.settings.engine.get("journal"))[0] is not None
        self._app: App | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._hurry = asyncio.Event()

    @property
    def base_url(self) -> str:
        """What clients take as their base URL.

        Raises:
            RuntimeError: the proxy has not been started.
        """
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the proxy is not listening: use it in an `async with` block, or await start()")
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self._runner.addresses[0][1]}/v1"

    @property
    def service_url(self) -> str:
        """Where calls go."""
        return self._upstreams.own.base_url

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._app.in_flight if self._app is not None else 0

    def receipts(self) -> list[Receipt]:
        """Return what was done so far and what it cost, for each key in use."""
        return self._upstreams.receipts()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address or the port cannot be had.
            JournalError: the journal that was named cannot be used.
        """
        try:
            await self._upstreams.start()
            self._app = App(self.settings, self._upstreams, kept=self._kept)
            self._runner = web.AppRunner(
                self._app.make(), handler_cancellation=True, access_log=None, shutdown_timeout=_CONNECTIONS
            )
            await self._runner.setup()
            self._site = web.TCPSite(self._runner, self.settings.host, self.settings.port, backlog=_BACKLOG)
            await self._site.start()
        except BaseException:
            await self.stop(0.0)
            raise

    async def stop(self, drain: float | None = None) -> int:
        """Stop listening, let calls end for a while, cut the others off, and close everything.

        What was cut off is kept in the journal for whoever asks it again; without a journal it is cancelled at the
        service.

        Args:
            drain: seconds that calls get to end; default: the setting.

        Returns:
            How many requests were cut off.
        """
        runner, self._runner = self._runner, None
        app = self._app
        if runner is None or app is None:
            await self._upstreams.close()
            return 0
        app.stopping = True
        if self._site is not None and self._site in runner.sites:
            await self._site.stop()
        await _wait_for(self.settings.drain if drain is None else drain, app.idle, self._hurry)
        left = app.in_flight
        # The engine goes first: were the handlers cancelled, it would take their clients for gone, and stop their jobs.
        await self._upstreams.stop_engines()
        await _wait_for(_REPLIES, app.idle)
        await app.background.close(_CHORES)
        await runner.cleanup()
        await self._upstreams.close()
        return left

    def hurry(self) -> None:
        """Let a stop that is under way not wait for calls any longer."""
        self._hurry.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def _wait_for(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, at most so long."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
