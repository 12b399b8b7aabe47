"""Callers of every kind on one engine: threads, event loops, trio, forks, and a loop that is already running."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import trio

from dw_agents import Engine, EngineClosed, EngineForked, EngineLoopError, StepCancelled, StepError
from dw_agents.emulator import Emulator
from tests.core.conftest import QUICK
from tests.core.steps import eventually, posts, step, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents import Answer, Ticket


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(latency=0.2) as running:
        yield running


def check(answers: list[Answer], emulator: Emulator) -> None:
    """Each caller got its own answer, and nothing was submitted twice."""
    for answer in answers:
        assert str(answer.ticket.step.body["input"]) in text_of(answer.body)
    assert emulator.counters.accepted == posts(emulator) == len(answers)


def test_threads_share_an_engine(engine: Engine, emulator: Emulator) -> None:
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda t: [engine.run(step(f"<{t}-{i}>")) for i in range(5)], range(4))
        check([answer for part in parts for answer in part], emulator)


def test_four_threads_with_a_loop_and_thirty_calls_each(engine: Engine, emulator: Emulator) -> None:
    async def thirty(thread: int) -> list[Answer]:
        return await asyncio.gather(*[engine.arun(step(f"<{thread}-{i}>")) for i in range(30)])

    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda t: asyncio.run(thirty(t)), range(4))
        check([answer for part in parts for answer in part], emulator)


def test_two_event_loops_one_after_the_other(engine: Engine, emulator: Emulator) -> None:
    async def fifty(run: int) -> list[Answer]:
        return await asyncio.gather(*[engine.arun(step(f"<{run}-{i}>")) for i in range(50)])

    check([*asyncio.run(fifty(1)), *asyncio.run(fifty(2))], emulator)


def test_trio(engine: Engine, emulator: Emulator) -> None:
    answers: list[Answer] = []

    async def ask(i: int) -> None:
        answers.append(await engine.arun(step(f"<{i}>")))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for i in range(20):
                nursery.start_soon(ask, i)

    trio.run(main)
    check(answers, emulator)


def test_cancelling_in_trio_cancels_the_step(engine: Engine, emulator: Emulator) -> None:
    async def main() -> Ticket:
        ticket = engine.submit(step())
        with trio.move_on_after(0.05):
            await ticket
        assert ticket.status == "cancelled"
        return ticket

    trio.run(main)
    assert eventually(lambda: not emulator.running())


async def test_a_blocking_call_inside_a_running_loop_is_answered(engine: Engine, emulator: Emulator) -> None:
    check([engine.run(step("<notebook>"))], emulator)


def test_a_loop_that_is_kept_between_cells_as_in_a_notebook(engine: Engine, emulator: Emulator) -> None:
    with asyncio.Runner() as cells:
        check([cells.run(engine.arun(step(f"<{cell}>"))) for cell in range(3)], emulator)


async def test_one_ticket_may_be_awaited_by_many(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(step("<shared>"))

    async def ask() -> Answer:
        return await ticket

    in_thread = asyncio.to_thread(ticket.result)
    answers = list(await asyncio.gather(ask(), ask(), in_thread))
    assert answers[0] is answers[1] is answers[2]
    check(answers[:1], emulator)


async def test_when_one_of_two_callers_leaves_the_other_is_answered(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(step("<shared>"))

    async def ask() -> Answer:
        return await ticket

    leaver, stayer = asyncio.create_task(ask()), asyncio.create_task(ask())
    await asyncio.sleep(0.05)
    leaver.cancel()
    check([await stayer], emulator)


async def test_a_wait_with_a_time_limit_leaves_the_step_running(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(step("<patience>"))

    assert not await ticket.wait(0.01)
    assert not ticket.join(0.01)
    with pytest.raises(TimeoutError, match="goes on"):
        ticket.result(0.01)
    assert await ticket.wait()
    assert ticket.join()
    assert await ticket.wait(0)
    check([ticket.result(0)], emulator)


def test_waiting_on_the_engines_own_thread_is_refused(engine: Engine) -> None:
    caught: list[BaseException] = []
    ticket = engine.submit(step(1))

    def on_the_engines_thread() -> None:
        try:
            engine.submit(step(2)).result()
        except EngineLoopError as error:
            caught.append(error)

    ticket.add_done_callback(on_the_engines_thread)
    ticket.result()
    assert eventually(lambda: bool(caught))
    assert "engine's own thread" in str(caught[0])


def test_a_callback_added_after_the_end_is_called_at_once(engine: Engine) -> None:
    ticket = engine.submit(step())
    ticket.result()
    called = []
    ticket.add_done_callback(lambda: called.append(threading.get_ident()))
    assert called == [threading.get_ident()]


def test_a_closed_engine_refuses_steps_and_ends_the_open_ones(
    emulator: Emulator, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(api_key=emulator.api_key, base_url=emulator.base_url)
    ticket = engine.submit(step())
    assert eventually(lambda: ticket.response_id is not None)
    engine.close()
    engine.close()

    with pytest.raises(StepCancelled, match="closed"):
        ticket.result()
    with pytest.raises(EngineClosed):
        engine.submit(step())
    assert emulator.running() == []
    assert "1 step was in flight and cancelled." in capfd.readouterr().err


def test_an_engine_that_nobody_holds_still_answers_its_tickets_and_then_ends_its_thread(emulator: Emulator) -> None:
    def threads() -> int:
        return sum(thread.name == "dw-agents" for thread in threading.enumerate())

    before = threads()
    engine = Engine(api_key=emulator.api_key, base_url=emulator.base_url)
    gone = weakref.ref(engine)
    ticket = engine.submit(step())
    del engine
    gc.collect()
    assert gone() is None
    assert ticket.result().body["status"] == "completed"
    assert eventually(lambda: threads() == before)


def test_models_of_one_account_share_an_engine(emulator: Emulator) -> None:
    with Engine.shared(api_key="k", base_url=emulator.base_url) as one:
        assert Engine.shared(api_key="k", base_url=emulator.base_url + "/") is one
        assert Engine.shared(api_key="other", base_url=emulator.base_url) is not one
        assert Engine.shared(api_key="k", base_url=emulator.base_url, on_unknown="raise") is not one
        assert Engine.shared(api_key="k", base_url=emulator.base_url, headers={"X-Team": "a"}) is not one
    assert Engine.shared(api_key="k", base_url=emulator.base_url) is not one


def in_a_child(engine: Engine, ticket: Ticket, pipe: multiprocessing.connection.Connection) -> None:
    """Ask in a forked process, with the parent's engine; report what happened."""
    try:
        ticket.result()
    except EngineForked as error:
        pipe.send(type(error).__name__)
    answers = [engine.run(step(f"<child-{i}>")) for i in range(3)]
    pipe.send([text_of(answer.body) for answer in answers])
    pipe.send(engine.receipt().steps)
    pipe.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_asks_through_a_fresh_engine_and_the_parents_goes_on(engine: Engine, emulator: Emulator) -> None:
    ticket = engine.submit(step("<parent>"))
    assert eventually(lambda: ticket.response_id is not None)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=in_a_child, args=(engine, ticket, theirs))
    child.start()
    theirs.close()

    assert ours.recv() == "EngineForked"
    assert all(f"<child-{i}>" in text for i, text in enumerate(ours.recv()))
    assert ours.recv() == 3
    child.join(20)
    assert child.exitcode == 0
    assert "<parent>" in text_of(ticket.result().body)
    assert "<later>" in text_of(engine.run(step("<later>")).body)
    assert emulator.counters.accepted == posts(emulator) == 5


def test_many_steps_from_many_threads_at_once(emulator: Emulator) -> None:
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=QUICK) as engine:
        barrier = threading.Barrier(16)

        def fifty(thread: int) -> list[Ticket]:
            barrier.wait()
            return [engine.submit(step(f"<{thread}-{i}>")) for i in range(50)]

        with ThreadPoolExecutor(16) as pool:
            tickets = [ticket for part in pool.map(fifty, range(16)) for ticket in part]
        check([ticket.result() for ticket in tickets], emulator)
        assert engine.snapshot() == {"waiting": 0, "submitting": 0, "queued": 0, "in_progress": 0}


def test_a_snapshot_counts_what_is_in_flight(engine: Engine) -> None:
    tickets = [engine.submit(step(i)) for i in range(3)]
    assert eventually(lambda: all(ticket.response_id for ticket in tickets))
    snapshot = engine.snapshot()
    assert snapshot["queued"] + snapshot["in_progress"] == 3


def test_an_error_is_raised_to_every_caller_of_its_ticket(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("fail_job", code=400)
    ticket = engine.submit(step())
    for _ in range(2):
        with pytest.raises(StepError):
            ticket.result()
    started = time.monotonic()
    assert ticket.join(5)
    assert time.monotonic() - started < 1
