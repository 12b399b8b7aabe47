"""Fixtures of the proxy's tests: an emulator, proxies in front of it, and a client that speaks plain HTTP."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import pytest
from aiohttp import web

from dw_agents.adapting import carry
from dw_agents.emulator.fixtures import emulator
from dw_agents.proxy import Proxy, Settings
from tests.proxy.support import QUICK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from dw_agents.emulator import Emulator

__all__ = ["emulator"]


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key and no address of the machine reaches a test, and each warning can be said again."""
    for name in ("DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_BASE", "DW_AGENTS_PROXY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    carry.forget_warnings()


class MakeProxy(Protocol):
    """Starts a proxy that stops when the test ends; what concerns the engine is given by ``engine``."""

    async def __call__(self, **settings: Any) -> Proxy: ...


@pytest.fixture
async def make_proxy(emulator: Emulator) -> AsyncIterator[MakeProxy]:
    async with AsyncExitStack() as running:

        async def make(*, engine: dict[str, Any] | None = None, **settings: Any) -> Proxy:
            chosen = {"port": 0, "drain": 0.0, "api_key": emulator.api_key, "base_url": emulator.base_url, **settings}
            made = Proxy(Settings(engine={"retries": QUICK, **(engine or {})}, **chosen))
            return await running.enter_async_context(made)

        yield make


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    return await make_proxy()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without time limits of its own."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


class MakeService(Protocol):
    """Starts a service of which one function is all, and returns its base URL."""

    async def __call__(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str: ...


@pytest.fixture
async def make_service() -> AsyncIterator[MakeService]:
    async with AsyncExitStack() as running:

        async def make(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
            made = web.Application()
            made.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(made, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            running.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

        yield make
