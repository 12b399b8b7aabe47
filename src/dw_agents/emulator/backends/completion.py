"""The shape of a ``chat.completion`` body, and how its tokens are counted.

Owns: token estimates, ``stop`` and ``max_tokens``, and the assembly of message, finish reason and usage for
backends that produce whole answers. Must not import a backend.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from dw_agents.emulator.backends.facts import text_of

__all__ = ["BYTES_PER_TOKEN", "Answer", "assemble", "completion", "count_tokens", "cut", "prompt_tokens"]

BYTES_PER_TOKEN = 4
"""A token is taken to be four bytes of UTF-8: near enough for English, and the same on every machine."""

_MESSAGE_TOKENS = 4
_MEDIA_TOKENS = 85
_CACHE_LEAST = 1024
_CACHE_STEP = 128


@dataclass
class Answer:
    """What a backend has to say, before limits and counting.

    Attributes:
        text: the content, empty when only tools are called.
        calls: name and arguments (JSON text) of each tool call.
        reasoning: thoughts to report as ``reasoning_content``.
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    reasoning: str = ""


def count_tokens(text: str) -> int:
    """Estimate the tokens of a text: its bytes divided by four, rounded up."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def prompt_tokens(request: dict[str, Any]) -> tuple[int, int]:
    """Return the prompt's tokens and how many of them a prefix cache would have had.

    Every message before the last assistant message was sent in an earlier request, so it counts as cached
    where that prefix has 1,024 tokens or more, in steps of 128. An image or another medium counts 85 tokens.
    """
    tools = request.get("tools")
    running = count_tokens(json.dumps(tools, ensure_ascii=False)) if tools else 0
    seen_before = 0
    for message in request.get("messages") or ():
        if message.get("role") == "assistant":
            seen_before = running
        running += _message_tokens(message)
    cached = seen_before // _CACHE_STEP * _CACHE_STEP if seen_before >= _CACHE_LEAST else 0
    return running, cached


def _message_tokens(message: dict[str, Any]) -> int:
    content = message.get("content")
    media = (
        sum(1 for part in content if isinstance(part, dict) and "text" not in part) if isinstance(content, list) else 0
    )
    calls = sum(
        count_tokens(call["function"]["name"]) + count_tokens(call["function"].get("arguments") or "")
        for call in message.get("tool_calls") or ()
    )
    return _MESSAGE_TOKENS + count_tokens(text_of(content)) + calls + _MEDIA_TOKENS * media


def cut(text: str, tokens: int) -> str:
    """Return the beginning of ``text`` that fits into ``tokens``, never half a character."""
    return text.encode()[: max(tokens, 0) * BYTES_PER_TOKEN].decode(errors="ignore")


def _stopped(text: str, stop: Any) -> str:
    marks = [stop] if isinstance(stop, str) else stop or []
    ends = [at for mark in marks if mark and (at := text.find(mark)) >= 0]
    return text[: min(ends)] if ends else text


def completion(request: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Build a ``chat.completion`` body: stop sequences, the token limit, finish reason and usage applied.

    Reasoning is charged to the limit first, then text, then tool calls; what is over the limit is cut off
    and the finish reason is ``length``, as a model server does it.
    """
    whole = [
        answer.reasoning,
        _stopped(answer.text, request.get("stop")),
        *(given for _, given in answer.calls),
    ]
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    reasoning, text, *arguments = kept = _within(whole, limit) if limit else whole
    names = [name for name, _ in answer.calls]
    said = Answer(text, tuple(zip(names, arguments, strict=True)), reasoning)
    usage = _usage(request, [*kept, *names], reasoning)
    return assemble(request, said, usage, truncated=kept != whole)


def assemble(
    request: dict[str, Any], said: Answer, usage: dict[str, Any], *, truncated: bool = False
) -> dict[str, Any]:
    """Put a finished answer and its usage into a ``chat.completion`` body.

    Ids are a digest of the request: the same request, the same body.
    """
    digest = blake2b(json.dumps(request, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()
    calls = [
        {
            "id": f"call_{digest[:22]}{index:02d}",
            "type": "function",
            "function": {"name": name, "arguments": given},
        }
        for index, (name, given) in enumerate(said.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": said.text if said.text or not calls else None}
    if calls:
        message["tool_calls"] = calls
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    finish = "length" if truncated else "tool_calls" if calls else "stop"
    return {
        "id": f"chatcmpl-{digest}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.get("model", ""),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage,
    }


def _within(pieces: list[str], limit: int) -> list[str]:
    kept: list[str] = []
    for piece in pieces:
        kept.append(cut(piece, limit))
        limit -= count_tokens(kept[-1])
    return kept


def _usage(request: dict[str, Any], said: list[str], reasoning: str) -> dict[str, Any]:
    prompt, cached = prompt_tokens(request)
    output = sum(map(count_tokens, said)) or 1
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": count_tokens(reasoning)},
    }
