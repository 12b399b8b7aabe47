"""DSPy on flex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dw_agents.openai import OpenAI
from tests.frameworks.recipes import all_on_flex, emulator, is_refused_without_a_key, runs_as_a_program

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

pytestmark = pytest.mark.filterwarnings("ignore")  # DSPy and LiteLLM warn of what they are about to change
pytest.importorskip("dspy")
from frameworks import dspy_extraction as recipe  # noqa: E402 - after the question whether it can be imported

__all__ = ["emulator"]


def test_letters_become_objects_on_flex(emulator: Emulator) -> None:
    with OpenAI(api_key=emulator.api_key, base_url=emulator.base_url) as client:
        read = recipe.read(client, 5)
        client.engine.close()
    assert read == [recipe.facts(number) for number in range(5)]
    assert all_on_flex(emulator.counters.snapshot(), 5)


def test_the_recipe_runs_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    runs_as_a_program(recipe, capsys, "letters", 3)


def test_live_without_a_key_is_refused_before_anything_is_sent() -> None:
    is_refused_without_a_key(recipe)
