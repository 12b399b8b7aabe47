"""Responses to chat: what is forwarded, what is dropped, what does not parse."""

from __future__ import annotations

from typing import Any

import pytest

from dw_agents.emulator.translate import BadBodyError, to_chat


def chat(**fields: Any) -> dict[str, Any]:
    return to_chat({"model": "M", "input": "hi", **fields})


def messages(*items: Any) -> list[dict[str, Any]]:
    return list(chat(input=list(items))["messages"])


def test_text_input_is_one_user_message_after_the_instructions() -> None:
    assert chat(instructions="Be brief.") == {
        "model": "M",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
    }


def test_sampling_fields_are_forwarded_under_their_chat_names() -> None:
    sent = {"temperature": 0.5, "top_p": 1, "stop": ["x"], "parallel_tool_calls": False, "user": "u"}
    made = chat(**sent, max_output_tokens=9, reasoning={"effort": "low"})

    assert {name: made[name] for name in sent} == sent
    assert (made["max_tokens"], made["reasoning_effort"]) == (9, "low")


DROPPED = [
    "background",
    "cache_control",
    "chat_template_kwargs",
    "frequency_penalty",
    "include",
    "logprobs",
    "made_up",
    "metadata",
    "n",
    "presence_penalty",
    "prompt_cache_key",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "top_logprobs",
]


@pytest.mark.parametrize("name", DROPPED)
def test_what_the_service_drops_is_dropped_without_an_error(name: str) -> None:
    assert chat(**{name: 1}) == chat()


def test_null_fields_count_as_absent() -> None:
    assert chat(temperature=None, tools=None, text=None, reasoning=None, truncation=None, instructions=None) == chat()


def test_a_message_item_may_leave_its_type_away_and_keeps_its_role() -> None:
    assert messages({"role": "developer", "content": "x"}) == [{"role": "developer", "content": "x"}]


def test_one_text_part_becomes_text_and_several_stay_parts() -> None:
    one = {"role": "user", "content": [{"type": "input_text", "text": "a"}]}
    two = {"role": "assistant", "content": [{"type": "output_text", "text": t} for t in "ab"]}

    assert messages(one)[0]["content"] == "a"
    assert messages(two)[0]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def test_an_image_is_forwarded_and_files_and_empty_images_vanish() -> None:
    parts = [
        {"type": "input_image", "image_url": "data:x", "detail": "low"},
        {"type": "input_image"},
        {"type": "input_file", "file_data": "x"},
    ]

    assert messages({"role": "user", "content": parts})[0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}
    ]


def test_calls_join_the_assistant_message_before_them_and_outputs_become_tool_messages() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    made = messages(
        {"role": "assistant", "content": "Let me see."},
        {**call, "call_id": "1"},
        {**call, "call_id": "2"},
        {"type": "function_call_output", "call_id": "1", "output": "one"},
        {**call, "call_id": "3"},
    )

    assert [message["role"] for message in made] == ["assistant", "tool", "assistant"]
    assert [c["id"] for c in made[0]["tool_calls"]] == ["1", "2"]
    assert made[0]["content"] == "Let me see."
    assert made[1] == {"role": "tool", "tool_call_id": "1", "content": "one"}
    assert made[2]["content"] is None


@pytest.mark.parametrize("kind", ["reasoning", "item_reference", "web_search_call", "anything"])
def test_items_of_other_kinds_vanish(kind: str) -> None:
    assert messages({"type": kind, "id": "x"}, {"role": "user", "content": "x"}) == [{"role": "user", "content": "x"}]


def test_a_function_tool_is_strict_and_closed_unless_it_says_otherwise() -> None:
    tool = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
    strict, loose = chat(tools=[tool, {**tool, "strict": False}])["tools"]

    assert strict["function"]["strict"] is True
    assert loose["function"]["strict"] is False
    assert strict["function"]["parameters"] == {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize("kind", ["mcp", "file_search", "web_search_preview", "code_interpreter"])
def test_tools_that_the_service_cannot_run_are_skipped(kind: str) -> None:
    assert "tools" not in chat(tools=[{"type": kind}])


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_a_tool_choice_is_a_word_or_a_named_function(choice: Any, made: Any) -> None:
    assert chat(tool_choice=choice)["tool_choice"] == made


def test_a_text_format_becomes_a_response_format() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    made = chat(text={"format": schema, "verbosity": "low"})

    assert made["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }
    assert chat(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}


PART = {"role": "user"}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {}}


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["text"]}, r"input\[0\]"),
        ({"input": [{"type": 3}]}, r"input\[0\]\.type"),
        ({"input": [{"content": "no role"}]}, r"input\[0\]\.role"),
        ({"input": [{**PART, "content": [{"type": "text", "text": "chat style"}]}]}, "content part 'text'"),
        ({"input": [{**PART, "content": [{"type": "image_url", "image_url": {}}]}]}, "content part 'image_url'"),
        ({"input": [{**PART, "content": [{"type": "input_image", "image_url": {"url": "x"}}]}]}, "image_url"),
        ({"input": [{**PART, "content": ["text"]}]}, "content"),
        ({"input": [{**PART, "content": None}]}, "content"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text"}]}]}, "output"),
        ({"input": [{"type": "function_call", "call_id": "1", "name": "f"}]}, "arguments"),
        ({"tools": [{k: v for k, v in TOOL.items() if k != "description"}]}, "missing field `description`"),
        ({"tools": [{k: v for k, v in TOOL.items() if k != "parameters"}]}, "missing field `parameters`"),
        ({"tools": [{**TOOL, "description": None}]}, "description"),
        ({"tools": [{"type": "custom"}]}, "kind of tool 'custom'"),
        ({"tools": ["f"]}, r"tools\[0\]"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"truncation": "always"}, "truncation"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "format"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "name"),
        ({"instructions": ["x"]}, "instructions"),
    ],
)
def test_a_body_that_does_not_parse_is_refused_with_the_place(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(BadBodyError, match=where) as caught:
        chat(**fields)

    assert str(caught.value).startswith("invalid OpenAI Responses request: ")
