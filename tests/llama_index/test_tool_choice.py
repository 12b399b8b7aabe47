"""Which tool the model must call: in every shape that users know, or a refusal that names the tools there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.tools import FunctionTool

from llama_index.llms.dw_agents.errors import InvalidStep
from tests.llama_index.wire import bodies

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from llama_index.llms.dw_agents import DoublewordLLM

NAMED = {"type": "function", "name": "double"}


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


TOOLS = [FunctionTool.from_defaults(double)]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("any", "required"),
        ("double", NAMED),
        (NAMED, NAMED),
        ({"type": "function", "function": {"name": "double"}}, NAMED),
    ],
    ids=str,
)
async def test_every_shape_of_a_choice_is_taken(emulator: Emulator, llm: DoublewordLLM, choice: Any, sent: Any) -> None:
    await llm.achat_with_tools(TOOLS, "number: 4", tool_choice=choice)
    assert bodies(emulator)[-1].get("tool_choice") == sent


@pytest.mark.parametrize(
    "choice",
    ["halve", "", 3, True, [], double, {"type": "auto"}, {"type": "function", "name": "halve"}, {"type": "tool"}],
    ids=lambda choice: getattr(choice, "__name__", str(choice)),
)
async def test_any_other_choice_is_refused_before_anything_is_sent(
    emulator: Emulator, llm: DoublewordLLM, choice: Any
) -> None:
    with pytest.raises(InvalidStep, match="tool_choice=") as caught:
        await llm.achat_with_tools(TOOLS, "number: 4", tool_choice=choice)
    assert caught.value.field == "tool_choice"
    assert emulator.counters.snapshot().requests == 0


async def test_a_choice_goes_before_what_is_required(emulator: Emulator, llm: DoublewordLLM) -> None:
    await llm.achat_with_tools(TOOLS, "number: 4", tool_required=True)
    await llm.achat_with_tools(TOOLS, "number: 4", tool_required=True, tool_choice="auto")
    await llm.achat_with_tools([], "number: 4", tool_required=True)
    assert [body.get("tool_choice") for body in bodies(emulator)] == ["required", "auto", None]
