"""Asking the backend, and the faults of a model call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dw_agents.emulator.answers import Answers, CancelledUpstream, NetworkError
from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.clock import Clock
from dw_agents.emulator.fault import Fault
from tests.emulator.support import ScriptedBackend

REQUEST = {"model": "M", "messages": [{"role": "user", "content": "x"}], "stream": True, "stream_options": {}}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}}}


async def ask(*faults: Fault, backend: ScriptedBackend | None = None, **fields: Any) -> dict[str, Any]:
    answers = Answers(backend or ScriptedBackend("a long answer"), Clock(1e6))
    return await answers.chat({**REQUEST, **fields}, faults, retry=False)


async def test_the_backend_is_never_asked_to_stream() -> None:
    backend = ScriptedBackend()
    await ask(backend=backend)

    assert not {"stream", "stream_options"} & set(backend.chats[0])


@pytest.mark.parametrize("code", [400, 402, 429, 500])
async def test_a_job_can_be_made_to_fail_with_an_upstream_status(code: int) -> None:
    backend = ScriptedBackend()
    with pytest.raises(UpstreamError) as caught:
        await ask(Fault("fail_job", code=code, message="as told"), backend=backend)

    assert (caught.value.status, caught.value.message) == (code, "as told")
    assert backend.chats == []


async def test_a_network_failure_has_no_status_and_reads_as_json() -> None:
    with pytest.raises(NetworkError) as caught:
        await ask(Fault("fail_job", code=None))

    assert msgspec.json.decode(str(caught.value)) == {
        "type": "NetworkError",
        "details": {"error": "connection reset by peer"},
    }


async def test_a_job_can_be_cancelled_by_the_service() -> None:
    with pytest.raises(CancelledUpstream):
        await ask(Fault("cancelled"))


async def test_a_truncated_answer_is_cut_and_used_up_its_limit() -> None:
    answer = await ask(Fault("truncate"), max_tokens=40)

    assert answer["choices"][0]["message"]["content"] == "a long"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 40
    assert answer["usage"]["total_tokens"] == 45


async def test_a_refusal_replaces_the_answer() -> None:
    message = (await ask(Fault("refuse")))["choices"][0]["message"]

    assert message["content"] is None
    assert message["refusal"]


async def test_reasoning_is_added() -> None:
    message = (await ask(Fault("reasoning", message="Hm")))["choices"][0]["message"]

    assert (message["reasoning_content"], message["content"]) == ("Hm", "a long answer")


async def test_added_reasoning_is_counted_where_the_model_counts_it() -> None:
    backend = ScriptedBackend()
    backend.usage = {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 3}}

    usage = (await ask(Fault("reasoning"), backend=backend))["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 15


async def test_parallel_calls_call_two_tools_with_ids_of_their_own() -> None:
    choice = (await ask(Fault("parallel_calls"), tools=[tool("f"), tool("g"), tool("h")]))["choices"][0]

    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["f", "g"]
    assert len({call["id"] for call in choice["message"]["tool_calls"]}) == 2
    assert choice["finish_reason"] == "tool_calls"


async def test_parallel_calls_call_a_single_tool_twice_and_without_tools_do_nothing() -> None:
    one = await ask(Fault("parallel_calls"), tools=[tool("f")])
    none = await ask(Fault("parallel_calls"))

    assert [call["function"]["name"] for call in one["choices"][0]["message"]["tool_calls"]] == ["f", "f"]
    assert none["choices"][0]["message"]["content"] == "a long answer"


async def test_usage_and_its_details_can_be_left_out() -> None:
    backend = ScriptedBackend()
    backend.usage = {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}

    assert "usage" not in await ask(Fault("omit_usage"), backend=backend)
    assert set((await ask(Fault("omit_usage_details"), backend=backend))["usage"]) == {
        "prompt_tokens",
        "completion_tokens",
    }


async def test_a_daemon_retries_what_may_pass() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(status, "busy") for status in (503, 429, 404)]

    answer = await Answers(backend, Clock(1e6), retries=3).chat(REQUEST, retry=True)
    assert answer["choices"][0]["message"]["content"] == "pong"
    assert len(backend.chats) == 4


@pytest.mark.parametrize(("status", "retry", "asked"), [(503, True, 3), (503, False, 1), (400, True, 1)])
async def test_retries_end_and_are_the_daemons_alone(status: int, retry: bool, asked: int) -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(status, "no")] * 9
    with pytest.raises(UpstreamError):
        await Answers(backend, Clock(1e6), retries=2).chat(REQUEST, retry=retry)

    assert len(backend.chats) == asked


async def test_embeddings_fail_and_lose_their_usage_in_the_same_ways() -> None:
    answers = Answers(ScriptedBackend(), Clock(1e6))
    with pytest.raises(UpstreamError):
        await answers.embed({"model": "M", "input": "x"}, [Fault("fail_job")])

    assert "usage" not in await answers.embed({"model": "M", "input": "x"}, [Fault("omit_usage")])
