"""The batch route at the API's own limits."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents import Engine, InvalidStep
from dw_agents.emulator import Emulator
from tests.core.steps import step

if TYPE_CHECKING:
    from collections.abc import Iterator


class Echo:
    """A backend that costs nothing, so that the client is what is tested."""

    name = "echo"
    description = "Says ok."

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return {"id": "c", "object": "chat.completion", "model": request["model"], "choices": [choice], "usage": usage}

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(backend=Echo(), record=0) as running:
        yield running


async def test_fifty_thousand_and_one_steps_are_split_and_all_answered(engine: Engine, emulator: Emulator) -> None:
    tickets = [engine.submit(step(i, service_tier="batch")) for i in range(50_001)]
    for ticket in tickets:
        await ticket
    assert len(emulator.batches) >= 2
    assert max(batch.total for batch in emulator.batches) <= 50_000
    assert emulator.counters.lines == 50_001


async def test_a_thousand_steps_of_a_quarter_megabyte_are_split_by_size(engine: Engine, emulator: Emulator) -> None:
    text = "x" * 250_000
    tickets = [engine.submit(step(text, service_tier="batch")) for _ in range(1000)]
    for ticket in tickets:
        await ticket
    assert 2 <= len(emulator.batches) <= 4
    assert max(batch.total for batch in emulator.batches) * len(text) <= 200_000_000
    assert emulator.counters.lines == 1000


async def test_a_step_over_the_limit_of_a_line_fails_alone_and_before_the_upload(
    engine: Engine, emulator: Emulator
) -> None:
    small = engine.submit(step(service_tier="batch"))
    with pytest.raises(InvalidStep, match="10,485,760"):
        engine.submit(step("x" * 10_485_760, service_tier="batch"))
    await small
    assert emulator.counters.lines == 1


async def test_ten_thousand_steps_are_submitted_without_holding_up_the_callers_loop(engine: Engine) -> None:
    longest, done = 0.0, False

    async def heart() -> None:
        nonlocal longest
        while not done:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - started)

    beating = asyncio.create_task(heart())
    tickets = []
    for i in range(10_000):
        tickets.append(engine.submit(step(i, service_tier="batch")))
        if i % 100 == 0:
            await asyncio.sleep(0)
    for ticket in tickets:
        await ticket
    done = True
    await beating
    assert longest < 2.0, "uploads, downloads and parsing are on the engine's thread"
