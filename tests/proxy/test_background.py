"""Background Responses whose clients poll for themselves."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from multidict import CIMultiDict

from dw_agents.emulator import Fault
from dw_agents.proxy import background
from dw_agents.proxy.background import Background
from dw_agents.wire.http import Reply
from tests.proxy.support import MODEL, ask, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from dw_agents.proxy import Proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="any", base_url=proxy.base_url, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("emulator", [{"latency": 0.3, "visible_after": 0.3}], indirect=True)
async def test_a_client_gets_an_id_at_once_and_finds_the_answer_under_it(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    response = await client.responses.create(model=MODEL, input="hi", background=True)
    assert response.status == "queued"
    while response.status in {"queued", "in_progress"}:
        response = await client.responses.retrieve(response.id)
        await asyncio.sleep(0.02)
    assert (response.status, len(emulator.jobs)) == ("completed", 1)
    assert emulator.counters.flex == 1
    await client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_of-nobody")


@pytest.mark.parametrize(
    "emulator",
    [
        {"latency": 60.0, "cancel_route": "delete"},
        {"latency": 60.0, "cancel_route": "post"},
        {"latency": 60.0, "cancel_route": "delete", "visible_after": 0.3},
        {"latency": 60.0, "cancel_route": "post", "visible_after": 0.3},
    ],
    indirect=True,
)
async def test_cancelling_works_whichever_way_the_service_has(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(model=MODEL, input="hi", background=True)
    cancelled = await client.responses.cancel(response.id)
    assert (cancelled.id, cancelled.status) == (response.id, "cancelled")
    assert emulator.running() == []


async def test_cancelling_what_has_ended_returns_it(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(model=MODEL, input="hi", background=True)
    assert await eventually(lambda: emulator.job(response.id).state == "completed")
    assert (await client.responses.cancel(response.id)).status == "completed"
    assert (await client.responses.retrieve(response.id)).status == "completed"


async def test_cancelling_what_nobody_knows_is_a_404(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.responses.cancel("resp_of-nobody")


async def test_a_background_call_on_the_batch_tier_is_refused(proxy: Proxy, http: ClientSession) -> None:
    async with http.post(f"{proxy.base_url}/responses", json=ask(background=True, service_tier="batch")) as reply:
        assert (reply.status, (await reply.json())["error"]["param"]) == (400, "background")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault("lost_reply", route="POST /responses"), 502),
        (Fault("status", route="POST /responses", status=500), 500),
        (Fault("status", route="POST /responses", status=429, retry_after=3), 429),
    ],
)
async def test_a_submission_that_may_have_been_accepted_is_not_repeated_by_the_sdk(
    emulator: Emulator, proxy: Proxy, http: ClientSession, fault: Fault, status: int
) -> None:
    emulator.set_faults(fault)
    async with http.post(f"{proxy.base_url}/responses", json=ask(background=True)) as reply:
        assert reply.status == status
    assert reply.headers.get("X-Should-Retry") == (None if status == 429 else "false")
    assert reply.headers.get("Retry-After") == ("3" if status == 429 else None)


async def test_an_id_is_awaited_only_for_as_long_as_the_service_may_not_know_it(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    async with http.post(f"{proxy.base_url}/responses", json=ask(background=True)) as reply:
        ident = json.loads(await reply.read())["id"]
    async with http.delete(f"{proxy.base_url}/responses/{ident}") as reply:
        assert reply.status == 200
    for number, unknown in enumerate((ident, "resp_of-another-proxy"), 1):
        async with http.get(f"{proxy.base_url}/responses/{unknown}") as reply:
            assert reply.status == 404
        assert emulator.counters["GET /responses/{id}"] == number


async def test_a_job_that_the_service_refuses_to_stop_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_PAUSES", (0.0,) * 5)
    said = b'{"id": "resp_1", "object": "response", "status": "queued"}'

    class Refusing:
        async def request(self, method: str, *_: Any, **__: Any) -> Reply:
            return Reply(200 if method == "GET" else 400, CIMultiDict(), said)

    async def submission() -> Reply:
        return Reply(202, CIMultiDict(), said)

    relay: Any = Refusing()
    await Background()._undo(relay, asyncio.create_task(submission()))
    assert "resp_1 could not be cancelled" in caplog.text


def test_ids_are_forgotten_once_the_service_knows_them() -> None:
    now = 0.0
    background = Background(clock=lambda: now)
    background._note("resp_1")
    now = 31.0
    assert not background._is_fresh("resp_1")
    background._note("resp_2")
    assert list(background._given) == ["resp_2"]
