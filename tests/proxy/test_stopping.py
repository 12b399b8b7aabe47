"""The end of a proxy: nothing is lost that the service accepted, and every client hears of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.proxy.support import ask, chat, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from dw_agents.proxy import Proxy
    from tests.proxy.conftest import MakeProxy

ENDLESS = pytest.mark.parametrize("emulator", [{"latency": 60.0}], indirect=True)


async def _call(http: ClientSession, proxy: Proxy, **more: Any) -> tuple[int, str, str | None]:
    async with http.post(f"{proxy.base_url}/responses", json=ask(**more)) as reply:
        return reply.status, await reply.text(), reply.headers.get("X-Should-Retry")


@pytest.mark.parametrize("emulator", [{"latency": 1.5}], indirect=True)
async def test_calls_in_flight_may_end_and_new_ones_are_not_taken(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    url = proxy.base_url
    calling = asyncio.create_task(_call(http, proxy))
    assert await eventually(lambda: emulator.jobs)
    async with http.get(f"{url}/models") as reply:  # a second connection, which stays open
        assert reply.status == 200
    stopping = asyncio.create_task(proxy.stop(drain=20.0))
    await asyncio.sleep(0)
    async with http.get(url.removesuffix("/v1") + "/healthz") as reply:
        assert (reply.status, (await reply.json())["status"]) == (503, "stopping")
    async with http.post(f"{url}/responses", json=ask()) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (503, "proxy_stopping")
        assert "X-Should-Retry" not in reply.headers
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as another, another.get(f"{url}/models"):
            pass
    assert (await calling)[0] == 200
    assert await stopping == 0
    assert len(emulator.jobs) == 1


@ENDLESS
async def test_without_a_journal_calls_that_were_cut_off_are_cancelled_and_their_clients_told(
    emulator: Emulator, proxy: Proxy, http: ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    calling = asyncio.create_task(_call(http, proxy))
    assert await eventually(emulator.running)
    assert await proxy.stop() == 1
    status, said, retry = await calling
    assert (status, retry, "was cancelled" in said) == (503, "false", True)
    assert emulator.running() == []
    assert "1 step was in flight and cancelled" in capsys.readouterr().err


@pytest.mark.parametrize("emulator", [{"latency": 1.0}], indirect=True)
async def test_with_a_journal_the_next_proxy_collects_what_was_cut_off(
    emulator: Emulator,
    make_proxy: MakeProxy,
    http: ClientSession,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = {"journal": str(tmp_path / "journal.db")}
    first = await make_proxy(engine=journal)
    calling = asyncio.create_task(_call(http, first))
    assert await eventually(emulator.running)
    await first.stop()
    status, said, retry = await calling
    assert (status, retry, "without paying again" in said) == (503, None, True)
    assert "The journal has them" in capsys.readouterr().err
    second = await make_proxy(engine=journal)
    assert (await _call(http, second))[0] == 200
    assert len(emulator.jobs) == 1


@ENDLESS
async def test_a_stream_that_is_cut_off_ends_with_an_error(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession
) -> None:
    proxy = await make_proxy(keep_alive=0.05)
    async with http.post(f"{proxy.base_url}/chat/completions", json=chat(stream=True)) as reply:
        assert reply.status == 200
        await proxy.stop()
        assert '"code":"proxy_stopping"' in await reply.text()


@ENDLESS
async def test_a_stop_in_a_hurry_does_not_wait_for_calls(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    calling = asyncio.create_task(_call(http, proxy))
    assert await eventually(emulator.running)
    stopping = asyncio.create_task(proxy.stop(drain=3600.0))
    proxy.hurry()
    assert await stopping == 1
    assert (await calling)[0] == 503


@pytest.mark.parametrize("emulator", [{"realtime_latency": 60.0}], indirect=True)
async def test_calls_that_are_passed_on_are_cut_off_too(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    calling = asyncio.create_task(_call(http, proxy, service_tier="priority", stream=True))
    assert await eventually(lambda: emulator.requests)
    await proxy.stop()
    with pytest.raises(aiohttp.ClientError):
        await calling


async def test_stopping_twice_is_fine_and_the_address_is_free_again(make_proxy: MakeProxy) -> None:
    first = await make_proxy()
    port = int(first.base_url.removesuffix("/v1").rpartition(":")[2])
    await first.stop()
    await first.stop()
    second = await make_proxy(port=port)
    assert second.base_url.endswith(f":{port}/v1")
    with pytest.raises(OSError, match=str(port)):
        await make_proxy(port=port)
