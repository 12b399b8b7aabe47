"""Instructor on flex."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.openai import AsyncOpenAI, OpenAI
from tests.frameworks.recipes import MODEL, all_on_flex, emulator, is_refused_without_a_key, runs_as_a_program

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

instructor: Any = pytest.importorskip("instructor")
from frameworks import instructor_extraction as recipe  # noqa: E402 - after the question whether it can be imported

__all__ = ["emulator"]


async def test_letters_become_objects_on_flex(emulator: Emulator) -> None:
    async with AsyncOpenAI(api_key=emulator.api_key, base_url=emulator.base_url) as client:
        read = await asyncio.gather(*[recipe.read(client, number) for number in range(5)])
        client.engine.close()
    assert read == [recipe.facts(number) for number in range(5)]
    assert all_on_flex(emulator.counters.snapshot(), 5)


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA", "RESPONSES_TOOLS"])
def test_every_mode_travels_on_flex(emulator: Emulator, mode: str) -> None:
    with OpenAI(api_key=emulator.api_key, base_url=emulator.base_url) as client:
        reader = instructor.from_openai(client, mode=instructor.Mode[mode])
        said = [{"role": "user", "content": recipe.letter(3)}]
        complaint = reader.chat.completions.create(model=MODEL, response_model=recipe.Complaint, messages=said)
        client.engine.close()
    assert complaint.order == recipe.facts(3).order
    assert all_on_flex(emulator.counters.snapshot(), 1)


def test_the_recipe_runs_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    runs_as_a_program(recipe, capsys, "letters", 3)


def test_live_without_a_key_is_refused_before_anything_is_sent() -> None:
    is_refused_without_a_key(recipe)
