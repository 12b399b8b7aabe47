"""From LlamaIndex's messages to the input items of ``/responses``.

Owns: which item a message becomes, the order of items (a reasoning item stands where the model put it), and the pairing
of tool calls with their outputs. Must not import the LLM.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import ChatMessage, MessageRole, ThinkingBlock, ToolCallBlock

from dw_agents.errors import InvalidStep
from llama_index.llms.dw_agents.blocks import parts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["input_items"]

Item = dict[str, Any]

_ROLES: Final[Mapping[MessageRole, str]] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "developer",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.FUNCTION: "tool",
    MessageRole.TOOL: "tool",
}

_NO_OUTPUT: Final = "[no output: the call was not finished]"


def input_items(messages: Sequence[ChatMessage]) -> list[Item]:
    """Return the items that carry the messages; the messages are not changed.

    The outputs of parallel tool calls are put into the order of their calls. LlamaIndex appends them as the tools
    finish, so that without it the same history would have a different body each time it is asked, and neither a prompt
    cache nor the journal would know it again. A call that has no output in the history gets one that says so.

    Raises:
        InvalidStep: no messages, or one that holds what the service does not read; names it and the mend.
    """
    by_message = [_items_of(message, number) for number, message in enumerate(messages)]
    answered = {item["call_id"] for items in by_message for item in items if item["type"] == "function_call_output"}
    items = [item for written in by_message for item in (*written, *_unanswered(written, answered))]
    if not items:
        raise InvalidStep("messages is empty: there is nothing to answer.", field="messages")
    return list(_paired(items))


def _unanswered(items: Iterable[Item], answered: Collection[str]) -> Iterator[Item]:
    """Make the outputs of calls that have none, without which OpenAI's API refuses the history.

    LlamaIndex leaves such calls behind: a tool that returns directly hides the outputs of those called beside it, and a
    run that is cancelled between call and output is gone on with.
    """
    for item in items:
        if item["type"] == "function_call" and item["call_id"] not in answered:
            yield {"type": "function_call_output", "call_id": item["call_id"], "output": _NO_OUTPUT}


def _items_of(message: ChatMessage, position: int) -> list[Item]:
    where = f"messages[{position}]"
    if not isinstance(message, ChatMessage):
        raise InvalidStep(f"{where} is a {type(message).__name__}. Instead: a ChatMessage.", field=where)
    role = _ROLES[MessageRole(message.role)]
    if role == "tool":
        parts = [part for number, block in enumerate(message.blocks) for part in parts_of(block, _at(where, number))]
        ident = message.additional_kwargs.get("tool_call_id")
        return [{"type": "function_call_output", "call_id": ident or "", "output": parts}]
    items: list[Item] = []
    for number, block in enumerate(message.blocks):
        if isinstance(block, ThinkingBlock):
            items.append(_reasoning(block))
        elif isinstance(block, ToolCallBlock):
            ident = block.tool_call_id or f"call_{position}_{number}"
            items.append(_call(ident, block.tool_name, block.tool_kwargs, _at(where, number)))
        else:
            _add_parts(items, role, parts_of(block, _at(where, number)), _at(where, number))
    if not any(item["type"] == "function_call" for item in items):
        items.extend(_calls_of_others(message, position))
    return items or [_message(role, "")] * (role != "assistant")


def _at(where: str, number: int) -> str:
    return f"{where}.blocks[{number}]"


def _add_parts(items: list[Item], role: str, parts: list[Item], where: str) -> None:
    """Add parts to the message that the last item is, or to a new one."""
    if role != "user" and any(part["type"] == "input_image" for part in parts):
        raise InvalidStep(
            f"{where} is an image in a message of role {role!r}, where the service shows the model none. Instead: put "
            "it into a user message.",
            field=where,
        )
    if role == "assistant":
        text = "\n".join(part["text"] for part in parts)
        if text:
            items.append(_message(role, text))
        return
    if items and items[-1]["type"] == "message":
        items[-1]["content"].extend(parts)
    elif parts:
        items.append(_message(role, parts))


def _message(role: str, content: str | list[Item]) -> Item:
    return {"type": "message", "role": role, "content": content}


def _reasoning(block: ThinkingBlock) -> Item:
    if block.additional_information.get("type") == "reasoning":
        return dict(block.additional_information)
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": block.content or ""}]}


def _call(ident: str, name: str, arguments: Any, where: str) -> Item:
    try:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidStep(
            f"{where} is a call of {name!r} whose arguments cannot be written as JSON ({error}). Instead: arguments as "
            "the model gave them.",
            field=where,
        ) from error
    return {"type": "function_call", "call_id": ident, "name": name, "arguments": text}


def _calls_of_others(message: ChatMessage, position: int) -> Iterator[Item]:
    """Make the calls of a message that an LLM wrote which does not know tool call blocks."""
    where = f"messages[{position}]"
    for number, call in enumerate(message.additional_kwargs.get("tool_calls") or ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            ident = str(call.get("id") or f"call_{position}_{number}")
            yield _call(ident, str(function.get("name")), function.get("arguments") or "{}", where)


def _paired(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items with the outputs of tools in the order of their calls, and none without its call."""
    order: dict[str, int] = {}
    outputs: list[Item] = []
    for number, item in enumerate(items):
        if item["type"] == "function_call_output" and item["call_id"] in order:
            outputs.append(item)
            continue
        yield from sorted(outputs, key=lambda one: order[one["call_id"]])
        outputs = []
        if item["type"] == "function_call":
            order[item["call_id"]] = number
        yield _as_message(item) if item["type"] == "function_call_output" else item
    yield from sorted(outputs, key=lambda one: order[one["call_id"]])


def _as_message(output: Item) -> Item:
    """Say in words what a tool gave whose call is not in the history.

    CodeActAgent writes no call down, and a memory that forgets may have forgotten it; the API takes no output without.
    """
    name = f" {output['call_id']}" if output["call_id"] else ""
    return _message("user", [{"type": "input_text", "text": f"Result of tool call{name}:"}, *output["output"]])
