"""Bodies of ``/responses`` in the shapes that the service accepts; it is stricter than OpenAI's.

Owns: the mending of input items and tools. Pure; must not know a framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from dw_agents.adapting.carry import carried, warn_once
from dw_agents.errors import InvalidStep

__all__ = ["ITEMS_FROM_THE_CALLER", "fitted", "mended_input"]

_ITEMS_CARRIED: Final = {"message", "function_call", "function_call_output", "reasoning"}
ITEMS_FROM_THE_CALLER: Final = {
    "additional_tools", "apply_patch_call_output", "computer_call_output", "configuration_update",
    "custom_tool_call_output", "item_reference", "mcp_approval_response", "tool_search_output",
}  # fmt: skip
"""Items that only a caller can have put there, and that the service would drop."""

_NO_PARAMETERS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


def fitted(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body of ``/responses`` as the service takes it: what would be lost is refused, the rest is mended.

    Args:
        body: as the framework converted it, pure JSON.

    Raises:
        InvalidStep: something in it cannot be carried; names the field and what would work.
    """
    kept = carried(body)
    if not isinstance(kept.get("input"), str | None):
        kept["input"] = mended_input(kept["input"])
    if tools := kept.get("tools"):
        kept["tools"] = [_tool(position, tool) for position, tool in enumerate(tools)]
    _check_tool_choice(kept.get("tool_choice"))
    return kept


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
        if kind in ITEMS_FROM_THE_CALLER:
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


def _tool(position: int, tool: Mapping[str, Any]) -> dict[str, Any]:
    kind = tool.get("type")
    if kind != "function" or not tool.get("name"):
        raise InvalidStep(
            f"tools[{position}] is of type {kind!r}: the service runs no built-in tools and would leave it "
            "out. Instead: bind a function that does the work.",
            field=f"tools[{position}]",
        )
    if "cache_control" in tool:
        raise InvalidStep(
            f"tools[{position}] holds a cache_control, which /responses drops: nothing would be cached. "
            "Instead: remove it, or use a realtime /chat/completions call.",
            field=f"tools[{position}].cache_control",
        )
    # The service demands both fields, empty or not; frameworks leave out what a tool does not have.
    return {
        **tool,
        "description": tool.get("description") or "",
        "parameters": tool.get("parameters") or dict(_NO_PARAMETERS),
    }


def _check_tool_choice(choice: Any) -> None:
    named = isinstance(choice, Mapping) and choice.get("type") == "function" and bool(choice.get("name"))
    if choice is None or named or choice in ("auto", "none", "required"):
        return
    raise InvalidStep(
        f"tool_choice={choice!r} is not known. Instead: 'auto', 'none', 'any', or the name of a bound tool.",
        field="tool_choice",
    )
