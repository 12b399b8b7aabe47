"""``POST /chat/completions`` and ``POST /completions`` over HTTP."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dw_agents.emulator import Account, Fault, Faults, UpstreamError
from tests.emulator.support import MODEL, ScriptedBackend, serving

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "ping"}]}
FLEX = {**CHAT, "service_tier": "flex"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


async def test_a_realtime_chat_is_answered_under_a_resp_id() -> None:
    backend = ScriptedBackend()
    async with serving(backend) as api:
        answer = await api("POST", "/chat/completions", {**CHAT, "service_tier": "auto", "seed": 3})

        assert (api.emulator.counters.realtime, api.emulator.counters.accepted) == (1, 0)

    assert answer.status == 200
    assert answer.json()["id"].startswith("resp_")
    assert answer.json()["choices"][0]["message"]["content"] == "pong"
    assert backend.chats[0]["service_tier"] == "auto"
    assert backend.chats[0]["seed"] == 3


async def test_a_realtime_chat_streams_chunks() -> None:
    async with serving() as api:
        answer = await api(
            "POST", "/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        )

    events = [body for _, body in answer.events()]
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"]["completion_tokens"] == 7


async def test_flex_chat_blocks_whatever_background_says() -> None:
    async with serving(latency=0.1) as api:
        started = time.monotonic()
        answer = await api("POST", "/chat/completions", {**FLEX, "background": True})

        assert (api.emulator.counters.flex, api.emulator.counters.realtime) == (1, 0)
        assert api.emulator.jobs[0].body == CHAT

    assert time.monotonic() - started >= 0.1
    assert answer.status == 200
    assert answer.json()["object"] == "chat.completion"


async def test_a_flex_chat_can_be_read_back_as_a_response() -> None:
    async with serving() as api:
        made = (await api("POST", "/chat/completions", FLEX)).json()
        shown = await api.get(made["id"])

    assert shown["output"] == [{"type": "message", "role": "assistant", "content": made}]
    assert shown["usage"] == made["usage"]


async def test_a_finished_realtime_chat_can_be_read_back_too() -> None:
    async with serving() as api:
        made = (await api("POST", "/chat/completions", CHAT)).json()
        shown = await api.get(made["id"])

    assert (shown["service_tier"], shown["output"][0]["content"]) == ("priority", made)
    assert shown["usage"] == made["usage"]


async def test_logprobs_survive_on_realtime_and_are_lost_on_flex() -> None:
    class WithLogprobs(ScriptedBackend):
        async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
            answer = await super().chat(request)
            answer["choices"][0]["logprobs"] = {"content": []}
            return answer

    async with serving(WithLogprobs()) as api:
        realtime = (await api("POST", "/chat/completions", CHAT)).json()
        flex = (await api("POST", "/chat/completions", FLEX)).json()

    assert "logprobs" in realtime["choices"][0]
    assert "logprobs" not in flex["choices"][0]


@pytest.mark.parametrize(("code", "status"), [(429, 429), (400, 400), (None, 500)])
async def test_a_failed_flex_chat_has_an_integer_code_and_the_upstreams_status(code: int | None, status: int) -> None:
    async with serving(faults=Faults(Fault("fail_job", code=code, message="why"))) as api:
        answer = await api("POST", "/chat/completions", FLEX)

    assert answer.status == status
    assert answer.json()["error"]["code"] == status
    assert "why" in answer.json()["error"]["message"]


async def test_a_cancelled_flex_chat_is_499() -> None:
    async with serving(faults=Faults(Fault("cancelled"))) as api:
        answer = await api("POST", "/chat/completions", FLEX)

    assert (answer.status, answer.json()["error"]["message"]) == (499, "request_canceled")


async def test_a_flex_chat_that_takes_too_long_is_504_with_a_code() -> None:
    async with serving(latency=60, speed=100, blocking_timeout=5) as api:
        answer = await api("POST", "/chat/completions", FLEX)

    assert (answer.status, answer.json()["error"]["code"]) == (504, 504)


async def test_a_streamed_flex_chat_is_replayed_in_one_chunk_without_reasoning() -> None:
    backend = ScriptedBackend("pong", reasoning_content="Hm", tool_calls=[CALL])
    async with serving(backend) as api:
        answer = await api("POST", "/chat/completions", {**FLEX, "stream": True})

    deltas = [body["choices"][0]["delta"] for _, body in answer.events()[:-1]]
    assert deltas[1] == {"content": "pong", "tool_calls": [CALL]}
    assert answer.events()[-1][1] == "[DONE]"


async def test_a_failed_streamed_flex_chat_says_so_in_the_stream() -> None:
    async with serving(faults=Faults(Fault("fail_job", code=429))) as api:
        answer = await api("POST", "/chat/completions", {**FLEX, "stream": True})

    (_, failed), (_, done) = answer.events()
    assert (answer.status, failed["error"]["code"], done) == (200, 429, "[DONE]")


async def test_a_streamed_flex_chat_that_takes_too_long_says_so_in_the_stream() -> None:
    async with serving(latency=60, speed=100, blocking_timeout=5) as api:
        answer = await api("POST", "/chat/completions", {**FLEX, "stream": True})

    (_, failed), (_, done) = [each for each in answer.events() if each[0] != ":"]
    assert (failed["error"]["code"], done) == (504, "[DONE]")


async def test_the_background_tier_is_for_responses_only() -> None:
    async with serving(api_keys=[Account("k", background_role=True)]) as api:
        answer = await api("POST", "/chat/completions", {**CHAT, "service_tier": "background", "background": True})

    assert answer.status == 400
    assert "only supported by /v1/responses" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["chat_template_kwargs", "thinking", "thinking_token_budget", "reasoning"])
async def test_reasoning_parameters_of_other_apis_are_refused(name: str) -> None:
    async with serving() as api:
        answer = await api("POST", "/chat/completions", {**CHAT, name: {}})

    assert (answer.status, answer.json()["error"]["code"]) == (400, "unsupported_parameter")


@pytest.mark.parametrize(("effort", "status"), [("xhigh", 200), ("none", 200), ("huge", 400)])
async def test_efforts_are_checked(effort: str, status: int) -> None:
    async with serving() as api:
        answer = await api("POST", "/chat/completions", {**CHAT, "reasoning_effort": effort})

    assert answer.status == status


async def test_a_reasoning_parameter_on_flex_is_found_only_when_the_job_runs() -> None:
    async with serving() as api:
        answer = await api("POST", "/chat/completions", {**FLEX, "thinking": {}})

        assert api.emulator.counters.accepted == 1

    assert (answer.status, answer.json()["error"]["code"]) == (400, 400)


@pytest.mark.parametrize("body", [{"messages": []}, {"model": MODEL}, {"model": MODEL, "messages": []}])
async def test_a_realtime_chat_without_a_model_or_messages_is_refused(body: dict[str, Any]) -> None:
    async with serving() as api:
        answer = await api("POST", "/chat/completions", body)

    assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_request")


async def test_a_chat_body_that_is_no_json_gets_400_and_nothing_else() -> None:
    async with serving() as api:
        answer = await api("POST", "/chat/completions", b"{")

    assert (answer.status, answer.body) == (400, b"")


async def test_a_realtime_chat_failure_keeps_the_upstreams_status() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(429, "busy")]
    async with serving(backend) as api:
        answer = await api("POST", "/chat/completions", CHAT)

    assert (answer.status, answer.json()["error"]["message"]) == (429, "busy")


async def test_a_realtime_call_that_the_network_loses_is_502() -> None:
    async with serving(faults=Faults(Fault("fail_job", code=None))) as api:
        assert (await api("POST", "/chat/completions", CHAT)).status == 502


# /completions


async def test_plain_completions_answer_each_prompt_at_the_realtime_price_whatever_the_tier() -> None:
    async with serving() as api:
        body = {"model": MODEL, "prompt": ["a", "b"], "service_tier": "flex"}
        answer = (await api("POST", "/completions", body)).json()

        assert (api.emulator.counters.realtime, api.emulator.counters.flex) == (2, 0)

    assert [choice["text"] for choice in answer["choices"]] == ["pong", "pong"]
    assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 14, "total_tokens": 24}


async def test_plain_completions_are_not_streamed_and_say_so() -> None:
    async with serving() as api:
        answer = await api("POST", "/completions", {"model": MODEL, "prompt": "x", "stream": True})

    assert answer.status == 400
    assert "does not stream" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, None])
async def test_a_plain_completion_may_say_that_it_does_not_want_a_stream(stream: bool | None) -> None:
    async with serving() as api:
        assert (await api("POST", "/completions", {"model": MODEL, "prompt": "x", "stream": stream})).status == 200


@pytest.mark.parametrize("body", [b"{", {"prompt": "x"}, {"model": MODEL, "prompt": 3}, {"model": MODEL, "prompt": []}])
async def test_a_plain_completion_that_makes_no_sense_is_refused_with_words(body: Any) -> None:
    async with serving() as api:
        answer = await api("POST", "/completions", body)

    assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_request")
