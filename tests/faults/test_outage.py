"""A total outage, and what the service sees when it comes back: retries are few, and their return is no stampede.

Time is the engine's own: a loop whose clock jumps to the next thing to do, so that ten minutes take a second. The
engine's retries, its budget, its pace and its polls are the real ones; the service is a function of the time.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from dw_agents import Retries
from dw_agents.wire.http import NotSent, Reply, ReplyLost
from tests.core.steps import step
from tests.faults.simulation import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.service import Call

OUTAGE = 600.0
STEPS_A_SECOND = 5
FIRST_BURST = 30.0
BURST = 100
"""Retries that the budget grants at once, after a quiet time."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "journal.db") as made:
        yield made


def outage(world: World, kind: str) -> None:
    """Let everything fail in one way, from now on."""

    def fail(_: Call) -> Reply:
        if kind == "refused":
            raise NotSent("could not connect to the service (refused)")
        if kind == "reset":
            raise ReplyLost("the connection broke before the reply was whole")
        return Reply(int(kind), {}, b"out of order")

    world.service.answer = fail


@pytest.mark.parametrize("kind", ["refused", "reset", "503", "500", "429"])
def test_in_ten_minutes_without_the_service_retries_are_a_tenth_of_the_requests_after_the_first_burst(
    world: World, kind: str
) -> None:
    process = world.process(retries=Retries())
    outage(world, kind)
    begun, asked = world.now, 0
    while world.now < begun + OUTAGE:
        for _ in range(STEPS_A_SECOND):
            process.submit(step(asked))
            asked += 1
        world.run(1.0)
    seen: set[str] = set()
    retries = []
    for call in world.service.calls:
        if call.text in seen:
            retries.append(call.at - begun)
        seen.add(call.text)
    after_burst = [at for at in retries if at > FIRST_BURST]
    assert len(after_burst) <= 0.1 * STEPS_A_SECOND * (OUTAGE - FIRST_BURST)
    assert len(retries) <= BURST + 0.1 * asked
    assert not any(ticket.status == "completed" for ticket in process.asked)


def test_when_the_service_comes_back_what_waited_returns_gradually(world: World) -> None:
    process = world.process(retries=Retries())
    outage(world, "refused")
    tickets = [process.submit(step(n)) for n in range(2_000)]
    world.run(20.0)
    waiting = [ticket for ticket in tickets if not ticket.done()]
    assert len(waiting) == len(tickets), "the tries that a step may have take longer than this"
    world.service.recover()
    back = world.now
    world.run(120.0)
    assert all(ticket.done() and ticket.status == "completed" for ticket in tickets)
    after = [call for call in world.service.calls if call.path == "/responses" and call.at >= back]
    assert len(after) == len(tickets), "each once"
    assert world.service.most_at_once <= 64


def test_second_submissions_do_not_come_all_at_once_after_many_lost_replies(world: World) -> None:
    process = world.process(retries=Retries())
    outage(world, "reset")
    tickets = [process.submit(step(n)) for n in range(1_000)]
    world.run(5.0)
    world.service.recover()
    back = world.now
    world.run(600.0)
    assert all(ticket.done() for ticket in tickets)
    seen: set[str] = set()
    second = Counter[int]()
    for call in world.service.calls:
        if call.path == "/responses":
            if call.text in seen and call.at >= back:
                second[int(call.at - back)] += 1
            seen.add(call.text)
    assert max(second.values(), default=0) <= 150, "the budget's burst, and what succeeds in the meantime"
