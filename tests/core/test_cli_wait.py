"""`dw-agents jobs wait`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from dw_agents.commands.progress import Progress
from dw_agents.emulator import Emulator
from tests.core.commandline import Held, accepted
from tests.core.steps import POLL, eventually, posts, step
from tests.core.test_cli import office

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.commandline import Office

__all__ = ["office"]

SOON = 0.3


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A service whose jobs end when the test says so."""
    with Emulator(Held()) as running:
        yield running


def test_it_returns_when_the_jobs_have_ended_and_notes_that_they_wait_to_be_collected(office: Office) -> None:
    steps = [*[step(number) for number in range(10)], *office.lines(range(5))]
    office.leave(*steps)
    office.let_jobs_end(SOON)

    said = office.jobs("wait", "--json")

    assert said.status == 0
    assert sorted(one["status"] for one in said.objects) == ["completed"] * 15
    assert not office.emulator.running()
    assert office.states() == ["settled"] * 15


def test_who_asks_the_steps_after_a_wait_gets_the_answers_that_are_paid_for(office: Office) -> None:
    steps = [step("flex"), *office.lines(["batch"])]
    office.leave(*steps)
    office.let_jobs_end(SOON)
    assert office.jobs("wait").status == 0

    tickets = office.collect(*steps)

    assert all(ticket.result().body for ticket in tickets)
    assert (posts(office.emulator), office.emulator.counters.batches) == (1, 1)
    assert office.states() == ["delivered", "delivered"]


def test_what_has_ended_before_is_counted_and_not_asked_for_again(office: Office) -> None:
    office.leave(step(), *office.lines(range(2)))
    office.let_jobs_end()
    office.jobs("wait")
    before = office.emulator.counters.requests

    said = office.jobs("wait")

    assert said.status == 0
    assert said.out.startswith("3 jobs ended at the service;")
    assert office.emulator.counters.requests == before


def test_it_waits_for_the_selected_jobs_only(office: Office) -> None:
    office.leave(step("a"), run="monday")
    office.leave(step("b"), run="tuesday")
    office.let_jobs_end()

    assert len(office.jobs("wait", "--run", "tuesday", "--json").objects) == 1

    assert {entry["run"]: entry["state"] for entry in office.listed()} == {"monday": "accepted", "tuesday": "settled"}


def test_jobs_that_a_living_process_waits_for_are_waited_for_and_left_to_it(office: Office) -> None:
    with office.engine() as engine:
        (ticket,) = office.hold(engine, step())
        office.let_jobs_end(SOON)

        assert office.jobs("wait").status == 0

        assert ticket.result(10).body
    assert office.states() == ["delivered"]


def test_a_job_that_the_service_failed_has_ended_too(office: Office) -> None:
    office.emulator.faults.add("fail_job", code=400)
    office.leave(step())
    office.let_jobs_end()

    said = office.jobs("wait", "--json")

    assert said.status == 0
    assert said.object["status"] == "failed"


def test_a_job_that_the_service_does_not_know_any_more_is_named_and_the_status_is_1(office: Office) -> None:
    (response_id, _) = office.leave(step("gone"), step("there"))
    forget(office, response_id)
    office.grow_older()
    office.let_jobs_end()

    said = office.jobs("wait")

    assert said.status == 1
    assert response_id in said.err
    assert office.states() == ["accepted", "settled"]


def test_a_service_that_is_away_for_longer_than_its_patience_ends_it_with_1(office: Office) -> None:
    office.leave(step(), *office.lines(range(2)))
    office.emulator.stop()

    said = office.jobs("wait", "--patience", "0s", "--json")

    assert said.status == 1
    assert all(one["trouble"] and not one["ended"] for one in said.objects)
    assert office.states() == ["accepted"] * 3


def test_a_time_limit_ends_it_with_1_and_changes_nothing(office: Office) -> None:
    office.leave(step())

    said = office.jobs("wait", "--timeout", "0.2s")

    assert said.status == 1
    assert "1 job had not ended in time" in said.err
    assert office.states() == ["accepted"]


def test_a_step_of_unknown_outcome_is_not_waited_for_and_the_status_is_1(office: Office) -> None:
    office.leave_unknown(step())

    said = office.jobs("wait")

    assert said.status == 1
    assert "nothing to wait for" in said.err
    assert office.emulator.counters[POLL] == 0


def test_ctrl_c_leaves_everything_as_it_is(office: Office) -> None:
    office.leave(step(), *office.lines(range(2)))
    before = office.emulator.counters[POLL]

    command = [sys.executable, "-m", "dw_agents", "jobs", "wait"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as waiting:
        try:
            assert eventually(lambda: office.emulator.counters[POLL] > before, 30.0)
            waiting.send_signal(signal.SIGINT)
            _, err = waiting.communicate(timeout=10)
        finally:
            waiting.kill()

    assert waiting.returncode == 130
    assert "Stopped waiting; 3 jobs" in err
    assert "Traceback" not in err
    assert office.states() == ["accepted"] * 3
    assert len(office.emulator.running()) == 2


def test_a_hundred_equal_jobs_cost_few_polls_while_nothing_happens(office: Office) -> None:
    office.leave(*[step(number) for number in range(100)])
    before = office.emulator.counters[POLL]
    office.let_jobs_end(1.0)

    assert office.jobs("wait").status == 0

    assert office.emulator.counters[POLL] - before < 400


def test_an_engine_that_asks_a_step_meanwhile_gets_the_same_job(office: Office) -> None:
    office.leave(step())
    before = office.emulator.counters[POLL]
    collected: list[str | None] = []

    def collect() -> None:
        assert eventually(lambda: office.emulator.counters[POLL] > before)
        with office.engine() as engine:
            (ticket,) = accepted(engine, step())
            office.let_jobs_end()
            collected.append(ticket.result(10).body["id"])

    other = threading.Thread(target=collect)
    other.start()
    assert office.jobs("wait").status == 0
    other.join()

    assert collected == [job.id for job in office.emulator.jobs]
    assert office.states() == ["delivered"]


def test_progress_is_rewritten_on_a_terminal_and_rare_in_a_log() -> None:
    now = [0.0]
    for terminal, expected in ((True, "\rone\rtwo\rdone\n"), (False, "one\ndone\n")):
        written: list[str] = []
        progress = Progress(_Stream(written, terminal=terminal), clock=lambda: now[0])  # type: ignore[arg-type]
        progress.tell("one")
        now[0] += 0.1
        progress.tell("too soon")
        now[0] += 0.2
        progress.tell("two")
        progress.tell("done", last=True)
        assert "".join(written) == expected


class _Stream:
    def __init__(self, written: list[str], *, terminal: bool) -> None:
        self.write = written.append
        self.isatty = lambda: terminal
        self.flush = lambda: None


def forget(office: Office, response_id: str) -> None:
    """Make the service not know a response any more."""
    import urllib.request

    request = urllib.request.Request(
        f"{office.emulator.base_url}/responses/{response_id}",
        method="DELETE",
        headers={"Authorization": f"Bearer {office.emulator.api_key}"},
    )
    with urllib.request.urlopen(request) as reply:
        assert reply.status == 200
