"""Streams made of finished answers have the events of a live stream, in its order."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator import Emulator
from dw_agents.translate.events import KEEP_ALIVE, chat_chunks, response_events
from tests.emulator.support import ScriptedBackend
from tests.openai_clients.support import (
    HELLO,
    KINDS,
    MODEL,
    Kind,
    call,
    collect,
    entered,
    our_client,
    result,
    their_client,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERYTHING = {
    "text": "Two.",
    "reasoning_content": "Let me count.",
    "tool_calls": [call("look", "c1", at=1), call("look", "c2", at=2)],
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedBackend(**EVERYTHING)) as running:  # type: ignore[arg-type]
        yield running


@pytest.mark.parametrize("kind", KINDS)
async def test_a_response_stream_has_every_event_in_order(emulator: Emulator, kind: Kind) -> None:
    client = our_client(emulator, kind)
    events = await collect(client.responses.create(model=MODEL, input="hello", stream=True))
    await result(client.close())
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        *["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"] * 2,
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    lifecycle = [event.response for event in events if hasattr(event, "response")]
    assert {response.id for response in lifecycle} == {emulator.jobs[0].id}
    assert [response.status for response in lifecycle] == ["in_progress", "in_progress", "completed"]
    opened = [event.item for event in events if event.type == "response.output_item.added"]
    assert [item.status for item in opened] == ["in_progress"] * 4
    assert opened[2].arguments == ""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_chat_stream_has_every_chunk_in_order(emulator: Emulator, kind: Kind) -> None:
    client = our_client(emulator, kind)
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "stream": True}
    chunks = await collect(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
    without_usage = await collect(client.chat.completions.create(**asked))
    await result(client.close())
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert [sorted(delta.model_dump(exclude_unset=True)) for delta in deltas] == [
        ["content", "role"],
        ["reasoning_content"],
        ["content"],
        *[["tool_calls"]] * 4,
        [],
    ]
    made = [
        (part.index, part.function.name, part.function.arguments) for delta in deltas[3:7] for part in delta.tool_calls
    ]
    assert made == [(0, "look", ""), (0, None, '{"at": 1}'), (1, "look", ""), (1, None, '{"at": 2}')]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 7 + ["tool_calls"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 12
    assert [chunk.usage for chunk in (*chunks[:-1], *without_usage)] == [None] * (len(chunks) - 1 + len(without_usage))
    assert {chunk.id for chunk in chunks} == {emulator.jobs[0].id}
    assert {chunk.service_tier for chunk in chunks} == {"flex"}


async def _kinds(manager: Any) -> list[str]:
    """The kinds of events that a helper brings, those in a row once: how a text is cut is left to whoever sends it."""
    async with entered(manager) as stream:
        kinds = [event.type for event in await collect(stream)]
    return [kind for kind, _ in groupby(kind for kind in kinds if kind != "chunk")]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_helpers_events_come_in_the_order_of_a_realtime_stream(emulator: Emulator, kind: Kind) -> None:
    ours, direct = our_client(emulator, kind), their_client(emulator, kind)
    chats = [await _kinds(client.chat.completions.stream(model=MODEL, messages=HELLO)) for client in (ours, direct)]
    assert chats[0] == chats[1]
    assert len(chats[0]) > 3
    mine, service = [await _kinds(client.responses.stream(model=MODEL, input="hello")) for client in (ours, direct)]
    rest = iter(mine)
    assert all(event in rest for event in service)  # the service leaves out some of OpenAI's, and we do not
    await result(ours.close())
    await result(direct.close())


def test_a_refusal_has_events_of_its_own() -> None:
    item = {"type": "message", "id": "m", "status": "completed", "content": [{"type": "refusal", "refusal": "No."}]}
    framed = b"".join(response_events({"id": "r", "status": "completed", "output": [item]})).decode()
    names = [line.removeprefix("event: response.") for line in framed.splitlines() if line.startswith("event")]
    assert names[3:-2] == ["content_part.added", "refusal.delta", "refusal.done", "content_part.done"]


def test_log_probabilities_come_with_the_text_once() -> None:
    choice = {"index": 0, "message": {"content": "Hi."}, "logprobs": {"content": []}, "finish_reason": "stop"}
    framed = b"".join(chat_chunks({"id": "c", "choices": [choice]}, include_usage=False)).decode()
    assert framed.count('"logprobs":{"content":[]}') == 1
    assert framed.endswith("data: [DONE]\n\n")


def test_the_sign_of_life_is_a_comment() -> None:
    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE.endswith(b"\n\n")
