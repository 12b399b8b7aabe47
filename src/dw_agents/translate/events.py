"""Finished answers as the event streams that a live call would have sent.

Owns: the order of events and chunks, and the framing of server-sent events. Pure: the caller decides when to send.

A Response: ``response.created``, ``response.in_progress``, then for each output item ``response.output_item.added``,
the events of its parts, ``response.output_item.done``; at the end ``response.completed`` or ``response.incomplete``
with the whole. A chat completion: a chunk with the role, chunks with what was thought and said, two for each tool call
(its name, its arguments), the finish reason, the usage if it was asked for, ``[DONE]``. Texts come whole, in one event
each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KEEP_ALIVE", "chat_chunks", "response_events"]

KEEP_ALIVE: Final = b": keep-alive\n\n"
"""Says that the answer is still awaited; readers of events skip it."""

_DONE: Final = b"data: [DONE]\n\n"


class _Numbered:
    """Frames events, each with the next sequence number."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, kind: str, **fields: Any) -> bytes:
        framed = b"event: %b\ndata: %b\n\n" % (
            kind.encode(),
            msgspec.json.encode({"type": kind, "sequence_number": self._next, **fields}),
        )
        self._next += 1
        return framed


def response_events(response: Mapping[str, Any]) -> Iterator[bytes]:
    """Write a finished Response as its stream.

    Args:
        response: complete, with the status that it ended in.
    """
    send = _Numbered()
    opened = {
        **response, "status": "in_progress", "output": [], "usage": None, "completed_at": None,
        "incomplete_details": None,
    }  # fmt: skip
    yield send("response.created", response=opened)
    yield send("response.in_progress", response=opened)
    for index, item in enumerate(response["output"]):
        yield send("response.output_item.added", output_index=index, item=_opened(item))
        yield from _inside(send, item, {"item_id": item.get("id"), "output_index": index})
        yield send("response.output_item.done", output_index=index, item=item)
    last = "response.incomplete" if response.get("status") == "incomplete" else "response.completed"
    yield send(last, response=response)


def _opened(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an output item as it is before anything of it has come."""
    emptied: dict[str, Any] = {"content": [], "summary": [], "arguments": ""}
    opened = {name: emptied.get(name, value) for name, value in item.items() if value is not None}
    return {**opened, "status": "in_progress"}


def _inside(send: _Numbered, item: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[bytes]:
    kind = item.get("type")
    if kind == "message":
        for number, part in enumerate(item.get("content") or ()):
            yield from _part(send, part, {**place, "content_index": number})
    elif kind == "reasoning":
        for number, part in enumerate(item.get("summary") or ()):
            spot = {**place, "summary_index": number}
            yield send("response.reasoning_summary_part.added", **spot, part={**part, "text": ""})
            yield send("response.reasoning_summary_text.delta", **spot, delta=part["text"])
            yield send("response.reasoning_summary_text.done", **spot, text=part["text"])
            yield send("response.reasoning_summary_part.done", **spot, part=part)
    elif kind == "function_call":
        arguments = item.get("arguments") or ""
        if arguments:
            yield send("response.function_call_arguments.delta", **place, delta=arguments)
        yield send("response.function_call_arguments.done", **place, name=item.get("name"), arguments=arguments)


def _part(send: _Numbered, part: Mapping[str, Any], spot: Mapping[str, Any]) -> Iterator[bytes]:
    if part.get("type") == "refusal":
        refusal = part.get("refusal") or ""
        yield send("response.content_part.added", **spot, part={**part, "refusal": ""})
        yield send("response.refusal.delta", **spot, delta=refusal)
        yield send("response.refusal.done", **spot, refusal=refusal)
    else:
        text, logprobs = part.get("text") or "", part.get("logprobs") or []
        yield send("response.content_part.added", **spot, part={**part, "text": "", "annotations": [], "logprobs": []})
        if text:
            yield send("response.output_text.delta", **spot, delta=text, logprobs=logprobs)
        for number, annotation in enumerate(part.get("annotations") or ()):
            yield send("response.output_text.annotation.added", **spot, annotation_index=number, annotation=annotation)
        yield send("response.output_text.done", **spot, text=text, logprobs=logprobs)
    yield send("response.content_part.done", **spot, part=part)


def chat_chunks(completion: Mapping[str, Any], *, include_usage: bool) -> Iterator[bytes]:
    """Write a finished chat completion as its stream.

    Args:
        completion: complete, with an id.
        include_usage: whether the caller asked for the chunk with the usage.
    """
    head = {name: completion.get(name) for name in ("id", "created", "model", "service_tier")}
    head["object"] = "chat.completion.chunk"
    if include_usage:
        head["usage"] = None

    def chunk(choices: list[dict[str, Any]], **fields: Any) -> bytes:
        return b"data: %b\n\n" % msgspec.json.encode({**head, "choices": choices, **fields})

    for choice in completion["choices"]:
        index, logprobs = choice.get("index", 0), choice.get("logprobs")
        for delta in _deltas(choice["message"]):
            said = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
            if logprobs is not None and "content" in delta and "role" not in delta:
                said["logprobs"], logprobs = logprobs, None
            yield chunk([said])
        yield chunk([{"index": index, "delta": {}, "logprobs": logprobs, "finish_reason": choice["finish_reason"]}])
    if include_usage:
        yield chunk([], usage=completion.get("usage"))
    yield _DONE


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "" if message.get("content") is not None else None}
    for name in ("reasoning_content", "reasoning", "content", "refusal"):
        if message.get(name):
            yield {name: message[name]}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        if not function.get("arguments"):
            yield {"tool_calls": [{"index": index, **call}]}
            continue
        yield {"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": function["arguments"]}}]}
