"""Chat requests and answers keep their meaning on the way through ``/responses``, or the request is refused by name."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import openai
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dw_agents import Engine
from dw_agents.emulator import Emulator
from dw_agents.emulator.objects import output_items, response_usage
from dw_agents.emulator.translate import to_chat
from dw_agents.errors import InvalidStep
from dw_agents.openai import AsyncOpenAI, DoublewordWarning
from dw_agents.translate.call import Ask, Hold, plan
from dw_agents.translate.chat_answer import completed_chat, to_chat_completion
from dw_agents.translate.responses import carried_body, completed_response
from dw_agents.translate.travel import Travel
from tests.openai_clients.chats import chats
from tests.openai_clients.support import call, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.translate.call import Plan

SILENT = {"metadata", "store"}
"""What the service does not hand to the model on either way."""


def meaning(chat: dict[str, Any]) -> dict[str, Any]:
    """A chat request without the freedom that the API leaves in writing one down."""
    meant = {name: value for name, value in chat.items() if value is not None and name not in SILENT}
    for one, other in (("max_completion_tokens", "max_tokens"),):
        if one in meant:
            meant[other] = meant.pop(one)
    idle: dict[str, Any] = {
        "n": 1, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {},
        "modalities": ["text"], "functions": [], "stop": [],
    }  # fmt: skip
    meant = {name: value for name, value in meant.items() if idle.get(name, ...) != value}
    meant["messages"] = [_message(message) for message in meant["messages"]]
    meant["tools"] = [_tool(tool["function"]) for tool in meant.get("tools") or ()]
    return meant


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content") or ""
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        # One text is sent as it is, and model servers put a newline between several.
        content = "\n".join(part["text"] for part in content)
    kept = {name: value for name, value in message.items() if value not in (None, [])}
    if kept["role"] == "tool":
        kept.pop("name", None)  # of the call, or it would not have been carried
    return {**kept, "content": content}


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return {
        "name": function["name"],
        "description": function.get("description") or "",
        "parameters": {"additionalProperties": False, **parameters},
        "strict": bool(function.get("strict")),
    }


def decision(chat: dict[str, Any]) -> Plan | InvalidStep:
    """How a chat request travels on flex, or why it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return plan("/chat/completions", chat, Travel())
    except InvalidStep as refused:
        return refused


@given(chat=chats())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_translated_reaches_the_model_as_it_was_meant(chat: dict[str, Any]) -> None:
    """The service's own translation, applied to ours, gives back the request; what is held is sent as it is."""
    decided = decision(chat)
    if isinstance(decided, InvalidStep):
        assert decided.field in chat
    elif isinstance(decided, Hold):
        assert decided.step.body == chat
        assert decided.field.partition("[")[0].partition(".")[0] in chat
    else:
        assert isinstance(decided, Ask)
        assert meaning(to_chat(dict(decided.step.body))) == meaning(chat)


def test_a_usual_request_is_polled_and_not_held() -> None:
    usual: dict[str, Any] = {
        "model": "m", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.1, "top_p": 0.9,
        "stop": ["x"], "max_tokens": 5, "user": "ada", "metadata": {}, "store": True, "parallel_tool_calls": True,
        "reasoning_effort": "low", "response_format": {"type": "json_object"}, "stream": True,
        "stream_options": {"include_usage": True}, "seed": None, "n": 1, "presence_penalty": 0,
        "tools": [{"type": "function", "function": {"name": "now"}}], "tool_choice": "auto",
    }  # fmt: skip
    decided = plan("/chat/completions", usual, Travel())
    assert isinstance(decided, Ask)
    assert decided.step.endpoint == "/responses"


@st.composite
def _answers(draw: st.DrawFn) -> dict[str, Any]:
    """What a model may say."""
    message: dict[str, Any] = {"role": "assistant", "content": draw(st.sampled_from([None, "", "Hi.", "Grüße 🌍"]))}
    kind = draw(st.sampled_from(["text", "calls", "refusal"]))
    finish = "stop"
    if kind == "calls":
        message["tool_calls"] = [call("look", f"c{number}", at=number) for number in range(draw(st.integers(1, 3)))]
        message["content"] = message["content"] or None
        finish = "tool_calls"
    elif kind == "refusal":
        message.update(content=message["content"] or None, refusal="No.")
    else:
        message["content"] = message["content"] or ""
    if draw(st.booleans()):
        message["reasoning_content"] = "Hm.\nWell."
    details = draw(st.booleans())
    usage: dict[str, Any] = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    if details:
        usage["prompt_tokens_details"] = {"cached_tokens": draw(st.integers(0, 5))}
        usage["completion_tokens_details"] = {"reasoning_tokens": draw(st.integers(0, 7))}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {"model": "m", "choices": [choice], "usage": draw(st.sampled_from([usage, None]))}


@given(answer=_answers(), cut=st.booleans())
def test_an_answer_comes_back_as_the_model_gave_it(answer: dict[str, Any], cut: bool) -> None:
    usage = response_usage(answer["usage"], details="prompt_tokens_details" in (answer["usage"] or {}))
    stored: dict[str, Any] = {
        "id": "resp_1",
        "created_at": 5,
        "model": "m",
        "status": "completed",
        "output": output_items(answer, streamed=True),
    }
    if usage is not None:
        stored["usage"] = usage
    back = completed_chat(to_chat_completion(stored, truncated=cut), model="m", service_tier="flex")
    if cut:
        answer["choices"][0]["finish_reason"] = "length"
    assert back["choices"] == answer["choices"]
    assert back.get("usage") == answer["usage"]
    assert (back["id"], back["created"], back["object"], back["service_tier"]) == (
        "resp_1", 5, "chat.completion", "flex",
    )  # fmt: skip


def test_what_a_content_filter_stopped_says_so() -> None:
    stopped = {"output": [], "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    assert to_chat_completion(stopped, truncated=False)["choices"][0]["finish_reason"] == "content_filter"


def test_a_chat_answer_without_an_id_gets_one() -> None:
    made = completed_chat({"choices": []}, model="m", service_tier="batch")
    assert made["id"].startswith("chatcmpl-")
    assert made["created"] > 0
    assert made["model"] == "m"


def test_a_response_is_completed_from_what_was_asked_and_never_contradicts_it() -> None:
    answer = {"id": "resp_1", "created_at": 5, "status": "completed", "output": [], "tools": [{"name": "mended"}]}
    asked = {"tools": [{"name": "asked"}], "temperature": 0.0, "metadata": None}
    made = completed_response(answer, asked, service_tier="flex", truncated=True)
    assert (made["tools"], made["temperature"], made["metadata"]) == ([{"name": "asked"}], 0.0, None)
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ("hello", "input[0]"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "text", "text": "chat's own"}]}, "input[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "x", "cache_control": {}}]},
            "input[0].content[0].cache_control",
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "f"}]},
            "input[0].output[0]",
        ),
        ({"type": "item_reference", "id": "i"}, "input"),
    ],
)
def test_input_that_the_service_would_drop_is_refused_by_name(item: Any, field: str) -> None:
    with pytest.raises(InvalidStep) as caught:
        carried_body({"model": "m", "input": [item]})
    assert caught.value.field == field


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    with Emulator(blocking_step=0) as running:
        yield running
        Engine.shared(api_key=running.api_key, base_url=running.base_url).close()


async def _both(service: Emulator, asked: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Ask everything on flex and at realtime; what is refused on flex is returned as the error."""
    where: dict[str, Any] = {"api_key": service.api_key, "base_url": service.base_url, "max_retries": 0}
    async with AsyncOpenAI(**where) as flex, openai.AsyncOpenAI(**where) as direct:

        async def ask(client: openai.AsyncOpenAI, body: dict[str, Any]) -> Any:
            try:
                return await client.chat.completions.create(extra_body=body, model="m", messages=[])
            except openai.APIStatusError as error:
                return error

        mine = await asyncio.gather(*[ask(flex, body) for body in asked])
        return list(zip(mine, await asyncio.gather(*[ask(direct, body) for body in asked]), strict=True))


@given(asked=st.lists(chats(), min_size=8, max_size=8))
# Without shrinking: each try waits for a service, so that to find the simplest example would take minutes.
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_what_comes_back_is_what_realtime_would_have_said_or_it_was_refused_before_it_was_paid(
    service: Emulator, asked: list[dict[str, Any]]
) -> None:
    service.counters.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoublewordWarning)
        pairs = asyncio.run(_both(service, asked))
    refused = 0
    for body, (mine, direct) in zip(asked, pairs, strict=True):
        if isinstance(mine, InvalidStep):
            refused += 1
            assert mine.field in body
        elif isinstance(direct, openai.APIStatusError):
            assert mine.status_code == direct.status_code
        else:
            same(body, mine, direct)
    counts = service.counters.snapshot()
    assert counts["POST /responses"] + counts["POST /chat/completions"] == 2 * len(asked) - refused
    assert counts.flex == len(asked) - refused


def same(body: dict[str, Any], mine: Any, direct: Any) -> None:
    """Compare two chat completions."""
    mine, direct = shown(mine, "logprobs"), shown(direct, "logprobs")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is not None and direct["usage"]["completion_tokens"] >= limit:
        # The service does not say whether a text that is just as long as the limit was cut by it.
        mine["choices"][0]["finish_reason"] = direct["choices"][0]["finish_reason"]
        mine["choices"][0]["message"]["content"] = mine["choices"][0]["message"]["content"] or None
        direct["choices"][0]["message"]["content"] = direct["choices"][0]["message"]["content"] or None
    if body.get("tools"):
        # The service itself writes tools down at greater length on /responses.
        for usage in (mine["usage"], direct["usage"]):
            del usage["prompt_tokens"], usage["total_tokens"], usage["prompt_tokens_details"]
    assert mine == direct
