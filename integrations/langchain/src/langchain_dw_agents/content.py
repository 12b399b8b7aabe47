"""What messages may hold, and the shape in which the service takes them.

Owns: the checks on messages before LangChain converts them (LangChain drops some content without a word) and
the mending of the converted input items (the service is stricter than LangChain's converter). Pure; must not
import the chat model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_dw_agents.carry import warn_once
from langchain_dw_agents.errors import InvalidStep

__all__ = ["checked_messages", "mended_input"]

_TEXT: Final = {"text", "input_text"}
_MESSAGE_PARTS: Final = {"text", "output_text", "refusal"}
_IMAGES: Final = {"image", "image_url", "input_image"}
_MENDS: Final = {
    "audio": "transcribe it first and send the text",
    "input_audio": "transcribe it first and send the text",
    "video": "send single frames as images",
    "file": "extract its text, or send its pages as images",
    "input_file": "extract its text, or send its pages as images",
    "text-plain": "send its text as a text block",
}
_CACHE_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")

_ITEMS_CARRIED: Final = {"message", "function_call", "function_call_output", "reasoning"}
_ITEMS_FROM_THE_CALLER: Final = {
    "additional_tools", "apply_patch_call_output", "computer_call_output", "configuration_update",
    "custom_tool_call_output", "item_reference", "mcp_approval_response", "tool_search_output",
}  # fmt: skip


def checked_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages as LangChain's converter can take them; the originals are not changed.

    Bare strings in lists become text blocks, and ids of blocks become distinct: the service numbers the items of
    each answer from zero, and the converter puts text under the first item that has the same id.

    Raises:
        InvalidStep: a message holds something that would be lost on the way; names the message and the mend.
    """
    owners: dict[str, tuple[int, str]] = {}
    return [
        _with_distinct_ids(position, _checked(position, message), owners) for position, message in enumerate(messages)
    ]


def _checked(position: int, message: BaseMessage) -> BaseMessage:
    where = f"messages[{position}]"
    if isinstance(message, HumanMessage) and message.name:
        warn_once(
            "name",
            f"HumanMessage(name={message.name!r}): the API's messages have no name, so the model does not "
            "see it. Instead: write the name into the text.",
        )
    if isinstance(message.content, str):
        return message
    for block in message.content:
        if isinstance(block, dict):
            _check_block(where, block, message)
    if isinstance(message, AIMessage) or all(isinstance(block, dict) for block in message.content):
        return message
    blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in message.content]
    return message.model_copy(update={"content": blocks})


def _with_distinct_ids(position: int, message: BaseMessage, owners: dict[str, tuple[int, str]]) -> BaseMessage:
    if not isinstance(message, AIMessage) or isinstance(message.content, str):
        return message
    blocks = [_with_distinct_id(position, block, owners) for block in message.content]
    if all(new is old for new, old in zip(blocks, message.content, strict=True)):
        return message
    return message.model_copy(update={"content": blocks})


def _with_distinct_id(position: int, block: Any, owners: dict[str, tuple[int, str]]) -> Any:
    if not isinstance(block, dict):
        return block
    extras = block.get("extras")
    if isinstance(extras, dict) and isinstance(extras.get("item_id"), str):
        owners.setdefault(extras["item_id"], (position, "call"))
    ident = block.get("id")
    if not isinstance(ident, str):
        return block
    # Text and refusal are parts of one message item, and rightly share its id.
    owner = (position, "message" if block.get("type") in _MESSAGE_PARTS else str(block.get("type")))
    if owners.setdefault(ident, owner) == owner:
        return block
    return {**block, "id": f"{ident}_{position}_{owner[1]}"}


def _check_block(where: str, block: Mapping[str, Any], message: BaseMessage) -> None:
    extras = block.get("extras")
    for mark in _CACHE_MARKS:
        if mark in block or (isinstance(extras, Mapping) and mark in extras):
            raise InvalidStep(
                f"{where} holds a {mark}, which /responses drops: nothing would be cached, and the prompt "
                "billed in full. Instead: remove it, or use a realtime /chat/completions call.",
                field=f"{where}.content.{mark}",
            )
    kind = str(block.get("type"))
    if isinstance(message, AIMessage) or (isinstance(message, ToolMessage) and kind not in _MENDS):
        return
    if isinstance(block.get("value"), Mapping) and kind == "non_standard":
        kind = str(block["value"].get("type"))
        if kind in _ITEMS_FROM_THE_CALLER:
            return  # judged once it is an input item, where its name is the API's
    if kind in _TEXT or kind in _ITEMS_FROM_THE_CALLER:
        return
    if kind not in _IMAGES:
        mend = _MENDS.get(kind, "send it as text")
        raise InvalidStep(
            f"{where} holds a {kind!r} block, which the service does not read. Instead: {mend}.",
            field=f"{where}.content",
        )
    if "file_id" in block or ("id" in block and block.get("source_type") == "id"):
        raise InvalidStep(
            f"{where} holds an image by its file id, which the service drops. Instead: give its URL, or "
            "its bytes as base64.",
            field=f"{where}.content",
        )


def mended_input(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the input items in the shapes that the service accepts.

    A tool's output must be one string there, so its text parts are joined, and its images follow, after the
    last output of that turn, in a user message that says which call each came from.

    Raises:
        InvalidStep: an item that the caller supplied and that the service would drop.
    """
    mended: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type", "message")
        if kind != "function_call_output" and images:
            mended.append(_user_message(images))
            images = []
        if kind in _ITEMS_FROM_THE_CALLER:
            raise InvalidStep(
                f"input holds a {kind!r} item, which the service drops. Instead: use function tools, whose "
                "outputs it reads.",
                field="input",
            )
        if kind not in _ITEMS_CARRIED:
            warn_once(
                f"input.{kind}",
                f"A {kind!r} item of an earlier answer is not carried: the service reads messages, function "
                "calls, their outputs and reasoning. Instead: put what the model should "
                "know of it into a message.",
            )
            continue
        if kind == "function_call_output" and not isinstance(item.get("output"), str):
            text, found = _split_output(str(item.get("call_id")), item.get("output"))
            mended.append({**item, "output": text})
            images.extend(found)
        else:
            mended.append(dict(item))
    if images:
        mended.append(_user_message(images))
    return mended


def _split_output(call_id: str, output: Any) -> tuple[str, list[dict[str, Any]]]:
    parts = output if isinstance(output, list) else []
    texts = [str(part.get("text", "")) for part in parts if part.get("type") == "input_text"]
    found = [
        {key: part[key] for key in ("type", "image_url", "detail") if part.get(key) is not None}
        for part in parts
        if part.get("type") == "input_image"
    ]
    if not found:
        return "\n".join(texts), []
    count = "1 image" if len(found) == 1 else f"{len(found)} images"
    texts.append(f"[{count}, shown in the next user message]")
    return "\n".join(texts), [{"type": "input_text", "text": f"{count} from tool call {call_id}:"}, *found]


def _user_message(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": parts}
