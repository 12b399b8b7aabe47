"""From an answer of ``/responses`` to the chat completion that the caller asked for.

Owns: the message, the finish reason and the usage; and what chat answers of every route have in common. Pure.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["completed_chat", "to_chat_completion"]


def to_chat_completion(response: Mapping[str, Any], *, truncated: bool) -> dict[str, Any]:
    """Make a chat completion out of a Response.

    Args:
        response: the decoded answer; its ``output`` is a list.
        truncated: whether it was cut at the token limit, which the service does not say on flex.
    """
    message = _message(response["output"])
    completion = {
        "id": response.get("id"),
        "object": "chat.completion",
        "created": response.get("created_at"),
        "model": response.get("model"),
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _finish_reason(response, message, truncated=truncated),
            }
        ],
    }
    usage = response.get("usage")
    if usage is not None:
        completion["usage"] = _usage(usage)
    return completion


def completed_chat(completion: Mapping[str, Any], *, model: str, service_tier: str) -> dict[str, Any]:
    """Return a chat completion with what every one has: an id, a time, the model, the tier that was used."""
    return {
        **completion,
        "id": completion.get("id") or f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(completion.get("created") or time.time()),
        "model": completion.get("model") or model,
        "service_tier": service_tier,
    }


def _message(output: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for item in output:
        kind = item.get("type")
        if kind == "message":
            for part in item.get("content") or ():
                if part.get("type") == "refusal":
                    refusals.append(str(part.get("refusal") or ""))
                else:
                    texts.append(str(part.get("text") or ""))
        elif kind == "reasoning":
            thoughts.extend(str(part.get("text") or "") for part in item.get("content") or item.get("summary") or ())
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            calls.append({"id": item.get("call_id"), "type": "function", "function": function})
    nothing_else = not calls and not refusals
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or ("" if nothing_else else None)}
    if refusals:
        message["refusal"] = "".join(refusals)
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    return message


def _finish_reason(response: Mapping[str, Any], message: Mapping[str, Any], *, truncated: bool) -> str:
    reason = (response.get("incomplete_details") or {}).get("reason")
    if reason == "content_filter":
        return "content_filter"
    if truncated or response.get("status") == "incomplete":
        return "length"
    return "tool_calls" if message.get("tool_calls") else "stop"


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {
        "prompt_tokens": usage.get("input_tokens", 0),
        "completion_tokens": usage.get("output_tokens", 0),
        "total_tokens": usage.get("total_tokens", 0),
    }
    for name, own in (
        ("input_tokens_details", "prompt_tokens_details"),
        ("output_tokens_details", "completion_tokens_details"),
    ):
        if usage.get(name) is not None:
            renamed[own] = usage[name]
    return renamed
