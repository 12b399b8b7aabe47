"""Calls that travel on a tier: what goes to the service and what the client gets."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from aiohttp import web

from dw_agents.adapting.carry import DoublewordWarning
from dw_agents.emulator import Fault
from tests.proxy.support import EMBEDDING_MODEL, MODEL, ask, chat, eventually, posts

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from dw_agents.proxy import Proxy
    from tests.proxy.conftest import MakeProxy, MakeService


async def test_a_chat_call_travels_as_a_background_response(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    async with http.post(f"{proxy.base_url}/chat/completions", json=chat("hi")) as reply:
        said = await reply.json()
    assert reply.status == 200
    assert said["object"] == "chat.completion"
    assert "hi" in said["choices"][0]["message"]["content"]
    assert said["service_tier"] == "flex"
    sent = posts(emulator, "/v1/responses")[0]
    assert (sent["service_tier"], sent["background"]) == ("flex", True)
    assert posts(emulator, "/v1/chat/completions") == []


async def test_a_responses_call_is_answered_once_its_job_has_ended(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    async with http.post(f"{proxy.base_url}/responses", json=ask("hi")) as reply:
        said = await reply.json()
    assert (reply.status, said["status"], said["background"]) == (200, "completed", False)
    assert reply.headers["X-DW-Agents-Ticket"] == said["id"] == emulator.jobs[0].id


async def test_embeddings_go_by_a_batch_of_an_hour(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    body = {"model": EMBEDDING_MODEL, "input": ["one", "two"]}
    async with http.post(f"{proxy.base_url}/embeddings", json=body) as reply:
        said = await reply.json()
    assert reply.status == 200
    assert [row["index"] for row in said["data"]] == [0, 1]
    assert [batch.window for batch in emulator.batches] == ["1h"]


@pytest.mark.parametrize(
    ("asked", "tier"),
    [
        (({}, {}), "flex"),
        (({"service_tier": "auto"}, {}), "flex"),
        (({"service_tier": "priority"}, {}), "realtime"),
        (({}, {"X-DW-Agents-Service-Tier": "priority"}), "realtime"),
        (({"service_tier": "flex"}, {"X-DW-Agents-Service-Tier": "priority"}), "flex"),
        (({"service_tier": "batch"}, {}), "batch"),
        (({}, {"X-DW-Agents-Service-Tier": "batch", "X-DW-Agents-Completion-Window": "1h"}), "batch"),
    ],
)
async def test_the_tier_is_the_body_s_then_the_header_s_then_the_proxy_s(
    emulator: Emulator, proxy: Proxy, http: ClientSession, asked: tuple[dict[str, Any], dict[str, str]], tier: str
) -> None:
    body, headers = asked
    async with http.post(f"{proxy.base_url}/chat/completions", json=chat(**body), headers=headers) as reply:
        assert reply.status == 200, await reply.text()
    counts = emulator.counters.snapshot()
    assert {name: getattr(counts, name) for name in ("flex", "realtime", "batch")}[tier] == 1
    assert counts.flex + counts.realtime + counts.batch == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (chat(service_tier="gold"), "service_tier"),
        (chat(logprobs=True), "logprobs"),
        (chat(n=2), "n"),
        (chat(service_tier="flex", completion_window="1h"), "completion_window"),
        ({**chat(), "model": ""}, "model"),
        ({"model": MODEL}, "messages"),
    ],
)
async def test_what_cannot_be_carried_is_refused_by_name_before_it_is_sent(
    emulator: Emulator, proxy: Proxy, http: ClientSession, body: dict[str, Any], field: str
) -> None:
    async with http.post(f"{proxy.base_url}/chat/completions", json=body) as reply:
        error = (await reply.json())["error"]
    assert (reply.status, error["type"], error["param"]) == (400, "invalid_request_error", field)
    assert field in error["message"]
    assert emulator.requests == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(
    emulator: Emulator, proxy: Proxy, http: ClientSession, content: bytes
) -> None:
    async with http.post(f"{proxy.base_url}/responses", data=content) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (400, "invalid_json")
    assert emulator.requests == []


async def test_a_body_above_the_limit_is_refused(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession
) -> None:
    proxy = await make_proxy(body_limit=10_000)
    async with http.post(f"{proxy.base_url}/responses", json=ask("x" * 20_000)) as reply:
        assert reply.status == 413
        assert "10,000 bytes" in (await reply.json())["error"]["message"]
    assert emulator.requests == []


@pytest.mark.parametrize("emulator", [{"latency": 30.0}], indirect=True)
async def test_a_time_limit_in_the_header_ends_the_call_and_its_job(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    async with http.post(f"{proxy.base_url}/responses", json=ask(), headers={"X-DW-Agents-Timeout": "0.3"}) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (504, "deadline_exceeded")
    assert await eventually(lambda: not emulator.running())


@pytest.mark.filterwarnings("ignore::dw_agents.adapting.carry.DoublewordWarning")
@pytest.mark.parametrize("emulator", [{"latency": 30.0, "keepalive_every": 1.0}], indirect=True)
async def test_a_time_limit_of_the_blocking_form_does_not_wait_for_a_sign_of_life(
    proxy: Proxy, http: ClientSession
) -> None:
    url, headers = f"{proxy.base_url}/chat/completions", {"X-DW-Agents-Timeout": "1.3"}
    started = time.monotonic()
    async with http.post(url, json=chat(seed=1), headers=headers) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (504, "deadline_exceeded")
    assert 1.3 <= time.monotonic() - started < 1.9


async def test_a_time_limit_that_is_no_number_is_refused(proxy: Proxy, http: ClientSession) -> None:
    async with http.post(f"{proxy.base_url}/responses", json=ask(), headers={"X-DW-Agents-Timeout": "soon"}) as reply:
        assert (reply.status, (await reply.json())["error"]["param"]) == (400, "timeout")


async def test_a_chat_call_that_no_response_can_express_goes_by_the_blocking_form(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "name": "ann", "content": "hi"}]}
    with pytest.warns(DoublewordWarning, match="messages\\[0\\].name"):
        async with http.post(f"{proxy.base_url}/chat/completions", json=body) as reply:
            said = await reply.json()
    assert reply.status == 200
    assert "hi" in said["choices"][0]["message"]["content"]
    assert reply.headers["X-DW-Agents-Ticket"] == said["id"]
    sent = posts(emulator, "/v1/chat/completions")[0]
    assert (sent["service_tier"], sent["stream"], sent["messages"][0]["name"]) == ("flex", True, "ann")


@pytest.mark.filterwarnings("ignore::dw_agents.adapting.carry.DoublewordWarning")
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault("lost_request", route="POST /chat/completions", times=1), (200, 2)),
        (Fault("status", route="POST /chat/completions", status=429, times=1), (200, 2)),
        (Fault("status", route="POST /chat/completions", status=403), (403, 1)),
        (Fault("lost_request", route="POST /chat/completions"), (502, 2)),
        (Fault("status", route="GET /responses/{id}", status=500), (200, 1)),
        (Fault("fail_job", route="POST /chat/completions", code=422), (422, 1)),
        (Fault("reset_body", route="POST /chat/completions", times=1), (200, 2)),
    ],
)
async def test_the_blocking_form_is_sent_again_only_where_that_is_right(
    emulator: Emulator, proxy: Proxy, http: ClientSession, fault: Fault, outcome: tuple[int, int]
) -> None:
    status, sent = outcome
    emulator.set_faults(fault)
    body = {"model": MODEL, "messages": [{"role": "user", "name": "ann", "content": "hi"}]}
    async with http.post(f"{proxy.base_url}/chat/completions", json=body) as reply:
        assert reply.status == status, await reply.text()
    assert len(posts(emulator, "/v1/chat/completions")) == sent


@pytest.mark.filterwarnings("ignore::dw_agents.adapting.carry.DoublewordWarning")
async def test_the_blocking_form_bears_answers_longer_than_any_buffer(
    make_service: MakeService, make_proxy: MakeProxy, http: ClientSession
) -> None:
    long = "wörd" * 100_000

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(status=500)
        choice = {"index": 0, "delta": {"role": "assistant", "content": long}, "finish_reason": "stop"}
        data = json.dumps({"id": "resp_1", "choices": [choice]}, ensure_ascii=False)
        return web.Response(text=f"data: {data}\r\n\r\ndata: [DONE]\r\n\r\n", content_type="text/event-stream")

    proxy = await make_proxy(base_url=await make_service(answer))
    body = {"model": MODEL, "messages": [{"role": "user", "name": "ann", "content": "hi"}]}
    async with http.post(f"{proxy.base_url}/chat/completions", json=body) as reply:
        said = await reply.json()
    assert said["choices"][0]["message"]["content"] == long


async def test_every_reply_has_a_request_id_and_a_client_s_own_is_kept(proxy: Proxy, http: ClientSession) -> None:
    async with http.post(f"{proxy.base_url}/responses", json=ask()) as reply:
        assert reply.headers["X-Request-Id"].startswith("req_")
    async with http.post(f"{proxy.base_url}/responses", json=ask(), headers={"X-Request-Id": "mine-1"}) as reply:
        assert reply.headers["X-Request-Id"] == "mine-1"
    async with http.post(
        f"{proxy.base_url}/responses", json=ask(), headers={"X-Request-Id": "not one; of ours"}
    ) as reply:
        assert reply.headers["X-Request-Id"].startswith("req_")


async def test_a_call_of_a_named_run_is_not_paid_again(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession, tmp_path: Any
) -> None:
    answers = []
    for _ in range(2):
        proxy = await make_proxy(engine={"journal": str(tmp_path / "journal.db")})
        async with http.post(
            f"{proxy.base_url}/responses", json=ask("once"), headers={"X-DW-Agents-Run": "nightly"}
        ) as reply:
            answers.append((await reply.json())["id"])
        await proxy.stop()
    assert answers[0] == answers[1]
    assert len(emulator.jobs) == 1


async def test_the_sync_client_of_the_sdk_needs_no_more_than_another_base_url(emulator: Emulator, proxy: Proxy) -> None:
    def use() -> tuple[str, str, list[float]]:
        with openai.OpenAI(api_key="any", base_url=proxy.base_url, max_retries=0) as client:
            response = client.responses.create(model=MODEL, input="hi")
            said = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
            vectors = client.embeddings.create(model=EMBEDDING_MODEL, input="hi")
        return response.output_text, str(said.choices[0].message.content), vectors.data[0].embedding

    spoken, chatted, vector = await asyncio.to_thread(use)
    assert "hi" in spoken
    assert "hi" in chatted
    assert len(vector) > 1
    assert (emulator.counters.flex, emulator.counters.batch, emulator.counters.realtime) == (2, 1, 0)
