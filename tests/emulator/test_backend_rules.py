"""The rules backend as a server sees it: bodies in, bodies out."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from dw_agents.emulator.backends import UpstreamError, make_backend
from dw_agents.emulator.backends.completion import count_tokens, cut, prompt_tokens
from dw_agents.emulator.backends.rules import RulesBackend


async def chat(text: str, **request: Any) -> dict[str, Any]:
    """Send one user message and return the body."""
    return await RulesBackend().chat({"model": "m", "messages": [{"role": "user", "content": text}], **request})


def content(body: dict[str, Any]) -> str:
    text = body["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


async def test_the_answer_quotes_the_user_and_says_that_no_model_wrote_it() -> None:
    body = await chat("hi there")
    assert "hi there" in content(body)
    assert "not by a language model" in content(body)
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_the_same_request_gets_the_same_message() -> None:
    first, second = await chat("hi"), await chat("hi")
    assert first["choices"] == second["choices"]
    assert first["id"] == second["id"]


async def test_a_json_schema_answer_is_an_instance_filled_from_the_message() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city", "days", "unit"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "Trip", "schema": schema, "strict": True}}
    body = await chat("Plan 3 days in Rome, unit: F", response_format=wanted)
    assert json.loads(content(body)) == {"city": "Rome", "days": 3, "unit": "F"}


async def test_a_json_object_answer_has_the_keys_that_the_message_quotes() -> None:
    body = await chat("A joke as JSON with 'setup' and 'punchline' keys", response_format={"type": "json_object"})
    assert json.loads(content(body)).keys() == {"setup", "punchline"}


async def test_a_json_object_answer_follows_a_schema_in_the_message() -> None:
    schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"], "type": "object"}
    body = await chat(f"Answer 8 by this schema: {json.dumps(schema)}", response_format={"type": "json_object"})
    assert json.loads(content(body)) == {"n": 8}


async def test_a_tool_call_has_a_call_id_and_json_arguments() -> None:
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    body = await chat(
        "double 4", tools=[{"type": "function", "function": {"name": "double", "parameters": parameters}}]
    )
    choice = body["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"]) == {"n": 4}


async def test_the_final_answer_quotes_what_the_tools_returned() -> None:
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "It is sunny."},
    ]
    body = await RulesBackend().chat({"model": "m", "messages": messages})
    assert "weather returned: It is sunny." in content(body)


async def test_the_newest_result_is_quoted_first_and_json_is_told_in_words() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "look it up"}]
    for name, result in (("first", '{"page": [{"title": "Tiers"}]}'), ("second", "done")):
        function = {"name": name, "arguments": "{}"}
        messages.append({"role": "assistant", "tool_calls": [{"id": name, "function": function}]})
        messages.append({"role": "tool", "tool_call_id": name, "content": result})
    text = content(await RulesBackend().chat({"model": "m", "messages": messages}))
    assert text.startswith("second returned: done\nfirst returned: title: Tiers\n")


async def test_max_tokens_cuts_the_text_and_says_so() -> None:
    body = await chat("hello " * 50, max_tokens=5)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 5
    assert len(content(body)) == 20


async def test_text_ends_before_a_stop_sequence() -> None:
    body = await chat("one two three", stop=["two", "absent"])
    assert content(body) == "You wrote: one "
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_reasoning_is_given_and_charged_when_an_effort_is_asked_for() -> None:
    body = await chat("hi", reasoning_effort="low")
    reasoning = body["choices"][0]["message"]["reasoning_content"]
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == count_tokens(reasoning)
    assert "reasoning_content" not in (await chat("hi", reasoning_effort="none"))["choices"][0]["message"]


async def test_images_are_mentioned() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    body = await RulesBackend().chat({"model": "m", "messages": [{"role": "user", "content": parts}]})
    assert "1 image" in content(body)


async def test_usage_adds_up() -> None:
    usage = (await chat("hello"))["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == 6  # two for five bytes, four for the message


def test_what_an_earlier_request_sent_counts_as_cached_from_1024_tokens_on() -> None:
    short = [{"role": "user", "content": "x" * 3600}, {"role": "assistant", "content": "a"}]
    long = [{"role": "user", "content": "x" * 4400}, {"role": "assistant", "content": "a"}]
    assert prompt_tokens({"messages": short})[1] == 0
    assert prompt_tokens({"messages": long})[1] == 1024


def test_a_cut_never_splits_a_character() -> None:
    assert cut("aé€😀", 1) == "aé"


@pytest.mark.parametrize("messages", [None, [], "hi", [1]])
async def test_messages_of_the_wrong_shape_are_refused(messages: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        await RulesBackend().chat({"model": "m", "messages": messages})
    assert caught.value.status == 400


async def test_a_schema_without_values_is_refused_with_its_reason() -> None:
    schema = {"type": "integer", "minimum": 2, "maximum": 1}
    with pytest.raises(UpstreamError, match="limits") as caught:
        await chat("hi", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert caught.value.status == 400


async def embed(**request: Any) -> list[list[float]]:
    body = await RulesBackend().embed({"model": "e", **request})
    return [item["embedding"] for item in body["data"]]


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


async def test_similar_texts_are_nearer_than_different_ones_and_all_are_unit_vectors() -> None:
    cats, cat, law = await embed(input=["the cats are purring", "a cat purrs", "tax law of 1970"])
    assert dot(cats, cat) > dot(cats, law) + 0.1
    assert dot(cats, cats) == pytest.approx(1.0)


async def test_dimensions_and_base64_are_honoured() -> None:
    (plain,) = await embed(input="hello", dimensions=8)
    body = await RulesBackend().embed({"input": "hello", "dimensions": 8, "encoding_format": "base64"})
    packed = struct.unpack("<8f", base64.b64decode(body["data"][0]["embedding"]))
    assert list(packed) == pytest.approx(plain, abs=1e-6)
    assert body["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_a_list_of_tokens_is_one_text_and_a_list_of_lists_several() -> None:
    assert len(await embed(input=[1, 2, 3])) == 1
    assert len(await embed(input=[[1, 2], [3]])) == 2


@pytest.mark.parametrize(
    "request_body",
    [{}, {"input": ""}, {"input": []}, {"input": ["a", ""]}, {"input": "a", "dimensions": 0}, {"input": {"a": 1}}],
)
async def test_a_malformed_embeddings_request_is_refused(request_body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as caught:
        await RulesBackend().embed(request_body)
    assert caught.value.status == 400


def test_backends_are_made_by_name() -> None:
    assert make_backend("rules").name == "rules"
    assert "answers" in make_backend("upstream", base_url="http://127.0.0.1:1/v1").description


def test_an_unknown_backend_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="local, rules, upstream"):
        make_backend("oracle")
