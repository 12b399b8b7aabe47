"""Pydantic AI on flex."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest

from dw_agents.errors import BadRequest
from dw_agents.openai import AsyncOpenAI
from tests.frameworks.recipes import all_on_flex, emulator, is_refused_without_a_key, runs_as_a_program

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

pytest.importorskip("pydantic_ai")
from frameworks import pydantic_ai_agents as recipe

__all__ = ["emulator"]


async def test_agents_call_their_tools_and_answer_in_the_form_on_flex(emulator: Emulator) -> None:
    async with AsyncOpenAI(api_key=emulator.api_key, base_url=emulator.base_url) as client:
        orders = range(100, 104)
        findings = await asyncio.gather(*[recipe.find_out(client, order) for order in orders])
        client.engine.close()
    assert findings == [recipe.facts(order) for order in orders]
    assert all_on_flex(emulator.counters.snapshot(), 3 * len(orders))


async def test_what_goes_wrong_reaches_the_user_with_its_ticket_after_one_submission(emulator: Emulator) -> None:
    emulator.faults.add("fail_job", code=400, message="no such form")
    async with AsyncOpenAI(api_key=emulator.api_key, base_url=emulator.base_url) as client:
        with pytest.raises(Exception, match="no such form") as caught:
            await recipe.find_out(client, 100)
        client.engine.close()
    error: Any = caught.value if isinstance(caught.value, openai.APIError) else caught.value.__cause__
    assert {openai.BadRequestError, BadRequest} <= set(type(error).__mro__)
    assert error.ticket.response_id == emulator.jobs[0].id
    assert emulator.counters["POST /responses"] == 1


def test_the_recipe_runs_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    runs_as_a_program(recipe, capsys, "orders", 9)


def test_live_without_a_key_is_refused_before_anything_is_sent() -> None:
    is_refused_without_a_key(recipe)
