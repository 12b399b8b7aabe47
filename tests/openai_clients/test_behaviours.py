"""The SDK's methods on a flex client give what they give at realtime: ids, times and the tier aside, equal objects.

Each row below is a method with an option; each is run with the sync and the async client. Two differences are the
service's: a realtime Response that ends in tool calls has a status of its own (``requires_action``), which OpenAI's
clients do not know, and comes to them as ``completed``; and a Responses tool is always strict about further parameters.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel

from dw_agents import Engine
from dw_agents.emulator import Emulator
from tests.openai_clients.support import (
    EMBEDDING_MODEL,
    HELLO,
    KINDS,
    MODEL,
    WEATHER,
    WEATHER_RESPONSES,
    Kind,
    collect,
    entered,
    result,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.openai_clients.conftest import MakeClient

ASK = "What is the weather in city: Oslo?"


class Reading(BaseModel):
    """What the weather is."""

    city: str
    degrees: int


SCHEMA = {"name": "Reading", "schema": {**Reading.model_json_schema(), "additionalProperties": False}, "strict": True}
ANSWERED_CALL: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": ASK}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"degrees": 7}'},
]
PICTURE = "data:image/png;base64,QUJD"

CHAT: dict[str, dict[str, Any]] = {
    "text": {"messages": HELLO},
    "developer and a stop": {"messages": [{"role": "developer", "content": "Be brief."}, *HELLO], "stop": ["rules"]},
    "a limit that cuts": {"messages": HELLO, "max_completion_tokens": 3},
    "tools": {"messages": [{"role": "user", "content": ASK}], "tools": [WEATHER], "tool_choice": "auto"},
    "a forced tool": {
        "messages": [{"role": "user", "content": ASK}],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
    },
    "an answered call": {"messages": ANSWERED_CALL, "tools": [WEATHER]},
    "an image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See?"},
                    {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
                ],
            }
        ]
    },
    "a schema": {
        "messages": [{"role": "user", "content": "city: Oslo, degrees: 7"}],
        "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    },
    "a JSON object": {"messages": HELLO, "response_format": {"type": "json_object"}},
    "reasoning": {"messages": HELLO, "reasoning_effort": "low"},
    "sampling": {"messages": HELLO, "temperature": 0.3, "top_p": 0.9, "user": "ada", "metadata": {"a": "b"}},
}
RESPONSES: dict[str, dict[str, Any]] = {
    "text": {"input": "hello", "instructions": "Be brief."},
    "a limit that cuts": {"input": "hello", "max_output_tokens": 3},
    "tools": {"input": ASK, "tools": [WEATHER_RESPONSES]},
    "an answered call": {
        "input": [
            {"role": "user", "content": ASK},
            {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "7 degrees"},
        ],
        "tools": [WEATHER_RESPONSES],
    },
    "reasoning": {"input": "hello", "reasoning": {"effort": "low"}},
    "a schema": {
        "input": "city: Oslo, degrees: 7",
        "text": {"format": {"type": "json_schema", **SCHEMA}},
    },
    "sampling": {"input": "hello", "temperature": 0.3, "metadata": {"a": "b"}, "parallel_tool_calls": False},
}


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[Emulator]:
    """One for all rows: they leave nothing behind."""
    with Emulator(blocking_step=0) as running:
        yield running
        Engine.shared(api_key=running.api_key, base_url=running.base_url).close()


@pytest.fixture
def emulator(shared_emulator: Emulator) -> Emulator:
    shared_emulator.counters.reset()
    return shared_emulator


def same_response(mine: Any, direct: Any) -> None:
    """Compare two Responses but for what the service itself does otherwise on its two ways."""
    mine, direct = shown(mine), shown(direct)
    if direct["status"] == "requires_action":
        direct["status"] = "completed"
    if direct["status"] == "incomplete":
        direct["incomplete_details"] = {"reason": "max_output_tokens"}
        for item in direct["output"]:
            item["status"] = "completed"
    assert mine == direct


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CHAT)
async def test_a_chat_completion_equals_the_realtime_one(
    emulator: Emulator, kind: Kind, case: str, ours: MakeClient, theirs: MakeClient
) -> None:
    asked = {"model": MODEL, **CHAT[case]}
    mine = await result(ours(kind).chat.completions.create(**asked))
    direct = await result(theirs(kind).chat.completions.create(**asked))
    assert shown(mine, "logprobs") == shown(direct, "logprobs")
    assert mine.service_tier == "flex"
    assert mine.id.startswith("resp_")
    assert (emulator.counters.flex, emulator.counters.realtime) == (1, 1)
    assert emulator.counters["POST /responses"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", RESPONSES)
async def test_a_response_equals_the_realtime_one(
    emulator: Emulator, kind: Kind, case: str, ours: MakeClient, theirs: MakeClient
) -> None:
    asked = {"model": MODEL, **RESPONSES[case]}
    mine = await result(ours(kind).responses.create(**asked))
    direct = await result(theirs(kind).responses.create(**asked))
    same_response(mine, direct)
    assert mine.service_tier == "flex"
    assert emulator.counters.flex == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CHAT)
async def test_a_chat_stream_adds_up_to_the_realtime_answer(
    emulator: Emulator, kind: Kind, case: str, ours: MakeClient, theirs: MakeClient
) -> None:
    asked = {"model": MODEL, "stream_options": {"include_usage": True}, **CHAT[case]}
    finals = []
    for client in (ours(kind), theirs(kind)):
        async with entered(client.chat.completions.stream(**asked)) as stream:
            try:
                await collect(stream)
                finals.append(await result(stream.get_final_completion()))
            except openai.LengthFinishReasonError as cut:
                finals.append(cut.completion)
        # The first chunk of the service's own stream says "", where OpenAI's says null.
        finals[-1].choices[0].message.content = finals[-1].choices[0].message.content or None
    assert shown(finals[0], "logprobs") == shown(finals[1], "logprobs")
    assert emulator.counters.flex == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", RESPONSES)
async def test_a_response_stream_ends_in_the_realtime_answer(
    kind: Kind, case: str, ours: MakeClient, theirs: MakeClient
) -> None:
    asked = {"model": MODEL, **RESPONSES[case]}
    if case == "a limit that cuts":
        # The SDK has no final response for what was cut; the event has it.
        events = await collect(ours(kind).responses.create(**asked, stream=True))
        same_response(events[-1].response, await result(theirs(kind).responses.create(**asked)))
        assert events[-1].type == "response.incomplete"
        return
    async with entered(ours(kind).responses.stream(**asked)) as stream:
        await collect(stream)
        mine = await result(stream.get_final_response())
    same_response(mine, await result(theirs(kind).responses.parse(**asked)))


@pytest.mark.parametrize("kind", KINDS)
async def test_parse_gives_an_instance_of_the_class(emulator: Emulator, kind: Kind, ours: MakeClient) -> None:
    client, text = ours(kind), "city: Oslo, degrees: 7"
    chat = await result(
        client.chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": text}], response_format=Reading
        )
    )
    response = await result(client.responses.parse(model=MODEL, input=text, text_format=Reading))
    assert chat.choices[0].message.parsed == response.output_parsed == Reading(city="Oslo", degrees=7)
    async with entered(client.responses.stream(model=MODEL, input=text, text_format=Reading)) as stream:
        await collect(stream)
        assert (await result(stream.get_final_response())).output_parsed == Reading(city="Oslo", degrees=7)
    assert (emulator.counters.flex, emulator.counters.realtime) == (3, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_embeddings_equal_the_realtime_ones_and_go_by_batch(
    emulator: Emulator, kind: Kind, ours: MakeClient, theirs: MakeClient
) -> None:
    asked: dict[str, Any] = {"model": EMBEDDING_MODEL, "input": ["a fjord", "a mountain"], "dimensions": 8}
    mine = await result(ours(kind).embeddings.create(**asked))
    direct = await result(theirs(kind).embeddings.create(**asked))
    assert mine.to_dict() == direct.to_dict()
    assert (emulator.counters.lines, emulator.counters.realtime) == (1, 1)
    assert emulator.batches[-1].window == "1h"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "ask",
    [
        lambda raw: raw.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO),
        lambda raw: raw.responses.with_raw_response.create(model=MODEL, input="hello"),
        lambda raw: raw.embeddings.with_raw_response.create(model=EMBEDDING_MODEL, input="hello"),
    ],
    ids=["chat", "responses", "embeddings"],
)
async def test_a_raw_response_has_a_status_headers_and_the_object(
    kind: Kind, ask: Callable[[Any], Any], ours: MakeClient
) -> None:
    raw = await result(ask(ours(kind)))
    assert raw.status_code == 200
    assert raw.headers["content-type"] == "application/json"
    assert raw.elapsed.total_seconds() > 0
    assert (await result(raw.parse())).model in {MODEL, EMBEDDING_MODEL}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_raw_response_names_the_id_of_the_job(emulator: Emulator, kind: Kind, ours: MakeClient) -> None:
    raw = await result(ours(kind).responses.with_raw_response.create(model=MODEL, input="hello"))
    assert raw.request_id == emulator.jobs[-1].id == (await result(raw.parse())).id


@pytest.mark.parametrize("kind", KINDS)
async def test_a_streaming_response_gives_lines_and_json(kind: Kind, ours: MakeClient) -> None:
    client = ours(kind)
    async with entered(client.chat.completions.with_streaming_response.create(model=MODEL, messages=HELLO)) as reply:
        body = json.loads(await result(reply.read()))
    assert body["choices"][0]["finish_reason"] == "stop"
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "stream": True}
    async with entered(client.chat.completions.with_streaming_response.create(**asked)) as reply:
        lines = await collect(reply.iter_lines())
    assert lines[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_may_be_left_early(kind: Kind, ours: MakeClient) -> None:
    client = ours(kind)
    stream = await result(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    async with entered(stream):
        pass
    assert (await result(client.chat.completions.create(model=MODEL, messages=HELLO))).choices


@pytest.mark.parametrize("kind", KINDS)
async def test_the_legacy_name_of_parse_travels_too(emulator: Emulator, kind: Kind, ours: MakeClient) -> None:
    chat = await result(
        ours(kind).beta.chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": "city: Oslo, degrees: 7"}], response_format=Reading
        )
    )
    assert chat.choices[0].message.parsed == Reading(city="Oslo", degrees=7)
    assert emulator.counters.realtime == 0
