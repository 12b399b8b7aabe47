"""The journal on bad days: submissions of unknown outcome, clocks that are set, disks that are full."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents import JournalError, StepLost, StepNotRecorded, SubmissionUnknown
from dw_agents.emulator import Emulator, Fault
from tests.core.steps import SUBMIT, eventually, posts, step, text_of
from tests.faults.engines import accepted, start
from tests.faults.rows import query, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def slow() -> Iterator[Emulator]:
    """A service that needs an hour for everything."""
    with Emulator(latency=3600.0, batch_latency=3600.0) as running:
        yield running


# Submissions whose outcome is not known.


def test_a_submission_under_way_when_the_engine_closes_may_have_been_accepted(path: Path) -> None:
    with Emulator() as emulator:
        emulator.faults.add("slow_reply", route=SUBMIT, delay=30, times=1)
        first = start(emulator, path)
        first.submit(step())
        assert eventually(lambda: emulator.counters.accepted == 1)
        first.close(timeout=0.2)
        assert set(states(path).values()) == {"sending"}
        with start(emulator, path, on_unknown="raise") as careful, pytest.raises(SubmissionUnknown):
            careful.run(step())
        assert posts(emulator) == 1
        with start(emulator, path) as second:
            assert second.run(step()).ticket.possible_duplicates == 1
        assert posts(emulator) == 2


def test_an_unknown_submission_is_said_to_be_unknown_each_time_until_it_is_asked_to_be_sent_again(
    emulator: Emulator, path: Path
) -> None:
    emulator.faults.add("lost_reply", route=SUBMIT, times=1)
    for _ in range(2):
        with start(emulator, path, on_unknown="raise") as careful:
            for _ in range(2):
                with pytest.raises(SubmissionUnknown):
                    careful.run(step())
    assert posts(emulator) == 1
    with start(emulator, path) as engine:
        assert engine.run(step()).ticket.possible_duplicates == 1
        assert engine.receipt().possible_duplicates == 1
    assert query(path, "SELECT state, posts, possible_duplicates FROM steps") == [("delivered", 2, 1)]


def test_a_possible_duplicate_that_is_refused_at_first_counts_once(emulator: Emulator, path: Path) -> None:
    emulator.set_faults(
        Fault("lost_reply", route=SUBMIT, times=1),
        Fault("status", route=SUBMIT, status=429, retry_after=0.01, after=1, times=3),
    )
    with start(emulator, path) as engine:
        engine.run(step())
        assert engine.receipt().possible_duplicates == 1
    assert query(path, "SELECT posts, possible_duplicates FROM steps") == [(5, 1)]


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_clock_that_was_set_in_between_delays_and_loses_nothing(
    hours: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(latency=0.5, visible_after=0.5) as emulator:
        first = start(emulator, path)
        ticket = first.submit(step())
        assert eventually(lambda: accepted(ticket))
        first.close()
        wall = time.time
        moved = SimpleNamespace(time=lambda: wall() + hours * 3600, monotonic=time.monotonic)
        monkeypatch.setattr("dw_agents.journal.writer.time", moved)
        with start(emulator, path) as second:
            assert second.submit(step()).result(10).body["status"] == "completed"
        assert emulator.counters.accepted == 1


def test_a_batch_that_is_not_visible_yet_is_not_lost_to_who_comes_after_its_process_died(path: Path) -> None:
    with Emulator(visible_after=0.8) as emulator:
        first = start(emulator, path)
        ticket = first.submit(step(service_tier="batch"))
        assert eventually(lambda: accepted(ticket))
        first.close()
        with start(emulator, path) as second:
            assert second.run(step(service_tier="batch")).body["status"] == "completed"
        assert emulator.counters.lines == 1


def test_a_step_cancelled_before_it_left_leaves_nothing_unknown_behind(emulator: Emulator, path: Path) -> None:
    with start(emulator, path, run="r") as engine:
        for number in range(200):
            engine.submit(step(number)).cancel()
        engine.run(step("last"))
    with start(emulator, path, run="r", on_unknown="raise") as second:
        for ticket in [second.submit(step(number)) for number in range(200)]:
            ticket.result(10)
    assert query(path, "SELECT count(*) FROM steps WHERE owner IS NULL AND state IN ('waiting', 'sending')") == [(0,)]


def test_a_finished_step_of_a_run_that_the_service_holds_no_more_is_said_to_be_lost_and_then_done_anew(
    emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw_agents.routes.poller.VISIBLE_WITHIN", 0.05)
    with start(emulator, path, run="r") as first:
        first.run(step())
    emulator._service.jobs._jobs.clear()  # type: ignore[union-attr]
    with start(emulator, path, run="r") as second:
        with pytest.raises(StepLost):
            second.run(step())
        assert not second.run(step()).ticket.replayed
    with start(emulator, path, run="r") as third:
        assert third.run(step()).ticket.replayed
    assert posts(emulator) == 2
    assert list(states(path).values()) == ["delivered"]


def test_a_job_that_the_service_has_forgotten_is_lost_and_then_done_anew(
    slow: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw_agents.routes.poller.VISIBLE_WITHIN", 0.05)
    first = start(slow, path)
    ticket = first.submit(step())
    assert eventually(lambda: accepted(ticket))
    first.close()
    slow._service.jobs._jobs.clear()  # type: ignore[union-attr]
    with start(slow, path) as second:
        with pytest.raises(StepLost):
            second.run(step())
        again = second.submit(step())
        assert eventually(lambda: accepted(again))
        again.cancel()
    assert sorted(state for state in states(path).values()) == ["cancelled", "lost"]


def test_a_batch_created_without_a_reply_is_found_and_not_created_again(emulator: Emulator, path: Path) -> None:
    emulator.faults.add("lost_reply", route="POST /batches", times=1)
    with start(emulator, path) as engine:
        engine.run(step(service_tier="batch"))
    assert emulator.counters.batches == 1


# A journal that cannot be written.


def test_the_default_place_is_allowed_to_fail(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("DW_AGENTS_JOURNAL")
    monkeypatch.setattr("dw_agents.journal.place._warned", False)
    with caplog.at_level(logging.WARNING), start(emulator, None) as engine:
        engine.run(step())
    assert "Going on without a journal" in caplog.text


@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_a_chosen_place_that_cannot_be_used_is_refused_before_anything_is_paid(
    tier: str, emulator: Emulator, tmp_path: Path
) -> None:
    with start(emulator, tmp_path) as engine, pytest.raises(JournalError, match=str(tmp_path)):
        engine.run(step(service_tier=tier))
    assert emulator.counters.requests == 0


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_on_a_full_disk_nothing_is_sent_and_the_error_says_what_to_do(
    tier: str, emulator: Emulator, path: Path
) -> None:
    program = f"""
        import resource, signal
        from dw_agents import Engine, Step, StepNotRecorded
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        engine = Engine(api_key={emulator.api_key!r}, base_url={emulator.base_url!r}, journal={str(path)!r})
        step = lambda n: Step(body={{"model": "m", "input": str(n)}}, service_tier={tier!r})
        engine.run(step(0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        for ticket in [engine.submit(step(n)) for n in range(1, 4)]:
            try:
                ticket.result()
            except StepNotRecorded as error:
                print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert emulator.counters.flex + emulator.counters.batch == 1, done.stdout
    assert done.stdout.count("was not sent, as the journal could not take it") == 3
    assert done.stdout.count("Make room there, give another file with journal=") == 3


async def test_what_was_accepted_while_the_disk_was_full_is_still_answered(emulator: Emulator, path: Path) -> None:
    with start(emulator, path) as engine:
        emulator.faults.add("slow_reply", route=SUBMIT, delay=0.3, times=1)
        ticket = engine.submit(step("first"))
        assert await asyncio.to_thread(eventually, lambda: emulator.counters.accepted == 1)
        store = engine._runtime._writer._store  # type: ignore[union-attr]
        apply = store.apply

        def full(*_: object) -> Any:
            raise JournalError("The disk is full.")

        store.apply = full  # type: ignore[method-assign]
        assert "first" in text_of((await ticket).body)
        with pytest.raises(StepNotRecorded):
            await engine.arun(step("second"))
        store.apply = apply  # type: ignore[method-assign]
        assert await asyncio.to_thread(eventually, lambda: "delivered" in states(path).values())
    assert posts(emulator) == 1


def test_nothing_is_sent_once_the_file_was_deleted_under_the_engine(
    emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw_agents.journal.sqlite._SWEEP_EVERY", 0.0)
    with start(emulator, path) as engine:
        engine.run(step("first"))
        for file in path.parent.glob("journal.db*"):
            if file.is_file():
                file.unlink()
        before = posts(emulator)
        with pytest.raises(StepNotRecorded, match="was deleted or replaced"):
            engine.run(step("second"))
        assert posts(emulator) == before
    with start(emulator, path) as engine:
        engine.run(step("second"))
    assert set(states(path).values()) == {"delivered"}
