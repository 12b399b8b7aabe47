"""Which tools the rules call, and with what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dw_agents.emulator.backends.facts import Facts, read_turn
from dw_agents.emulator.backends.policy import Call, choose


def tool(name: str, *required: str, **properties: Any) -> dict[str, Any]:
    """Build a function tool; properties are strings unless a schema is given."""
    known = {key: value if isinstance(value, dict) else {"type": value} for key, value in properties.items()}
    every = {**{key: {"type": "string"} for key in required}, **known}
    parameters = {"type": "object", "properties": every, "required": [*required, *known]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def ask(text: str, tools: list[dict[str, Any]], *done: tuple[Call, Any], **request: Any) -> list[Call]:
    """Ask for the next calls, after the calls already done and their results."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
    for index, (call, result) in enumerate(done):
        function = {"name": call.name, "arguments": json.dumps(call.arguments)}
        messages.append({"role": "assistant", "tool_calls": [{"id": f"c{index}", "function": function}]})
        content = result if isinstance(result, str) else json.dumps(result)
        messages.append({"role": "tool", "tool_call_id": f"c{index}", "content": content})
    return choose({"messages": messages, "tools": tools, **request}, read_turn(messages))


ADD = tool("add", a="integer", b="integer")
MULTIPLY = tool("multiply", a="integer", b="integer")
WEATHER = tool("get_weather", "location")
SEARCH = tool("search", "query")
OPEN = tool("open_section", "section_id")
FOLLOW = tool("follow_reference", "reference_id")
ANSWER = tool("FinalAnswer", "summary", section_id="string")


def test_a_tool_that_the_message_names_is_called_with_the_numbers_of_the_message() -> None:
    assert ask("What is magic_function(3)?", [tool("magic_function", input="integer")]) == [
        Call("magic_function", {"input": 3})
    ]


def test_a_telling_word_of_the_name_is_enough() -> None:
    assert ask("What is the weather in San Francisco, CA?", [ADD, WEATHER]) == [
        Call("get_weather", {"location": "San Francisco, CA"})
    ]


def test_tools_are_called_in_the_order_of_the_message_and_a_bare_result_feeds_the_next() -> None:
    text = "Add 3 and 4, then multiply by 2"
    first = ask(text, [MULTIPLY, ADD])
    assert first == [Call("add", {"a": 3, "b": 4})]
    second = ask(text, [MULTIPLY, ADD], (first[0], "7"))
    assert second == [Call("multiply", {"a": 7, "b": 2})]
    assert ask(text, [MULTIPLY, ADD], (first[0], "7"), (second[0], "14")) == []


def test_a_chain_of_tools_is_followed_through_the_keys_of_their_results() -> None:
    text, tools = "How do retries stay safe?", [OPEN, SEARCH, FOLLOW]
    search = Call("search", {"query": text})
    opened = Call("open_section", {"section_id": "s-7"})
    followed = Call("follow_reference", {"reference_id": "r-2"})
    assert ask(text, tools) == [search]
    hits = {"hits": [{"sectionId": "s-7"}, {"sectionId": "s-8"}]}
    assert ask(text, tools, (search, hits)) == [opened]
    page = {"text": "...", "reference_id": "r-2"}
    assert ask(text, tools, (search, hits), (opened, page)) == [followed]
    assert ask(text, tools, (search, hits), (opened, page), (followed, "the end")) == []


def test_the_newest_result_wins_where_two_have_the_same_key() -> None:
    done = [(Call("search", {}), {"section_id": "old"}), (Call("other", {}), {"section_id": "new"})]
    assert ask("Read on please", [OPEN], *done) == [Call("open_section", {"section_id": "new"})]


def test_a_reference_is_not_made_up() -> None:
    assert ask("Please open the section about tiers", [OPEN]) == []
    assert ask("Please open the section, section_id: tiers-2", [OPEN]) == [
        Call("open_section", {"section_id": "tiers-2"})
    ]


def test_a_tool_named_in_full_is_called_even_without_facts() -> None:
    assert [call.name for call in ask("Call open_section now", [OPEN])] == ["open_section"]


def test_a_greeting_calls_no_tool() -> None:
    assert ask("Hello!", [ADD, WEATHER, SEARCH]) == []


def test_a_new_user_turn_may_call_a_tool_again() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "weather in Paris"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "function": {"name": "get_weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "sun"},
        {"role": "user", "content": "and the weather in Rome?"},
    ]
    request = {"messages": messages, "tools": [WEATHER]}
    assert choose(request, read_turn(messages)) == [Call("get_weather", {"location": "Rome"})]


@pytest.mark.parametrize("choice", ["required", "any", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_choice_calls_even_when_nothing_asks_for_it(choice: Any) -> None:
    calls = ask("Hello!", [ADD], tool_choice=choice)
    assert [call.name for call in calls] == ["add"]
    assert all(isinstance(value, int) for value in calls[0].arguments.values())


def test_no_tool_is_called_when_the_choice_is_none() -> None:
    assert ask("weather in Paris", [WEATHER], tool_choice="none") == []


def test_only_allowed_tools_are_called() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]}
    assert [call.name for call in ask("weather in Paris", [WEATHER, ADD], tool_choice=allowed)] == ["add"]


def test_the_answer_tool_comes_after_all_others_and_is_filled_from_their_results() -> None:
    text, tools = "Search how tiers differ", [ANSWER, SEARCH]
    search = ask(text, tools, tool_choice="required")
    assert [call.name for call in search] == ["search"]
    (answer,) = ask(text, tools, (search[0], {"section_id": "s-1", "text": "flex waits"}), tool_choice="required")
    assert answer.name == "FinalAnswer"
    assert answer.arguments["section_id"] == "s-1"
    assert "flex waits" in answer.arguments["summary"]


def test_the_answer_tool_waits_for_a_tool_that_a_result_leads_to_even_when_the_message_names_it() -> None:
    done = (Call("search", {}), {"section_id": "s-1"})
    calls = ask("Give me the FinalAnswer please", [ANSWER, OPEN], done, tool_choice="required")
    assert [call.name for call in calls] == ["open_section"]


def test_with_parallel_calls_independent_tools_go_together_up_to_the_word_then() -> None:
    text = "Add 3 and 4 and get the weather in Paris, then multiply by 2"
    calls = ask(text, [MULTIPLY, WEATHER, ADD], parallel_tool_calls=True)
    assert calls == [Call("add", {"a": 3, "b": 4}), Call("get_weather", {"location": "Paris"})]
    done = [(calls[0], "7"), (calls[1], "sun")]
    later = ask(text, [MULTIPLY, WEATHER, ADD], *done, parallel_tool_calls=True)
    assert [call.name for call in later] == ["multiply"]


def test_without_parallel_calls_one_tool_is_called_a_turn() -> None:
    assert len(ask("Add 3 and 4 and get the weather in Paris", [WEATHER, ADD])) == 1


def test_optional_arguments_are_left_to_their_defaults_unless_the_message_gives_them() -> None:
    limited = tool("search", "query")
    limited["function"]["parameters"]["properties"]["limit"] = {"type": "integer", "default": 5}
    assert ask("search for tiers", [limited])[0].arguments.keys() == {"query"}
    assert ask("search for tiers, limit=2", [limited])[0].arguments["limit"] == 2


def test_quoted_words_and_listed_numbers_become_arguments() -> None:
    total = tool("total", numbers={"type": "array", "items": {"type": "integer"}}, label="string")
    assert ask('total of 1, 2 and 3 labelled "sum"', [total]) == [Call("total", {"numbers": [1, 2, 3], "label": "sum"})]


def test_an_enumeration_takes_the_entry_that_the_message_names() -> None:
    unit = tool("convert", unit={"type": "string", "enum": ["kelvin", "celsius"]})
    assert ask("convert to Celsius", [unit]) == [Call("convert", {"unit": "celsius"})]
    assert ask("convert it for me", [unit]) == [Call("convert", {"unit": "kelvin"})]


def test_media_parts_are_counted_over_the_conversation() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    turn = read_turn([{"role": "user", "content": [{"type": "text", "text": "look"}, picture, picture]}])
    assert turn.media == {"image": 2}
    assert turn.text == "look"


def test_a_number_is_used_once() -> None:
    facts = Facts(read_turn([{"role": "user", "content": "from 5 to 9"}]))
    facts.used(5)
    assert list(facts.known("end", {"type": "integer"})) == [9]
