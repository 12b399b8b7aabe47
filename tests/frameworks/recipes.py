"""What is true of every recipe for a framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import CounterSnapshot

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


def all_on_flex(counts: CounterSnapshot, steps: int) -> bool:
    """Whether so many calls were made, each one a background Response on flex, sent once."""
    return (counts.flex, counts.realtime, counts["POST /responses"], counts["POST /chat/completions"]) == (
        steps, 0, steps, 0,
    )  # fmt: skip


def runs_as_a_program(recipe: Any, printed: pytest.CaptureFixture[str], things: str, steps: int) -> None:
    """Run it as a user would, and look at what it says."""
    assert recipe.main([f"--{things}", "3"]) == 0
    said = printed.readouterr().out
    assert "3 of 3" in said
    assert f"{MODEL}  flex  {steps:>5}       0" in said


def is_refused_without_a_key(recipe: Any) -> None:
    """Ask for the real service without a key."""
    with pytest.raises(Exception, match="DOUBLEWORD_API_KEY"):
        recipe.main(["--live"])


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running
