"""What a call costs, in things that do not depend on the machine: requests, look-ups, memory, function calls.

The bounds stand some way above what was counted when they were set: whoever makes the engine leaner lowers them, and
who has to raise one says why.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any, Self

import pytest
from benchmarks.harness import serving

from dw_agents import Engine, Step
from dw_agents.journal import sqlite
from dw_agents.journal.rows import Ask, End, Group, Kind
from dw_agents.journal.schema import connect
from tests.core.test_polling import simulate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from benchmarks.harness import Server

OURS = "dw_agents"
FLEX_CALLS = 150.0
"""Of our functions, on the network thread, for each request."""
BATCH_CALLS = 65.0
"""The same for each step of a batch."""
BATCH_LOOK_UP_CALLS = 1.2
"""The same for each step, each time that its batch is looked at."""
OUTSTANDING_BYTES = 1600
OUTSTANDING_BLOCKS = 16
JOURNAL_INSTRUCTIONS = 280
"""Of SQLite's machine, for a step's whole life."""


@pytest.fixture
def server() -> Iterator[Server]:
    """An emulator in a process of its own: what it allocates and calls is not counted."""
    with serving({"latency": 0.5, "batch_latency": 0.5}) as running:
        yield running


class Calls:
    """Counts the calls of this package's functions on the threads that start while it is watched."""

    def __init__(self) -> None:
        self.count = 0
        self._ours: dict[Any, bool] = {}

    def __enter__(self) -> Self:
        threading.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = OURS in code.co_filename
        self.count += ours


async def ask_all(engine: Engine, calls: int, tier: Any = "flex") -> None:
    steps = [Step(body={"model": "m", "input": f"question {n}"}, service_tier=tier) for n in range(calls)]
    await asyncio.gather(*[engine.arun(step) for step in steps])


def counted(server: Server, calls: int, tier: Any = "flex") -> tuple[float, float, dict[str, int]]:
    """Return our function calls per step, the same per request, and the requests."""
    with Calls() as own, Engine(api_key=server.api_key, base_url=server.base_url, journal=False) as engine:
        engine.run(Step(body={"model": "m", "input": "warm-up"}, service_tier="priority"))
        before, base = own.count, engine.receipt()
        asyncio.run(ask_all(engine, calls, tier))
        found = own.count - before
        requests = dict((engine.receipt() - base).requests)
    return found / calls, found / sum(requests.values()), requests


def test_a_flex_step_is_posted_once_and_looked_at_a_few_times(server: Server) -> None:
    _, _, requests = counted(server, 300)
    assert requests["submit"] == 300
    assert requests["poll"] <= 3.0 * 300


def test_a_batch_costs_as_many_requests_as_its_time_takes_look_ups_however_many_steps_it_has(server: Server) -> None:
    began = time.monotonic()
    _, _, requests = counted(server, 500, "batch")
    look_ups = (time.monotonic() - began) / 0.1
    assert (requests["upload"], requests["create"]) == (1, 1)
    assert requests["download"] <= 2
    assert requests["poll"] <= look_ups


def test_look_ups_of_jobs_of_equal_length_stay_few() -> None:
    """Played without a network and with a fixed seed: every machine counts the same."""
    assert simulate([2.0] * 2000).polls_per_job <= 1.6
    assert simulate([60.0] * 2000).polls_per_job <= 1.6


def test_the_network_thread_calls_few_functions_of_ours_for_a_flex_step(server: Server) -> None:
    _, per_request, _ = counted(server, 300)
    assert per_request <= FLEX_CALLS


def test_the_network_thread_calls_few_functions_of_ours_for_a_step_of_a_batch(server: Server) -> None:
    per_step, _, requests = counted(server, 500, "batch")
    assert per_step <= BATCH_CALLS + BATCH_LOOK_UP_CALLS * requests["poll"]


def test_work_per_step_of_a_batch_does_not_grow_with_the_batch(server: Server) -> None:
    per_step = []
    for calls in (200, 2000):
        found, _, requests = counted(server, calls, "batch")
        per_step.append(found - BATCH_LOOK_UP_CALLS * requests["poll"])
    assert per_step[1] <= per_step[0] * 1.2


def test_an_outstanding_step_takes_little_memory_beside_its_body() -> None:
    calls = 2000
    with (
        serving({"latency": 3600.0}) as server,
        Engine(api_key=server.api_key, base_url=server.base_url, journal=False) as engine,
    ):
        engine.run(Step(body={"model": "m", "input": "warm-up"}, service_tier="priority"))
        bodies = [{"model": "m", "input": f"question {n}"} for n in range(calls)]
        gc.collect()
        tracemalloc.start()
        try:
            blocks, (before, _) = sys.getallocatedblocks(), tracemalloc.get_traced_memory()
            tickets = [engine.submit(Step(body=body)) for body in bodies]
            wait_until_accepted(engine)
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before - sum(len(ticket.body) for ticket in tickets)
            blocks = sys.getallocatedblocks() - blocks
        finally:
            tracemalloc.stop()
        for ticket in tickets:
            ticket.cancel()
    assert taken / calls <= OUTSTANDING_BYTES
    assert blocks / calls <= OUTSTANDING_BLOCKS


def wait_until_accepted(engine: Engine) -> None:
    until = time.monotonic() + 30
    while (counts := engine.snapshot())["waiting"] + counts["submitting"]:
        assert time.monotonic() < until, counts
        time.sleep(0.05)


def instructions(path: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Count the instructions that SQLite's machine takes for each of so many outstanding steps, in groups of 50."""
    taken = 0

    def tick() -> None:
        nonlocal taken
        taken += 1

    def watched(file: Path) -> sqlite3.Connection:
        database = connect(file)
        database.set_progress_handler(tick, 100)
        return database

    monkeypatch.setattr(sqlite, "connect", watched)
    store, kind = sqlite.SqliteStore(path), Kind("a", "u", "/responses", "m", "flex", "", "")
    taken = 0
    found = store.apply(Group(asks=[Ask(f"key {n}", False, kind, "") for n in range(steps)]), 1.0)
    rows = [one.row for one in found if one is not None]
    for first in range(0, steps, 50):
        some = rows[first : first + 50]
        store.apply(Group(sending=[(row, False) for row in some]), 2.0)
        store.apply(Group(accepted=[(row, f"resp_{row}") for row in some]), 3.0)
    for first in range(0, steps, 50):
        store.apply(Group(ended=[End(row, "delivered", 1, 1) for row in rows[first : first + 50]]), 4.0)
    total = taken * 100 / steps
    store.close()
    return total


def test_the_journals_work_for_a_step_does_not_grow_with_those_outstanding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (instructions(tmp_path / f"{n}.db", n, monkeypatch) for n in (200, 2000))
    assert many <= few * 1.3
    assert many <= JOURNAL_INSTRUCTIONS
