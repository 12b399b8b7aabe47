"""From LangChain's request payload to the JSON body of ``/responses``.

Owns: what is added to LangChain's conversion (stop sequences), what is taken from it (streaming, Python
classes) and the shape of tools. Pure; must not import the chat model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from langchain_dw_agents.carry import carried
from langchain_dw_agents.content import mended_input
from langchain_dw_agents.errors import InvalidStep

__all__ = ["request_body"]

_NOT_FOR_THE_WIRE: Final = ("stream", "stream_usage", "service_tier", "text_format")
_NO_PARAMETERS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


def request_body(payload: Mapping[str, Any], *, stop: list[str] | str | None = None) -> dict[str, Any]:
    """Make the JSON body out of LangChain's payload for the Responses API.

    Args:
        payload: what ``BaseChatOpenAI._get_request_payload`` returned, asked with ``stream=True`` so that a
            schema given as a class is already JSON.
        stop: the stop sequences, which LangChain leaves out of Responses payloads though this service reads
            them.

    Raises:
        InvalidStep: something in it cannot be carried.
    """
    body = {name: value for name, value in payload.items() if name not in _NOT_FOR_THE_WIRE}
    body.update(body.pop("extra_body", None) or {})
    if stop:
        body["stop"] = [stop] if isinstance(stop, str) else list(stop)
    body = carried(body)
    body["input"] = mended_input(body["input"])
    if tools := body.get("tools"):
        body["tools"] = [_tool(position, tool) for position, tool in enumerate(tools)]
    _check_tool_choice(body.get("tool_choice"))
    return body


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
    # The service demands both fields, empty or not; LangChain leaves out what a tool does not have.
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
