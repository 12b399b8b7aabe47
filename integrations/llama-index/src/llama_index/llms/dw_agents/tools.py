"""From LlamaIndex's tools to those of ``/responses``, and back from an answer to the tools to call.

Owns: the shapes of tools and of the choice between them, and the reading of tool calls. Pure; must not import the LLM.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms.llm import ToolSelection

from dw_agents.errors import InvalidStep
from llama_index.llms.dw_agents.errors import AnswerMismatch
from llama_index.llms.dw_agents.schemas import strict_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.base.llms.types import ChatMessage, ChatResponse
    from llama_index.core.tools import BaseTool

__all__ = ["choice_for", "function_tool", "normal_choice", "normal_tool", "selections", "with_one_call"]


def function_tool(tool: BaseTool, *, strict: bool) -> dict[str, Any]:
    """Return a tool as the API takes it.

    Args:
        tool: any of LlamaIndex's tools.
        strict: constrain the arguments to the schema, where it has a strict form.
    """
    parameters: dict[str, Any] = tool.metadata.get_parameters_dict()
    closed = strict_schema(parameters) if strict else None
    return {
        "type": "function",
        "name": tool.metadata.get_name(),
        "description": tool.metadata.description,
        "parameters": closed or parameters,
        "strict": closed is not None,
    }


def normal_tool(tool: Any) -> Any:
    """Return a tool that was given as JSON, also in the shape of chat completions, as ``/responses`` takes it."""
    if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping):
        return {"type": "function", **tool["function"]}
    return tool


def choice_for(tool_choice: Any, names: Sequence[str], *, required: bool) -> Any:
    """Return the ``tool_choice`` of a call with tools; None leaves it to the service, which means "auto".

    Args:
        tool_choice: what the caller said: a word, a tool's name, a choice in any of the API's shapes, or nothing.
        names: of the tools.
        required: whether the model must call some tool, where the caller chose none.

    Raises:
        InvalidStep: it names a tool that is not among them.
    """
    choice = normal_choice(tool_choice if tool_choice is not None else "required" if required else None)
    if isinstance(choice, Mapping) and choice.get("name") not in names:
        raise InvalidStep(
            f"tool_choice={tool_choice!r} names none of the tools of this call ({', '.join(names)}). Instead: one of "
            "these names, 'auto', 'required' or 'none'.",
            field="tool_choice",
        )
    return choice


def normal_choice(choice: Any) -> Any:
    """Return a tool choice in the shape of ``/responses``."""
    if choice == "any":
        return "required"
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        return {"type": "function", "name": choice}
    if isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        return {"type": "function", "name": choice["function"].get("name")}
    return choice


def selections(response: ChatResponse) -> list[ToolSelection]:
    """Return the tools that an answer calls, in its order.

    Raises:
        AnswerMismatch: a call's arguments are no JSON object. LlamaIndex would call the tool without any.
    """
    return [_selection(block) for block in response.message.blocks if isinstance(block, ToolCallBlock)]


def _selection(block: ToolCallBlock) -> ToolSelection:
    arguments = block.tool_kwargs
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = ""
    if not isinstance(arguments, dict):
        raise AnswerMismatch(
            f"The model called {block.tool_name!r} with arguments that are no JSON object: "
            f"{str(block.tool_kwargs)[:200]!r}. The tool was not called; ask again, or with strict=True, which "
            "constrains the arguments."
        )
    return ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=arguments)


def with_one_call(message: ChatMessage) -> ChatMessage:
    """Return the message with the first of its tool calls only; some models ignore that they may make but one."""
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if len(calls) < 2:
        return message
    kept = [block for block in message.blocks if not isinstance(block, ToolCallBlock) or block is calls[0]]
    others = dict(message.additional_kwargs)
    if others.get("tool_calls"):
        others["tool_calls"] = others["tool_calls"][:1]
    return message.model_copy(update={"blocks": kept, "additional_kwargs": others})
