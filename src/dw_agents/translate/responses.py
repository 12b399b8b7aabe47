"""Bodies of ``/responses`` as callers of the OpenAI API write them, and answers as they expect them.

Owns: the checks on input content that the service would drop without a word, and the fields of a Response that a
deferred answer lacks. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dw_agents.adapting.items import fitted
from dw_agents.errors import InvalidStep

__all__ = ["carried_body", "completed_response"]

_PARTS: Final = frozenset({"input_text", "output_text", "refusal", "input_image"})
_LISTS: Final = ("include", "modalities")
_MENDS: Final = {
    "input_file": "extract its text, or send its pages as images",
    "input_audio": "transcribe it first and send the text",
}
_ECHOED: Final = (
    "instructions", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p", "temperature",
    "reasoning", "max_output_tokens", "max_tool_calls", "store", "metadata", "safety_identifier", "prompt_cache_key",
)  # fmt: skip
_ABSENT: Final[Mapping[str, Any]] = {
    "object": "response",
    "completed_at": None,
    "incomplete_details": None,
    "previous_response_id": None,
    "instructions": None,
    "error": None,
    "tools": [],
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "temperature": 1.0,
    "reasoning": None,
    "usage": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": False,
    "background": False,
    "metadata": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
}


def carried_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body of ``/responses`` as the service takes it.

    Raises:
        InvalidStep: something in it would be lost; names the field and what would work.
    """
    given = body.get("input")
    if not isinstance(given, str | list | None):
        raise InvalidStep("input must be text or a list of input items.", field="input")
    for name in _LISTS:
        if not isinstance(body.get(name), list | None):
            raise InvalidStep(f"{name} must be a list.", field=name)
    if isinstance(given, list):
        for place, item in enumerate(given):
            _check_item(item, f"input[{place}]")
    tools = body.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, Mapping) for tool in tools)):
        raise InvalidStep("tools must be a list of tools.", field="tools")
    return fitted(body)


def _check_item(item: Any, where: str) -> None:
    if not isinstance(item, Mapping):
        raise InvalidStep(f"{where} must be an input item, not {type(item).__name__}.", field=where)
    kind = item.get("type", "message")
    if not isinstance(kind, str):
        raise InvalidStep(f"{where}.type must be text.", field=f"{where}.type")
    held, field = (item.get("output"), "output") if kind == "function_call_output" else (item.get("content"), "content")
    if kind not in {"message", "function_call_output"} or not isinstance(held, list):
        return
    for place, part in enumerate(held):
        _check_part(part, f"{where}.{field}[{place}]")


def _check_part(part: Any, where: str) -> None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in _PARTS:
        mend = _MENDS.get(str(kind), "send it as text")
        raise InvalidStep(f"{where} is a {kind!r} part, which the service does not read. Instead: {mend}.", field=where)
    if kind == "input_image" and not isinstance(part.get("image_url"), str):
        raise InvalidStep(
            f"{where} holds an image without an address, which the service drops. Instead: give image_url, an address "
            "or the bytes as a data: URL.",
            field=where,
        )
    if "cache_control" in part:
        raise InvalidStep(
            f"{where} holds a cache_control, which /responses drops: nothing would be cached. Instead: remove it, or "
            "use chat.completions.",
            field=f"{where}.cache_control",
        )


def completed_response(
    answer: Mapping[str, Any], asked: Mapping[str, Any], *, service_tier: str, truncated: bool
) -> dict[str, Any]:
    """Return the Response that a call would have got whose answer is not stored in between.

    The service's stored answers lack what only repeats the request, and say ``completed`` where the token limit cut
    the answer. Its realtime answers have a status of their own for tool calls; clients of OpenAI know it as
    ``completed``.

    Args:
        answer: the decoded answer.
        asked: the caller's body.
        service_tier: the tier that was used.
        truncated: whether the answer was cut at the token limit.
    """
    echoes = {name: asked[name] for name in _ECHOED if asked.get(name) is not None}
    response = {**_ABSENT, **answer, **echoes, "background": False, "service_tier": service_tier}
    response["output"] = [_with_logprobs(item) for item in answer.get("output") or ()]
    if truncated or response.get("status") == "incomplete":
        response["status"] = "incomplete"
        response["incomplete_details"] = response["incomplete_details"] or {"reason": "max_output_tokens"}
        response["completed_at"] = None
    elif response.get("status") == "requires_action":
        response["status"] = "completed"
    if response["status"] == "completed" and response["completed_at"] is None:
        response["completed_at"] = response.get("created_at")
    return response


def _with_logprobs(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an output item whose texts have what the SDK's types promise."""
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, list):
        return dict(item)
    parts = [
        {"annotations": [], "logprobs": [], **part} if part.get("type") == "output_text" else part for part in content
    ]
    return {**item, "content": parts}
