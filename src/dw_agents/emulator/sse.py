"""Server-sent events: the streams of both APIs, live and replayed.

Owns: framing and the order of events. Pure; must not import routes, jobs or the scheduler.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DONE",
    "KEEPALIVE",
    "chat_chunks",
    "chat_replay",
    "data",
    "event",
    "response_events",
    "response_replay",
]

KEEPALIVE = b":\n\n"
DONE = b"data: [DONE]\n\n"

_WORDS = re.compile(r"\s*\S+|\s+$")


def event(name: str, value: Any) -> bytes:
    """One named event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))


def data(value: Any) -> bytes:
    """One event without a name."""
    return b"data: %b\n\n" % msgspec.json.encode(value)


class _Numbered:
    """Frames typed events, each with the next sequence number."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, kind: str, **fields: Any) -> bytes:
        framed = event(kind, {"type": kind, **fields, "sequence_number": self._number})
        self._number += 1
        return framed


def response_events(final: dict[str, Any]) -> Iterator[bytes]:
    """The live stream of a realtime response.

    There is no ``response.in_progress``, no ``response.output_text.done`` and no ``[DONE]``, and the last
    event says ``completed`` whatever made the model stop.

    Args:
        final: the full response object; its output must be numbered as a stream's.
    """
    send = _Numbered()
    created = {**final, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    yield send("response.created", response=created)
    for index, item in enumerate(final["output"]):
        yield send("response.output_item.added", output_index=index, item=_opened(item))
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "reasoning":
            yield from _reasoning_events(send, item, place)
        elif item["type"] == "message":
            yield from _message_events(send, item, place)
        else:
            for piece in _pieces(item["arguments"]):
                yield send("response.function_call_arguments.delta", **place, delta=piece)
            yield send("response.function_call_arguments.done", **place, arguments=item["arguments"])
        yield send("response.output_item.done", output_index=index, item=item)
    yield send("response.completed", response={**final, "status": "completed", "completed_at": final["created_at"]})


def _opened(item: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {"status": "in_progress"}
    if item["type"] == "function_call":
        empty["arguments"] = ""
    elif item["type"] == "message":
        empty["content"] = []
    else:
        empty["summary"] = []
    opened = {**item, **empty}
    if item["type"] == "reasoning":
        del opened["content"]
    return opened


def _reasoning_events(send: _Numbered, item: dict[str, Any], place: dict[str, Any]) -> Iterator[bytes]:
    place = {**place, "summary_index": 0}
    text = item["summary"][0]["text"]
    yield send("response.reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""})
    for piece in _pieces(text):
        yield send("response.reasoning_summary_text.delta", **place, delta=piece)
    yield send("response.reasoning_summary_text.done", **place, text=text)
    yield send("response.reasoning_summary_part.done", **place, part={"type": "summary_text", "text": text})


def _message_events(send: _Numbered, item: dict[str, Any], place: dict[str, Any]) -> Iterator[bytes]:
    for number, part in enumerate(item["content"]):
        spot = {**place, "content_index": number}
        if part["type"] == "refusal":
            yield send("response.content_part.added", **spot, part={**part, "refusal": ""})
            yield send("response.refusal.delta", **spot, delta=part["refusal"])
            yield send("response.refusal.done", **spot, refusal=part["refusal"])
        else:
            yield send("response.content_part.added", **spot, part={**part, "text": ""})
            for piece in _pieces(part["text"]):
                yield send("response.output_text.delta", **spot, delta=piece, logprobs=[])
        yield send("response.content_part.done", **spot, part=part)


def _pieces(text: str) -> list[str]:
    return _WORDS.findall(text)


def response_replay(stored: dict[str, Any]) -> Iterator[bytes]:
    """The stream of a finished flex response: each text whole; other items come only with the last event.

    Args:
        stored: the object that ``GET`` would show.
    """
    send = _Numbered()
    kept = {name: stored[name] for name in ("id", "object", "created_at", "model")}
    yield send("response.created", response={**kept, "status": "in_progress", "output": []})
    for index, item in enumerate(stored["output"]):
        if item["type"] != "message":
            continue
        yield send("response.output_item.added", output_index=index, item={**item, "content": []})
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        text = "".join(part.get("text", "") for part in item["content"])
        yield send("response.output_text.delta", **place, delta=text)
        yield send("response.output_text.done", **place, text=text)
        yield send("response.output_item.done", output_index=index, item=item)
    yield send("response.completed", response=stored)


def chat_chunks(answer: dict[str, Any], *, include_usage: bool) -> Iterator[bytes]:
    """The live stream of a realtime chat completion: a role, the words, the calls, the finish, ``[DONE]``."""
    head = {
        "id": answer["id"],
        "object": "chat.completion.chunk",
        "created": answer["created"],
        "model": answer["model"],
    }
    for choice in answer["choices"]:
        for delta in _deltas(choice["message"]):
            yield data({**head, "choices": [{"index": choice["index"], "delta": delta, "finish_reason": None}]})
        finish = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        yield data({**head, "choices": [finish]})
    if include_usage:
        yield data({**head, "choices": [], "usage": answer.get("usage")})
    yield DONE


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    if message.get("reasoning_content"):
        yield {"reasoning_content": message["reasoning_content"]}
    for piece in _pieces(message.get("content") or ""):
        yield {"content": piece}
    if message.get("refusal"):
        yield {"refusal": message["refusal"]}
    for index, call in enumerate(message.get("tool_calls") or ()):
        opened = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [opened]}
        for piece in _pieces(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def chat_replay(answer: dict[str, Any], *, include_usage: bool) -> Iterator[bytes]:
    """The stream of a finished flex chat completion: one chunk with everything.

    Reasoning is lost and the tool calls carry no ``index``, as on the service.
    """
    head = {
        "id": answer["id"],
        "object": "chat.completion.chunk",
        "created": answer["created"],
        "model": answer["model"],
    }
    for choice in answer["choices"]:
        message = choice["message"]
        whole = {name: message[name] for name in ("content", "tool_calls") if message.get(name)}
        for delta, finish in (
            ({"role": "assistant", "content": ""}, None),
            (whole, None),
            ({}, choice["finish_reason"]),
        ):
            yield data({**head, "choices": [{"index": choice["index"], "delta": delta, "finish_reason": finish}]})
    if include_usage:
        yield data({**head, "choices": [], "usage": answer.get("usage")})
    yield DONE
