"""Streams: the events that a live call would have sent, and signs of life before them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import openai
import pytest

from dw_agents.emulator import Fault
from tests.proxy.support import MODEL, WEATHER, ask, chat

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from dw_agents.proxy import Proxy
    from tests.proxy.conftest import MakeProxy

ENDPOINTS = [("/chat/completions", chat(stream=True)), ("/responses", ask(stream=True))]
QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


async def test_a_tool_call_is_streamed_as_chat_streams_it(emulator: Emulator, proxy: Proxy) -> None:
    async with openai.AsyncOpenAI(api_key="any", base_url=proxy.base_url) as client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            tools=[WEATHER],
            tool_choice="required",
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [(call.index, call.function.name) for call in calls if call.function] == [(0, "get_weather"), (0, None)]
    assert "city" in "".join(call.function.arguments or "" for call in calls if call.function)
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "tool_calls"
    assert chunks[-1].usage is not None
    assert emulator.counters.flex == 1


async def test_the_sdk_s_stream_of_responses_ends_with_the_whole(emulator: Emulator, proxy: Proxy) -> None:
    async with (
        openai.AsyncOpenAI(api_key="any", base_url=proxy.base_url) as client,
        client.responses.stream(model=MODEL, input="What is the weather in Paris?") as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert (final.id, final.status) == (emulator.jobs[0].id, "completed")


@pytest.mark.parametrize("emulator", [{"latency": 1.5}], indirect=True)
@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
async def test_a_stream_that_waits_sends_comments_so_that_idle_time_outs_do_not_strike(
    make_proxy: MakeProxy, http: ClientSession, path: str, body: dict[str, Any]
) -> None:
    proxy = await make_proxy(keep_alive=0.1)
    impatient = aiohttp.ClientTimeout(sock_read=1.0)
    async with http.post(proxy.base_url + path, json=body, timeout=impatient) as reply:
        text = await reply.text()
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert text.startswith(": keep-alive\n\n: keep-alive\n\n")
    assert text.endswith("data: [DONE]\n\n" if path.startswith("/chat") else "\n\n")
    assert reply.headers["X-DW-Agents-Ticket"].startswith("resp_")


async def test_an_answer_that_comes_at_once_is_streamed_without_comments(proxy: Proxy, http: ClientSession) -> None:
    async with http.post(f"{proxy.base_url}/chat/completions", json=chat(stream=True)) as reply:
        text = await reply.text()
    assert text.startswith("data: ")


@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
async def test_an_error_before_the_stream_has_begun_has_its_own_status(
    emulator: Emulator, proxy: Proxy, http: ClientSession, path: str, body: dict[str, Any]
) -> None:
    emulator.set_faults(Fault("status", route="POST /responses", status=403, message="not for you"))
    async with http.post(proxy.base_url + path, json=body) as reply:
        assert (reply.status, (await reply.json())["error"]["message"]) == (403, "not for you")


@pytest.mark.parametrize("emulator", [{"latency": 0.4}], indirect=True)
@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
async def test_an_error_after_the_stream_has_begun_is_its_last_event(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession, path: str, body: dict[str, Any]
) -> None:
    proxy = await make_proxy(keep_alive=0.1)
    emulator.set_faults(Fault("fail_job", code=422, message="no such thing"))
    async with http.post(proxy.base_url + path, json=body) as reply:
        lines = [line for line in (await reply.text()).splitlines() if line and not line.startswith(":")]
    assert reply.status == 200
    if path == "/responses":
        assert lines.pop(0) == "event: error"
        said = json.loads(lines[0].removeprefix("data: "))
        assert (said["type"], said["message"]) == ("error", said["error"]["message"])
    else:
        assert lines.pop() == "data: [DONE]"
    assert "no such thing" in json.loads(lines[0].removeprefix("data: "))["error"]["message"]


@pytest.mark.parametrize("emulator", [{"latency": 0.4}], indirect=True)
async def test_the_sdk_raises_the_error_that_ends_a_stream(emulator: Emulator, make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(keep_alive=0.1)
    emulator.set_faults(Fault("fail_job", code=422, message="no such thing"))
    async with openai.AsyncOpenAI(api_key="any", base_url=proxy.base_url) as client:
        for streaming in (
            client.responses.create(model=MODEL, input="hi", stream=True),
            client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True),
        ):
            with pytest.raises(openai.APIError, match="no such thing"):
                async for _ in await streaming:
                    pass
    assert len(emulator.jobs) == 2


@pytest.mark.parametrize("emulator", [{"realtime_latency": 0.05}], indirect=True)
async def test_a_realtime_stream_is_the_service_s_own_passed_on_as_it_comes(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    body = chat(stream=True, service_tier="priority")
    async with http.post(f"{proxy.base_url}/chat/completions", json=body) as reply:
        text = await reply.text()
    direct = {"Authorization": f"Bearer {emulator.api_key}"}
    async with http.post(f"{emulator.base_url}/chat/completions", json=body, headers=direct) as own:
        expected = await own.text()
    assert _told(text) == _told(expected)
    assert emulator.counters.realtime == 2


@pytest.mark.parametrize("emulator", [{"latency": 1.5}], indirect=True)
async def test_an_early_head_keeps_a_client_that_does_not_stream_waiting(
    make_proxy: MakeProxy, http: ClientSession
) -> None:
    proxy = await make_proxy(keep_alive=0.05, early_head=0.1)
    impatient = aiohttp.ClientTimeout(sock_read=1.0)
    async with http.post(f"{proxy.base_url}/responses", json=ask("hi"), timeout=impatient) as reply:
        text = await reply.text()
    assert text.startswith("  ")
    assert json.loads(text)["status"] == "completed"


@pytest.mark.parametrize("emulator", [{"latency": 0.3}], indirect=True)
async def test_what_goes_wrong_after_an_early_head_is_in_the_body(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession
) -> None:
    proxy = await make_proxy(early_head=0.1)
    emulator.set_faults(Fault("fail_job", code=422, message="no such thing"))
    async with http.post(f"{proxy.base_url}/responses", json=ask()) as reply:
        assert (reply.status, "no such thing" in (await reply.json())["error"]["message"]) == (200, True)


def _told(events: str) -> list[Any]:
    """What the chunks of a stream say, without ids and times."""
    told = []
    for line in events.splitlines():
        if line.startswith("data: {"):
            told.append(json.loads(line.removeprefix("data: "))["choices"])
        elif line:
            told.append(line)
    return told
