"""The service, as each of its keys reaches it.

Owns: one ``Upstream`` (an engine for calls that travel on a tier, a connection for everything else) for each key in
use, and how many of them there may be. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from dw_agents.config import resolve_account
from dw_agents.engine import Engine
from dw_agents.errors import MissingAPIKey
from dw_agents.proxy.errors import Refused
from dw_agents.proxy.guard import bearer
from dw_agents.wire.http import CONNECT_TIMEOUT, Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from dw_agents.config import Account
    from dw_agents.proxy.settings import Settings
    from dw_agents.receipt import Receipt

__all__ = ["Relay", "Upstream", "Upstreams"]

_KEYS: Final = 64
"""Most keys of clients at a time: each has a thread."""
_CLOSE: Final = 10.0


class Relay(Connection):
    """A connection that hands bodies on as they come, both ways."""

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterator[bytes] | None,
        silence: float,
    ) -> Any:
        """Send a request; an async context manager that yields aiohttp's response, its body encoded as it came.

        Args:
            method: of HTTP.
            path: below the base URL, with its query, percent-encoded.
            headers: in addition to those of every request.
            body: bytes, or a stream.
            silence: seconds without a byte after which the connection counts as lost.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: it got no reply.
        """
        return self._session.request(
            method,
            self._base + path,
            headers=headers,
            data=body,
            allow_redirects=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=silence),
        )


class Upstream:
    """One key's way to the service.

    Attributes:
        engine: takes the calls that travel on a tier.
        relay: for everything else.
        users: requests that are using it.
    """

    def __init__(self, account: Account, settings: Settings) -> None:
        self.engine = Engine(api_key=account.api_key, base_url=account.base_url, **settings.engine)
        self.relay = Relay(account)
        self.users = 0

    async def stop_engine(self) -> None:
        """Stop what travels on a tier; calls in flight end in ``StepCancelled``."""
        await asyncio.to_thread(self.engine.close, _CLOSE)

    async def close(self) -> None:
        """Stop the engine and close every connection."""
        await self.stop_engine()
        await self.relay.close()


class Upstreams:
    """All keys in use. To be used on one event loop.

    Args:
        settings: of the proxy.

    Raises:
        MissingAPIKey: the proxy is to use its own key, and there is none.
        ConfigurationError: a key or an address that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Clients bring their keys later, and the address must be right now.
        self.own = resolve_account("-" if settings.client_keys else settings.api_key, settings.base_url)
        self._open: dict[str, Upstream] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._past: list[Receipt] = []

    async def start(self) -> None:
        """Start the engine of the proxy's own key, so that a journal that cannot be opened is known at once.

        Raises:
            JournalError: the journal that was named cannot be used.
        """
        if not self._settings.client_keys:
            await asyncio.to_thread(self._find(self.own).engine.start)

    @contextmanager
    def use(self, headers: Mapping[str, str]) -> Iterator[Upstream]:
        """Find the way to the service for a request, and keep it open meanwhile.

        Args:
            headers: of the request.

        Raises:
            MissingAPIKey: the request must bring a key and does not.
            Refused: too many keys are in use.
        """
        upstream = self._find(self._account(headers))
        upstream.users += 1
        try:
            yield upstream
        finally:
            upstream.users -= 1

    def receipts(self) -> list[Receipt]:
        """Return what was done with each key, also with those that are out of use."""
        return [*self._past, *(upstream.engine.receipt() for upstream in self._open.values())]

    async def stop_engines(self) -> None:
        """Stop what travels on a tier, of all of them."""
        await asyncio.gather(*(upstream.stop_engine() for upstream in self._open.values()))

    async def close(self) -> None:
        """Close all of them."""
        for key in list(self._open):
            self._close(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _account(self, headers: Mapping[str, str]) -> Account:
        if not self._settings.client_keys:
            return self.own
        key = bearer(headers)
        if not key:
            raise MissingAPIKey(
                "This proxy sends each client's own key to the service, and the request brought none: give the client "
                "an API key of the service.",
                field="api_key",
            )
        return resolve_account(key, self.own.base_url)

    def _find(self, account: Account) -> Upstream:
        key = account.api_key.get_secret_value()
        found = self._open.pop(key, None)
        if found is None:
            self._make_room()
            found = Upstream(account, self._settings)
        self._open[key] = found  # the last is the one that was used last
        return found

    def _make_room(self) -> None:
        if len(self._open) < _KEYS:
            return
        idle = next((key for key, upstream in self._open.items() if not upstream.users), None)
        if idle is None:
            raise Refused(503, f"The proxy is busy for {_KEYS} keys, which is the most that it serves at a time.")
        self._close(idle)

    def _close(self, key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._end(self._open.pop(key)))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _end(self, upstream: Upstream) -> None:
        await upstream.close()
        receipt = upstream.engine.receipt()
        if receipt.lines:
            self._past.append(receipt)
