"""Values of any type anywhere in a call are carried or refused by name: nothing else comes of them, on any tier."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.errors import InvalidStep
from dw_agents.translate.call import plan
from dw_agents.translate.travel import Travel
from tests.openai_clients.support import HELLO, KINDS, MODEL, Kind, call, result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeClient

WRONG: list[Any] = [
    None, True, 5, "x", [], [5], ["x"], [None], {}, {"a": 1}, {"type": []}, [{}], [{"type": {}}], [{"role": []}],
    [{"role": "user", "content": [{"type": []}]}],
]  # fmt: skip
SCHEMA: dict[str, Any] = {"name": "n", "schema": {}}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "content": None, "tool_calls": [call("f", "c")]},
        {"role": "tool", "tool_call_id": "c", "name": "f", "content": [{"type": "text", "text": "x"}]},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    "stream": False, "stream_options": {}, "reasoning_effort": "low", "max_tokens": 5, "n": 1, "modalities": ["text"],
    "logprobs": False, "functions": [], "chat_template_kwargs": {}, "background": False, "service_tier": "flex",
    "completion_window": None, "on_unknown": "raise", "run": "r",
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "u"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {}}],
    "tool_choice": {"type": "function", "name": "f"},
    "include": [], "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"}, "modalities": ["text"], "n": 1,
    "stream": False, "stream_options": {}, "context_management": [], "background": False, "on_unknown": "raise",
}  # fmt: skip
EMBEDDING: dict[str, Any] = {"model": "m", "input": ["a"], "dimensions": 5, "service_tier": "batch", "n": 1}


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    for name, held in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(held, (*place, name))


@pytest.mark.filterwarnings("ignore::dw_agents.adapting.carry.DoublewordWarning")
@pytest.mark.parametrize("tier", ["flex", "batch", "priority", "background"])
@pytest.mark.parametrize(
    ("endpoint", "usual"), [("/chat/completions", CHAT), ("/responses", RESPONSE), ("/embeddings", EMBEDDING)]
)
def test_a_value_of_another_type_is_carried_or_refused_by_name(endpoint: str, usual: dict[str, Any], tier: str) -> None:
    fields = set()
    for *way, last in _places(usual):
        for wrong in WRONG:
            body = copy.deepcopy(usual)
            held: Any = body
            for name in way:
                held = held[name]
            held[last] = wrong
            try:
                travel, asked = Travel(service_tier=tier).for_call(endpoint, {}, body)
                plan(endpoint, asked, travel)
            except InvalidStep as error:
                fields.add(error.field)
    assert fields - {""} == fields != set()


@pytest.mark.parametrize(("name", "value"), [("stream_options", "x"), ("modalities", 5)])
async def test_what_could_not_be_answered_as_asked_is_refused_before_it_is_paid(
    emulator: Emulator, ours: MakeClient, name: str, value: Any
) -> None:
    with pytest.raises(InvalidStep) as caught:
        ours().chat.completions.create(model=MODEL, messages=HELLO, stream=True, extra_body={name: value})
    assert (caught.value.field, emulator.counters.requests) == (name, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_item_whose_type_is_null_is_refused_and_not_left_out(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    item = {"type": None, "role": "user", "content": "hello"}
    with pytest.raises(InvalidStep) as caught:
        await result(ours(kind).responses.create(model=MODEL, input=[], extra_body={"input": [item]}))
    assert (caught.value.field, emulator.counters.requests) == ("input[0].type", 0)
