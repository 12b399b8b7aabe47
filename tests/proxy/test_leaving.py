"""Clients that leave: nobody pays for an answer that nobody awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from dw_agents.emulator import Fault
from tests.proxy.support import ask, chat, eventually, posts

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.emulator import Emulator
    from dw_agents.proxy import Proxy
    from tests.proxy.conftest import MakeProxy

SLOW = pytest.mark.parametrize("emulator", [{"latency": 60.0, "realtime_latency": 60.0}], indirect=True)


async def _leave(url: str, body: dict[str, Any], when: Callable[[], Any]) -> None:
    """Send a call, and close the connection when a condition comes true."""

    async def call() -> None:
        async with aiohttp.ClientSession() as client, client.post(url, json=body) as reply:
            await reply.read()

    calling = asyncio.create_task(call())
    assert await eventually(lambda: calling.done() or when())
    assert not calling.done()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


@SLOW
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), [("/chat/completions", chat()), ("/responses", ask())])
async def test_a_client_that_disconnects_stops_its_job_at_the_service(
    emulator: Emulator, make_proxy: MakeProxy, path: str, body: dict[str, Any], stream: bool
) -> None:
    proxy = await make_proxy(keep_alive=0.1)
    await _leave(proxy.base_url + path, {**body, "stream": stream}, when=lambda: emulator.jobs)
    assert await eventually(lambda: not emulator.running())
    assert await eventually(lambda: proxy.in_flight == 0)


@pytest.mark.parametrize("emulator", [{"latency": 60.0}], indirect=True)
async def test_a_client_that_leaves_during_the_submission_leaves_no_job_behind(
    emulator: Emulator, proxy: Proxy
) -> None:
    emulator.set_faults(Fault("slow_reply", route="POST /responses", delay=0.5))
    await _leave(f"{proxy.base_url}/responses", ask(), when=lambda: emulator.jobs)
    assert await eventually(lambda: not emulator.running())


@pytest.mark.parametrize("emulator", [{"batch_latency": 60.0}], indirect=True)
async def test_a_batch_that_holds_only_clients_who_left_is_stopped(emulator: Emulator, proxy: Proxy) -> None:
    url = f"{proxy.base_url}/chat/completions"
    calls = [chat(f"number {n}", service_tier="batch") for n in range(3)]
    await asyncio.gather(*(_leave(url, call, when=lambda: emulator.batches) for call in calls))
    assert await eventually(lambda: not emulator.running())
    assert await eventually(lambda: proxy.in_flight == 0)


@SLOW
async def test_a_client_that_leaves_a_passed_on_call_closes_it_at_the_service(emulator: Emulator, proxy: Proxy) -> None:
    url, body = f"{proxy.base_url}/chat/completions", chat(service_tier="priority", stream=True)
    await _leave(url, body, when=lambda: posts(emulator, "/v1/chat/completions"))
    assert await eventually(lambda: proxy.in_flight == 0)


@pytest.mark.parametrize(
    "emulator",
    [{"latency": 60.0, "cancel_route": "delete"}, {"latency": 60.0, "cancel_route": "post"}],
    indirect=True,
)
@pytest.mark.parametrize("fault", ["slow_reply", "reset_body"])
async def test_a_background_job_whose_client_left_before_it_had_the_id_is_stopped(
    fault: str, emulator: Emulator, proxy: Proxy
) -> None:
    emulator.set_faults(
        Fault("slow_reply", route="POST /responses", delay=0.5),
        *([Fault("reset_body", route="POST /responses")] if fault == "reset_body" else []),
    )
    await _leave(f"{proxy.base_url}/responses", ask(background=True), when=lambda: emulator.jobs)
    assert await eventually(lambda: not emulator.running())


@SLOW
async def test_other_clients_do_not_notice_that_one_left(emulator: Emulator, proxy: Proxy) -> None:
    url = f"{proxy.base_url}/responses"
    leave = asyncio.Event()
    staying = asyncio.create_task(_leave(url, ask("the same"), when=leave.is_set))
    await _leave(url, ask("the same"), when=lambda: len(emulator.jobs) == 2)
    assert await eventually(lambda: len(emulator.running()) == 1)
    assert not staying.done()
    leave.set()
    await staying
    assert await eventually(lambda: not emulator.running())


@SLOW
@pytest.mark.filterwarnings("ignore::dw_agents.adapting.carry.DoublewordWarning")
async def test_a_client_that_leaves_a_held_call_is_not_waited_for(emulator: Emulator, proxy: Proxy) -> None:
    body = {**chat(), "messages": [{"role": "user", "name": "ann", "content": "hi"}]}
    await _leave(f"{proxy.base_url}/chat/completions", body, when=lambda: posts(emulator, "/v1/chat/completions"))
    assert await eventually(lambda: proxy.in_flight == 0)
    assert len(posts(emulator, "/v1/chat/completions")) == 1
