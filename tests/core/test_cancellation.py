"""Who leaves does not pay: nothing is left running at the service, whenever the caller goes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from dw_agents import Engine, StepCancelled
from dw_agents.emulator import Emulator
from tests.core.steps import POLL, SUBMIT, eventually, posts, step

if TYPE_CHECKING:
    from collections.abc import Iterator

CANCEL = "POST /responses/{id}/cancel"
DELETE = "DELETE /responses/{id}"


@pytest.fixture(params=["delete", "post"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A service whose jobs take for ever, with the API's own cancel and with OpenAI's."""
    with Emulator(latency=3600.0, cancel_route=request.param) as running:
        yield running


def nothing_runs(emulator: Emulator) -> bool:
    return eventually(lambda: not emulator.running())


async def test_a_cancelled_task_cancels_its_step_and_does_not_wait_for_the_service(
    engine: Engine, emulator: Emulator
) -> None:
    task = asyncio.create_task(engine.arun(step()))
    assert await asyncio.to_thread(eventually, lambda: len(emulator.running()) == 1)
    emulator.faults.add("stall", route=DELETE, times=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1.0)
    emulator.faults.clear()


async def test_waiting_for_a_gather_with_a_time_limit_leaves_nothing_running(
    engine: Engine, emulator: Emulator
) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*[engine.arun(step(i)) for i in range(20)]), 0.3)
    assert nothing_runs(emulator)
    assert posts(emulator) == 20


def test_the_loop_may_end_right_after_the_cancellation(engine: Engine, emulator: Emulator) -> None:
    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*[engine.arun(step(i)) for i in range(20)]), 0.3)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert nothing_runs(emulator)


async def test_a_step_cancelled_while_its_submission_is_pending_is_cancelled_when_the_reply_comes(
    engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("slow_reply", route=SUBMIT, delay=0.5)
    tickets = [engine.submit(step(i)) for i in range(10)]
    assert await asyncio.to_thread(eventually, lambda: emulator.counters.accepted == 10)
    for ticket in tickets:
        assert ticket.cancel()
        with pytest.raises(StepCancelled):
            await ticket
    assert nothing_runs(emulator)


async def test_a_step_that_was_not_sent_yet_is_dropped(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("slow", route=SUBMIT, delay=0.2)
    tickets = [engine.submit(step(i)) for i in range(500)]
    for ticket in tickets:
        ticket.cancel()
    assert nothing_runs(emulator)
    await asyncio.sleep(0.3)
    assert posts(emulator) <= 100
    assert nothing_runs(emulator)


async def test_cancelling_twice_or_after_the_end_does_nothing(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(step())
    assert ticket.cancel()
    assert not ticket.cancel()
    assert ticket.status == "cancelled"
    assert nothing_runs(emulator)


def test_an_undelivered_cancellation_is_repeated(engine: Engine, emulator: Emulator) -> None:
    for route in (CANCEL, DELETE):
        emulator.faults.add("status", route=route, status=500, times=2)
        emulator.faults.add("lost_request", route=route, times=1)
    ticket = engine.submit(step())
    assert eventually(lambda: ticket.response_id is not None)
    ticket.cancel()
    assert nothing_runs(emulator)


def test_a_step_cancelled_before_it_is_visible_is_cancelled_all_the_same() -> None:
    with (
        Emulator(latency=3600.0, visible_after=0.5) as emulator,
        Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine,
    ):
        ticket = engine.submit(step())
        assert eventually(lambda: ticket.response_id is not None)
        ticket.cancel()
        assert nothing_runs(emulator)


def test_a_job_that_becomes_visible_between_the_two_ways_to_cancel_is_cancelled(
    engine: Engine, emulator: Emulator
) -> None:
    """The way that the service has did not find the job yet, and the other one is refused."""
    emulator.faults.add("status", route=CANCEL, status=404, times=1)
    emulator.faults.add("status", route=DELETE, status=400, times=1)
    ticket = engine.submit(step())
    assert eventually(lambda: ticket.response_id is not None)
    ticket.cancel()
    assert nothing_runs(emulator)


def test_cancelled_steps_are_not_polled_any_more(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(step())
    assert eventually(lambda: ticket.response_id is not None)
    ticket.cancel()
    assert nothing_runs(emulator)
    polls = emulator.counters[POLL]
    assert not eventually(lambda: emulator.counters[POLL] > polls + 1, seconds=0.5)


def test_the_receipt_counts_cancelled_steps_as_failed_once(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(step())
    ticket.cancel()
    assert eventually(lambda: sum(line.failed for line in engine.receipt().lines.values()) == 1)
    assert nothing_runs(emulator)


PROGRAMS = {
    "async": """
        async def main():
            await asyncio.gather(*[engine.arun(ask(i)) for i in range(50)])
        asyncio.run(main())
    """,
    "sync": """
        engine.run(ask(0))
    """,
    "threads": """
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(engine.run, ask(i)) for i in range(8)]
            time.sleep(3600)
    """,
    "daemon thread": """
        for i in range(5):
            threading.Thread(target=engine.run, args=(ask(i),), daemon=True).start()
        time.sleep(3600)
    """,
}


def start(program: str, emulator: Emulator) -> subprocess.Popen[str]:
    head = f"""
        import asyncio, sys, threading, time
        from concurrent.futures import ThreadPoolExecutor
        from dw_agents import Engine, Step
        engine = Engine(api_key={emulator.api_key!r}, base_url={emulator.base_url!r})
        def ask(i):
            return Step(body={{"model": "m", "input": str(i)}})
    """
    text = textwrap.dedent(head) + textwrap.dedent(program)
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("name", "jobs"), [("async", 50), ("sync", 1), ("threads", 8), ("daemon thread", 5)])
def test_ctrl_c_leaves_nothing_running_and_ends_the_program(name: str, jobs: int, emulator: Emulator) -> None:
    with start(PROGRAMS[name], emulator) as process:
        assert eventually(lambda: len(emulator.running()) == jobs, seconds=20)
        os.kill(process.pid, signal.SIGINT)
        if name == "threads":
            # Python's executor lets its workers finish after the first Ctrl-C; the second one means it.
            time.sleep(0.5)
            os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=20)

    assert emulator.running() == []
    assert "KeyboardInterrupt" in said
    assert "Error" not in said.replace("CancelledError", "")


def test_ctrl_c_while_the_submission_is_pending_leaves_nothing_running(emulator: Emulator) -> None:
    emulator.faults.add("slow_reply", route=SUBMIT, delay=1.0)
    with start(PROGRAMS["async"], emulator) as process:
        assert eventually(lambda: emulator.counters.accepted == 50, seconds=20)
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=20)
    assert emulator.running() == []


def test_an_exit_with_steps_in_flight_cancels_them_says_so_and_does_not_hang(emulator: Emulator) -> None:
    program = """
        tickets = [engine.submit(ask(i)) for i in range(3)]
        while not all(t.response_id for t in tickets):
            time.sleep(0.01)
    """
    with start(program, emulator) as process:
        _, said = process.communicate(timeout=20)
    assert emulator.running() == []
    assert said == "dw-agents: 3 steps were in flight and cancelled.\n"
    assert process.returncode == 0


def test_an_exit_while_the_service_is_away_ends_in_time_and_names_what_may_run_on(emulator: Emulator) -> None:
    program = """
        import dw_agents.leaving
        dw_agents.leaving._TIMEOUT = 0.5
        tickets = [engine.submit(ask(i)) for i in range(3)]
        while not all(t.response_id for t in tickets):
            time.sleep(0.01)
    """
    emulator.faults.add("stall", route=DELETE)
    emulator.faults.add("stall", route=CANCEL)
    with start(program, emulator) as process:
        _, said = process.communicate(timeout=20)
    assert "3 may still run and be billed: resp_" in said


def test_a_program_whose_threads_outlive_its_main_thread_gets_its_answers() -> None:
    program = """
        def work():
            print(engine.run(ask(1)).body["status"], file=sys.stderr)
        threading.Thread(target=work).start()
    """
    with Emulator(latency=0.5) as emulator, start(program, emulator) as process:
        _, said = process.communicate(timeout=20)
    assert said == "completed\n"
