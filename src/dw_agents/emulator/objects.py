"""The objects that clients read: output items, usage, and a response in each of its several shapes.

Owns: converting a chat completion into Responses output and building every form of the response object. Pure;
must not import routes, the scheduler or backends.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator.jobs import Job

__all__ = [
    "accepted_object",
    "error_type",
    "full_object",
    "openai_object",
    "output_items",
    "response_status",
    "response_usage",
    "stored_object",
]

_ITEM_NUMBERS = itertools.count()

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_credits",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    499: "client_disconnected",
}


def error_type(status: int | None) -> str:
    """The ``error.type`` of a failed job, by the upstream's HTTP status."""
    return _ERROR_TYPES.get(status or 0, "server_error")


def output_items(chat: dict[str, Any], *, streamed: bool) -> list[dict[str, Any]]:
    """Turn the choices of a chat completion into Responses output items.

    Args:
        chat: a whole ``chat.completion`` object.
        streamed: the service read the model's answer as a stream (flex and SSE do): items are then numbered
            from zero in every response and are ``completed`` even when the answer was cut off.
    """
    items: list[dict[str, Any]] = []
    numbers: Iterator[int] = itertools.count() if streamed else _ITEM_NUMBERS
    for choice in chat.get("choices") or ():
        message = choice.get("message") or {}
        cut_off = choice.get("finish_reason") == "length" and not streamed
        for item in _message_items(message):
            number = next(numbers)
            item["id"] = f"item_{number}" if streamed else f"item_{number:016x}"
            item["status"] = "incomplete" if cut_off else "completed"
            items.append(item)
    return items


def _message_items(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if reasoning:
        yield {
            "type": "reasoning",
            "id": "",
            "content": [{"type": "reasoning_text", "text": reasoning}],
            "summary": [{"type": "summary_text", "text": reasoning}],
        }
    parts: list[dict[str, Any]] = []
    if message.get("content"):
        parts.append({"type": "output_text", "text": message["content"], "annotations": [], "logprobs": []})
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts:
        yield {"type": "message", "id": "", "role": message.get("role", "assistant"), "content": parts}
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "function_call",
            "id": "",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": function["arguments"],
        }


def response_usage(usage: dict[str, Any] | None, *, details: bool = True) -> dict[str, Any] | None:
    """Rename chat usage to Responses usage.

    Args:
        usage: what the model counted, if it did.
        details: show the two breakdowns, zero where the model left them out (as the service always does).
    """
    if usage is None:
        return None
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    renamed = {
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": usage.get("total_tokens", prompt + completion),
    }
    if details:
        renamed["input_tokens_details"] = {"cached_tokens": cached}
        renamed["output_tokens_details"] = {"reasoning_tokens": reasoning}
    return renamed


def response_status(chat: dict[str, Any]) -> str:
    """The status of a realtime response, from the first choice's finish reason."""
    choices = chat.get("choices")
    if not choices:
        return "failed"
    by_reason = {"length": "incomplete", "tool_calls": "requires_action", "content_filter": "failed"}
    return by_reason.get(choices[0].get("finish_reason"), "completed")


def accepted_object(job: Job) -> dict[str, Any]:
    """The 202 body: no ``created_at``, no usage, no metadata; the tier only where the job is queued."""
    accepted: dict[str, Any] = {
        "id": job.id,
        "object": "response",
        "status": "in_progress" if job.tier == "priority" else "queued",
        "model": job.model,
        "background": True,
        "output": [],
    }
    if job.tier != "priority":
        accepted["service_tier"] = job.tier
    return accepted


def stored_object(job: Job) -> dict[str, Any]:
    """What ``GET /responses/{id}`` shows: few keys, absent instead of null, ``background`` lost on flex."""
    shown: dict[str, Any] = {
        "id": job.id,
        "object": "response",
        "created_at": int(job.created),
        "status": "cancelled" if job.state == "deleted" else job.state,
        "model": job.model,
        "background": job.tier == "background",
        "output": job.output,
        "service_tier": job.tier,
    }
    if job.state == "completed":
        if job.usage is not None:
            shown["usage"] = job.usage
        shown["completed_at"] = int(job.finished or job.created)
    if job.error is not None:
        shown["error"] = job.error
    return shown


def full_object(
    ident: str,
    request: dict[str, Any],
    *,
    created: float,
    status: str,
    output: list[dict[str, Any]],
    usage: dict[str, Any] | None,
    service_tier: str = "default",
) -> dict[str, Any]:
    """What a realtime ``POST /responses`` returns: every field, most of them an echo of the request.

    Args:
        ident: ``resp_<uuid>``.
        request: the decoded body.
        created: service time, Unix seconds.
        status: ``completed``, ``incomplete``, ``requires_action``, ``failed`` or ``in_progress``.
        output: output items.
        usage: Responses usage, or ``None``.
        service_tier: what the upstream said, else ``"default"``.
    """
    return {
        "id": ident,
        "object": "response",
        "created_at": int(created),
        "completed_at": int(created) if status == "completed" else None,
        "status": status,
        "incomplete_details": None,
        "model": request.get("model"),
        "previous_response_id": request.get("previous_response_id"),
        "instructions": request.get("instructions"),
        "output": output,
        "error": None,
        "tools": request.get("tools") or [],
        "tool_choice": request.get("tool_choice") or "auto",
        "truncation": request.get("truncation") or "disabled",
        "parallel_tool_calls": _given(request, "parallel_tool_calls", fallback=True),
        "text": request.get("text") or {"format": {"type": "text"}},
        "top_p": _given(request, "top_p", fallback=1.0),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "temperature": _given(request, "temperature", fallback=1.0),
        "reasoning": request.get("reasoning"),
        "usage": usage,
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": None,
        "store": bool(request.get("store")),
        "background": False,
        "service_tier": service_tier,
        "metadata": request.get("metadata"),
        "safety_identifier": None,
        "prompt_cache_key": None,
    }


def openai_object(job: Job) -> dict[str, Any]:
    """The same job as OpenAI's own API shows it: every field, ``incomplete`` with its reason."""
    cut_off = job.state == "completed" and job.answer is not None and response_status(job.answer) == "incomplete"
    shown = full_object(
        job.id,
        job.body,
        created=job.created,
        status="incomplete" if cut_off else job.state,
        output=job.output,
        usage=job.usage,
        service_tier="default" if job.tier == "priority" else job.tier,
    )
    shown["background"] = True
    shown["store"] = True
    if cut_off:
        shown["incomplete_details"] = {"reason": "max_output_tokens"}
    if job.error is not None:
        code = "rate_limit_exceeded" if job.error.get("code") == 429 else "server_error"
        shown["error"] = {"code": code, "message": job.error["message"]}
    return shown


def _given(request: dict[str, Any], name: str, *, fallback: Any) -> Any:
    value = request.get(name)
    return fallback if value is None else value
