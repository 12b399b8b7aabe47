"""`dw-agents jobs cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dw_agents.emulator import Emulator
from tests.core.commandline import Held
from tests.core.steps import posts, step
from tests.core.test_cli import office

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.commandline import Office

__all__ = ["office"]

DELETE, CANCEL = "DELETE /responses/{id}", "POST /responses/{id}/cancel"
CANCEL_BATCH = "POST /batches/{id}/cancel"


@pytest.fixture(params=["doubleword", "openai"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A service whose jobs end when the test says so, of both kinds of cancelling."""
    with Emulator(Held(), profile=request.param) as running:
        yield running


def test_all_stops_every_open_job_at_the_service(office: Office) -> None:
    office.leave(*[step(number) for number in range(70)], *office.lines(range(5)))

    said = office.jobs("cancel", "--all")

    assert said.status == 0
    assert said.out == "Cancelled 75 steps.\n"
    assert not office.emulator.running()
    assert office.states() == ["cancelled"] * 75


def test_a_run_is_stopped_and_others_go_on(office: Office) -> None:
    office.leave(step("a"), run="monday")
    (other,) = office.leave(step("b"), run="tuesday")

    assert office.jobs("cancel", "--run", "monday").status == 0

    assert office.emulator.running() == [other]


def test_single_steps_are_stopped_by_their_ids(office: Office) -> None:
    first, second, third = office.leave(step(1), step(2), step(3))

    said = office.jobs("cancel", "1-0", third[:14], "--json")

    assert said.status == 0
    assert [(one["job"], one["outcome"]) for one in said.objects] == [(first, "cancelled"), (third, "cancelled")]
    assert office.emulator.running() == [second]


def test_a_step_that_was_cancelled_is_sent_anew_when_it_is_asked_again(office: Office) -> None:
    office.leave(step(), run="again")
    office.jobs("cancel", "--all")

    office.leave(step(), run="again")

    assert posts(office.emulator) == 2
    assert office.states() == ["accepted"]


def test_what_a_living_process_works_on_is_left_alone(office: Office) -> None:
    with office.engine() as engine:
        flex, *_ = office.hold(engine, step(), *office.lines(range(2)))

        said = office.jobs("cancel", "--all")

        assert said.status == 1
        assert "a running program waits for it" in said.err
        assert len(office.emulator.running()) == 2
        assert not flex.done()


def test_force_stops_also_what_a_living_process_works_on(office: Office) -> None:
    with office.engine() as engine:
        office.hold(engine, step(), *office.lines(range(2)))

        said = office.jobs("cancel", "--all", "--force")

        assert said.status == 0
        assert not office.emulator.running()


def test_a_batch_is_not_stopped_for_some_of_its_steps(office: Office) -> None:
    office.leave(*office.lines(range(4)))

    said = office.jobs("cancel", "1-0", "1-1")

    assert said.status == 1
    assert "2 of the 4 open steps" in said.err
    assert "--whole-batch" in said.err
    assert office.emulator.counters[CANCEL_BATCH] == 0
    assert office.states() == ["accepted"] * 4


def test_a_whole_batch_is_stopped_when_that_is_said_or_when_it_is_named(office: Office) -> None:
    office.leave(*office.lines(range(3)))
    office.leave(*office.lines(range(10, 13)))
    first, second = office.emulator.batches

    assert office.jobs("cancel", "1-0", "--whole-batch").status == 0
    assert office.emulator.running() == [second.id]
    assert first.state == "cancelled"

    assert office.jobs("cancel", second.id[:15]).status == 0
    assert not office.emulator.running()
    assert office.states() == ["cancelled"] * 6


def test_what_has_ended_at_the_service_is_paid_for_and_kept_to_be_collected(office: Office) -> None:
    steps = [step(), *office.lines(range(2))]
    office.leave(*steps)
    office.let_jobs_end()

    said = office.jobs("cancel", "--all")

    assert said.status == 0
    assert said.out == "Cancelled 0 steps; 3 had ended.\n"
    counters = office.emulator.counters
    assert counters[DELETE] + counters[CANCEL] + counters[CANCEL_BATCH] == 0
    assert all(ticket.result().body for ticket in office.collect(*steps))
    assert (posts(office.emulator), counters.batches) == (1, 1)


def test_a_step_of_unknown_outcome_cannot_be_stopped(office: Office) -> None:
    office.leave_unknown(step())

    said = office.jobs("cancel", "--all")

    assert said.status == 1
    assert "its id is not known" in said.err
    assert office.states() == ["sending"]


def test_a_batch_whose_creation_was_not_confirmed_is_found_by_its_token_and_stopped(office: Office) -> None:
    office.leave_in_creation(*office.lines(range(2)), fault="stall_reply")
    assert len(office.emulator.running()) == 1

    said = office.jobs("cancel", "--all")

    assert said.status == 0
    assert not office.emulator.running()
    assert office.states() == ["cancelled"] * 2


def test_a_service_that_does_not_answer_leaves_the_steps_as_they_are(office: Office) -> None:
    office.leave(step(), *office.lines(range(2)))
    office.emulator.stop()

    said = office.jobs("cancel", "--all", "--patience", "0s")

    assert said.status == 1
    assert "may run on" in said.err
    entries = office.listed()
    assert [entry["state"] for entry in entries] == ["accepted"] * 3
    assert [entry["owner"] for entry in entries] == [None] * 3


def test_a_cancellation_that_the_service_refuses_leaves_the_step_as_it_is(office: Office) -> None:
    office.leave(step())
    for route in (DELETE, CANCEL):
        office.emulator.faults.add("status", route=route, status=403)

    said = office.jobs("cancel", "--all", "--json")

    assert said.status == 1
    assert said.object["outcome"] == "left"
    assert [(entry["state"], entry["owner"]) for entry in office.listed()] == [("accepted", None)]


def test_ended_steps_are_nothing_to_stop(office: Office) -> None:
    office.leave(step())
    office.jobs("cancel", "--all")

    said = office.jobs("cancel", "1-0")

    assert said.status == 0
    assert "has ended already" in said.err
