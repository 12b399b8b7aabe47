"""From the service's answer to LlamaIndex's responses.

Owns: the blocks of an answer in the order of its items, the marks of a truncated or refused one, and the token counts.
Must not import the LLM.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from dw_agents.adapting.carry import warn_once
from llama_index.llms.dw_agents.errors import AnswerTruncated, MalformedAnswer
from llama_index.llms.dw_agents.tools import with_one_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dw_agents import Answer

__all__ = ["as_chunk", "as_completion", "to_response"]

Block = TextBlock | ThinkingBlock | ToolCallBlock

_COUNTS: Final = (
    ("prompt_tokens", "input_tokens"),
    ("completion_tokens", "output_tokens"),
    ("total_tokens", "total_tokens"),
)


def to_response(answer: Answer) -> ChatResponse:
    """Make LlamaIndex's response out of an answer.

    ``message.blocks`` has one block for each item: the text of a message, a piece of reasoning (the item itself is kept
    in ``additional_information``, to be sent back as it came), a tool call. A refusal's words are text, too, and stand
    in ``additional_kwargs["refusal"]``. ``raw`` is the service's Response, a plain dict.

    ``additional_kwargs`` of the response: ``finish_reason`` (``"stop"``, ``"tool_calls"``, ``"length"``, or the
    service's own word), ``truncated`` where the answer was cut, ``prompt_tokens``, ``completion_tokens`` and
    ``total_tokens`` where the service counted, ``thinking_delta`` where the model thought aloud.

    Raises:
        AnswerTruncated: cut before there was any text, or in the middle of a tool call.
        MalformedAnswer: the answer is no Response object.
    """
    raw = dict(answer.body)
    blocks, refusal = _read(raw, answer)
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)
    calls = [block for block in blocks if isinstance(block, ToolCallBlock)]
    if calls:
        message.additional_kwargs["tool_calls"] = [_as_chat_call(block) for block in calls]
        if answer.ticket.step.body.get("parallel_tool_calls") is False:
            message = with_one_call(message)
    about: dict[str, Any] = {"finish_reason": "tool_calls" if calls else "stop", **_counts(raw)}
    if refusal:
        message.additional_kwargs["refusal"] = about["refusal"] = refusal
    if thoughts := "\n".join(block.content for block in blocks if isinstance(block, ThinkingBlock) and block.content):
        about["thinking_delta"] = thoughts
    if answer.truncated or raw.get("status") == "incomplete":
        reason = (raw.get("incomplete_details") or {}).get("reason") or "max_output_tokens"
        _check_cut(answer, message, reason)
        about["finish_reason"] = "length" if reason == "max_output_tokens" else reason
        message.additional_kwargs["truncated"] = about["truncated"] = True
    return ChatResponse(message=message, raw=raw, additional_kwargs=about)


def as_chunk(response: ChatResponse) -> ChatResponse:
    """Make the one chunk of a "stream": the whole message, and its text as the delta, too."""
    return response.model_copy(update={"delta": response.message.content or ""})


def as_completion(response: ChatResponse) -> CompletionResponse:
    """Make a completion of a chat's response or of its one chunk."""
    return CompletionResponse(
        text=response.message.content or "",
        delta=response.delta,
        raw=response.raw,
        additional_kwargs={**response.message.additional_kwargs, **response.additional_kwargs},
    )


def _read(raw: Mapping[str, Any], answer: Answer) -> tuple[list[Block], str]:
    output = raw.get("output")
    if not isinstance(output, list):
        raise MalformedAnswer(f"The answer {raw.get('id')} has no output.", ticket=answer.ticket)
    blocks: list[Block] = []
    refusals: list[str] = []
    try:
        for number, item in enumerate(output):
            if item["type"] == "reasoning":
                blocks.append(_thought(item, raw))
            elif item["type"] == "message":
                blocks.append(TextBlock(text="".join(_texts(item["content"], refusals))))
            elif item["type"] == "function_call":
                # The same answer always has the same ids: it may be read twice, in two processes.
                ident = item.get("call_id") or f"call_{raw.get('id')}_{number}"
                blocks.append(_tool_call(_distinct(ident, number, blocks), item))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(
            f"The answer {raw.get('id')} cannot be read as a Response ({type(error).__name__}: {error}).",
            ticket=answer.ticket,
        ) from error
    if not any(not isinstance(block, ThinkingBlock) for block in blocks):
        blocks.append(TextBlock(text=""))
    return blocks, "".join(refusals)


def _texts(parts: Sequence[Mapping[str, Any]], refusals: list[str]) -> Iterable[str]:
    for part in parts:
        if part["type"] == "refusal":
            refusals.append(part["refusal"])
            yield part["refusal"]
        else:
            yield part.get("text") or ""


def _thought(item: dict[str, Any], raw: Mapping[str, Any]) -> ThinkingBlock:
    spoken = item.get("content") or item.get("summary") or ()
    text = "".join(part.get("text") or "" for part in spoken)
    return ThinkingBlock(content=text or None, num_tokens=_thinking_tokens(raw), additional_information=dict(item))


def _thinking_tokens(raw: Mapping[str, Any]) -> int | None:
    """Count the tokens of the only reasoning item; the service counts them all together."""
    if sum(item["type"] == "reasoning" for item in raw["output"]) > 1:
        return None
    details = (raw.get("usage") or {}).get("output_tokens_details") or {}
    return details.get("reasoning_tokens") or None


def _tool_call(ident: str, item: Mapping[str, Any]) -> ToolCallBlock:
    arguments: Any = item.get("arguments") or "{}"
    try:
        parsed = json.loads(arguments)
    except ValueError:
        parsed = None
    kept = parsed if isinstance(parsed, dict) else arguments
    return ToolCallBlock(tool_call_id=ident, tool_name=item["name"], tool_kwargs=kept)


def _distinct(ident: str, number: int, blocks: Sequence[Block]) -> str:
    taken = any(isinstance(block, ToolCallBlock) and block.tool_call_id == ident for block in blocks)
    return f"{ident}_{number}" if taken else ident


def _as_chat_call(block: ToolCallBlock) -> dict[str, Any]:
    """Make the older form of a tool call, which some of LlamaIndex's programs and memories still look for."""
    arguments = block.tool_kwargs
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": block.tool_call_id, "type": "function", "function": {"name": block.tool_name, "arguments": text}}


def _counts(raw: Mapping[str, Any]) -> dict[str, int]:
    usage = raw.get("usage")
    if not isinstance(usage, Mapping):
        return {}
    return {ours: usage[theirs] for ours, theirs in _COUNTS if isinstance(usage.get(theirs), int)}


def _check_cut(answer: Answer, message: ChatMessage, reason: str) -> None:
    """Refuse an answer of which nothing can be used, and say once that answers are cut."""
    ticket = answer.ticket
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    mend = "raise max_tokens" if reason == "max_output_tokens" else "rephrase the prompt"
    broken = next((block.tool_name for block in calls if isinstance(block.tool_kwargs, str)), None)
    if broken is not None or not (calls or message.content):
        what = f"in the middle of the call of {broken!r}" if broken is not None else "before any text"
        raise AnswerTruncated(f"The answer of {ticket} was cut {what} ({reason}); {mend}.", ticket=ticket)
    warn_once(
        "truncated",
        f"The answer of {ticket} was cut ({reason}) and is used as it is; {mend}. Each such answer has "
        'additional_kwargs["truncated"]; this is said once.',
    )
