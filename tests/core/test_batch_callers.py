"""Callers of every kind on the batch route: threads, second event loops, trio, forks."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import trio

from dw_agents import Engine, EngineForked
from dw_agents.emulator import Emulator
from tests.core.steps import eventually, step, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from dw_agents import Answer, Step, Ticket


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(batch_latency=0.2) as running:
        yield running


def batched(text: str) -> Step:
    return step(text, service_tier="batch")


def check(answers: list[Answer], emulator: Emulator, *, batches: int) -> None:
    """Each caller got its own answer, each line was run once, and few batches were made."""
    for answer in answers:
        assert str(answer.ticket.step.body["input"]) in text_of(answer.body)
    assert emulator.counters.lines == len(answers)
    assert emulator.counters.batches <= batches


def test_four_threads_with_a_loop_and_thirty_calls_each_share_a_batch(engine: Engine, emulator: Emulator) -> None:
    async def thirty(thread: int) -> list[Answer]:
        return await asyncio.gather(*[engine.arun(batched(f"<{thread}-{i}>")) for i in range(30)])

    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda t: asyncio.run(thirty(t)), range(4))
        check([answer for part in parts for answer in part], emulator, batches=2)


def test_fifty_threads_that_block_share_a_batch(engine: Engine, emulator: Emulator) -> None:
    with ThreadPoolExecutor(50) as pool:
        check(list(pool.map(lambda i: engine.run(batched(f"<{i}>")), range(50))), emulator, batches=2)


def test_two_event_loops_one_after_the_other(engine: Engine, emulator: Emulator) -> None:
    async def fifty(run: int) -> list[Answer]:
        return await asyncio.gather(*[engine.arun(batched(f"<{run}-{i}>")) for i in range(50)])

    check([*asyncio.run(fifty(1)), *asyncio.run(fifty(2))], emulator, batches=4)


def test_trio(engine: Engine, emulator: Emulator) -> None:
    answers: list[Answer] = []

    async def ask(i: int) -> None:
        answers.append(await engine.arun(batched(f"<{i}>")))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for i in range(20):
                nursery.start_soon(ask, i)

    trio.run(main)
    check(answers, emulator, batches=1)


def in_a_child(engine: Engine, ticket: Ticket, pipe: Connection) -> None:
    try:
        ticket.result()
    except EngineForked as error:
        pipe.send(type(error).__name__)
    pipe.send(text_of(engine.run(batched("<child>")).body))
    pipe.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_batches_of_its_own(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(batched("<parent>"))
    assert eventually(lambda: emulator.counters.batches == 1)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=in_a_child, args=(engine, ticket, theirs))
    child.start()
    theirs.close()
    assert ours.recv() == "EngineForked"
    assert "<child>" in ours.recv()
    child.join(20)
    assert child.exitcode == 0
    assert "<parent>" in text_of(ticket.result().body)
    assert emulator.counters.lines == 2


async def test_a_batch_and_a_flex_step_of_one_agent_do_not_disturb_each_other(
    engine: Engine, emulator: Emulator
) -> None:
    answers = await asyncio.gather(
        *[engine.arun(batched(f"<b{i}>")) for i in range(10)], *[engine.arun(step(f"<f{i}>")) for i in range(10)]
    )
    assert all(str(answer.ticket.step.body["input"]) in text_of(answer.body) for answer in answers)
    counted = emulator.counters.snapshot()
    assert (counted.lines, counted.flex, counted.realtime) == (10, 10, 0)
