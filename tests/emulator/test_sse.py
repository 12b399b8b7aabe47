"""Event streams, framed and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dw_agents.emulator.objects import full_object, output_items
from dw_agents.emulator.sse import chat_chunks, chat_replay, data, event, response_events, response_replay
from tests.emulator.support import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
MESSAGE = {"role": "assistant", "content": "Hello big world", "reasoning_content": "Hm ok", "tool_calls": [CALL]}
CHAT = {
    "id": "resp_1",
    "created": 5,
    "model": "M",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls"}],
    "usage": {"prompt_tokens": 1},
}


def parsed(frames: Iterable[bytes]) -> list[tuple[str, Any]]:
    return Answer(200, {}, b"".join(frames)).events()


def final() -> dict[str, Any]:
    items = output_items(CHAT, streamed=True)
    return full_object("resp_1", {"model": "M"}, created=5, status="requires_action", output=items, usage={"x": 1})


def test_events_are_framed_with_and_without_a_name() -> None:
    assert event("a", {"b": 1}) == b'event: a\ndata: {"b":1}\n\n'
    assert data([]) == b"data: []\n\n"


def test_a_live_response_streams_its_items_in_this_order() -> None:
    names = [name for name, _ in parsed(response_events(final()))]

    assert names == [
        "response.created",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_a_live_response_numbers_its_events_and_repeats_their_names() -> None:
    events = parsed(response_events(final()))

    assert [body["sequence_number"] for _, body in events] == list(range(len(events)))
    assert all(body["type"] == name for name, body in events)


def test_the_deltas_of_a_live_response_add_up_to_its_text() -> None:
    events = parsed(response_events(final()))

    def joined(name: str) -> str:
        return "".join(body["delta"] for kind, body in events if kind == name)

    assert joined("response.output_text.delta") == MESSAGE["content"]
    assert joined("response.reasoning_summary_text.delta") == "Hm ok"
    assert joined("response.function_call_arguments.delta") == '{"a": 1}'


def test_a_reasoning_part_closes_with_its_whole_text() -> None:
    done = dict(parsed(response_events(final())))["response.reasoning_summary_part.done"]

    assert done["part"] == {"type": "summary_text", "text": "Hm ok"}
    assert (done["item_id"], done["summary_index"], done["output_index"]) == ("item_0", 0, 0)


def test_items_open_empty_and_in_progress() -> None:
    opened = [body["item"] for name, body in parsed(response_events(final())) if name.endswith("item.added")]

    assert [item["status"] for item in opened] == ["in_progress"] * 3
    assert "content" not in opened[0]
    assert (opened[0]["summary"], opened[1]["content"], opened[2]["arguments"]) == ([], [], "")


def test_a_live_response_ends_completed_whatever_stopped_the_model() -> None:
    events = parsed(response_events(final()))
    opening, closing = events[0][1]["response"], events[-1][1]["response"]

    assert (opening["status"], opening["output"], opening["usage"]) == ("in_progress", [], None)
    assert (closing["status"], len(closing["output"]), closing["usage"]) == ("completed", 3, {"x": 1})


def test_a_refusal_streams_as_one() -> None:
    refused = {"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]}
    items = output_items(refused, streamed=True)
    shown = full_object("resp_1", {}, created=5, status="completed", output=items, usage=None)
    names = [name for name, _ in parsed(response_events(shown))]

    assert names[3:5] == ["response.refusal.delta", "response.refusal.done"]


def test_a_flex_replay_holds_messages_only_until_its_last_event() -> None:
    stored = {
        "id": "resp_1",
        "object": "response",
        "created_at": 5,
        "model": "M",
        "status": "completed",
        "output": output_items(CHAT, streamed=True),
    }
    events = parsed(response_replay(stored))

    assert [name for name, _ in events] == [
        "response.created",
        "response.output_item.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[0][1]["response"]["status"] == "in_progress"
    assert events[2][1]["delta"] == MESSAGE["content"]
    assert events[-1][1]["response"] == stored


def test_live_chat_chunks_open_with_the_role_and_end_with_done() -> None:
    events = parsed(chat_chunks(CHAT, include_usage=True))
    deltas = [body["choices"][0]["delta"] for _, body in events[:-2]]

    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[1] == {"reasoning_content": "Hm ok"}
    assert "".join(d.get("content", "") for d in deltas) == MESSAGE["content"]
    calls = [d["tool_calls"][0] for d in deltas if "tool_calls" in d]
    assert [call["index"] for call in calls] == [0] * len(calls)
    assert "".join(call["function"]["arguments"] for call in calls) == '{"a": 1}'
    assert events[-3][1]["choices"][0]["finish_reason"] == "tool_calls"
    assert events[-2][1]["usage"] == {"prompt_tokens": 1}
    assert events[-1][1] == "[DONE]"


def test_chat_chunks_have_no_usage_unless_it_was_asked_for() -> None:
    for frames in (chat_chunks(CHAT, include_usage=False), chat_replay(CHAT, include_usage=False)):
        assert all("usage" not in body for _, body in parsed(frames)[:-1])


def test_a_flex_chat_replay_is_one_chunk_without_reasoning_or_call_indexes() -> None:
    events = parsed(chat_replay(CHAT, include_usage=True))
    deltas = [body["choices"][0]["delta"] for _, body in events[:-2]]

    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": MESSAGE["content"], "tool_calls": [CALL]},
        {},
    ]
    assert events[2][1]["choices"][0]["finish_reason"] == "tool_calls"
    assert events[-1][1] == "[DONE]"
