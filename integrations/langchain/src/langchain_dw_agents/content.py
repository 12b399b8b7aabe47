"""What messages may hold.

Owns: the checks on messages before LangChain converts them, which drops some content without a word. Pure; must not
import the chat model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from dw_agents.adapting.carry import warn_once
from dw_agents.adapting.items import ITEMS_FROM_THE_CALLER
from dw_agents.errors import InvalidStep

__all__ = ["checked_messages"]

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
        if kind in ITEMS_FROM_THE_CALLER:
            return  # judged once it is an input item, where its name is the API's
    if kind in _TEXT or kind in ITEMS_FROM_THE_CALLER:
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
