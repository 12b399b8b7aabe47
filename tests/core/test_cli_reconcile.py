"""`dw-agents jobs reconcile` and `adopt`."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator import Emulator
from dw_agents.routes import dispatch
from tests.core.steps import MODEL, eventually, posts, step
from tests.core.test_cli import office
from tests.core.test_cli_wait import forget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.core.commandline import Office

__all__ = ["office"]

FOR_EVER = {"latency": 3600.0, "batch_latency": 3600.0}


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A service whose jobs take for ever, unless the test says otherwise."""
    with Emulator(**getattr(request, "param", FOR_EVER)) as running:
        yield running


BOTH = pytest.mark.parametrize("emulator", [FOR_EVER, {**FOR_EVER, "profile": "openai"}], indirect=True)
AT_ONCE = pytest.mark.parametrize("emulator", [{}], indirect=True)


@pytest.fixture
def look_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between two looks for a batch are the engine's, and tested there."""
    monkeypatch.setattr(dispatch, "_LOOK_UPS", (0.0, 0.01))


def reconcile(office: Office, status: int = 0, *arguments: str) -> dict[str, Any]:
    said = office.jobs("reconcile", "--json", *arguments)
    assert said.status == status
    return said.object


def test_a_journal_in_good_order_has_nothing_to_clear_up(office: Office) -> None:
    office.leave(step())
    office.jobs("cancel", "--all")

    assert office.jobs("reconcile").out == "Nothing to clear up.\n"


@BOTH
def test_a_batch_whose_creation_was_not_confirmed_is_found_by_its_token(office: Office) -> None:
    steps = office.lines(range(3))
    office.leave_in_creation(*steps, fault="stall_reply")
    assert office.states() == ["sending"] * 3

    found = reconcile(office)

    (batch,) = office.emulator.batches
    assert [(one["batch"], one["steps"]) for one in found["attached"]] == [(batch.id, 3)]
    assert office.states() == ["accepted"] * 3


@pytest.mark.usefixtures("look_quickly")
def test_steps_of_a_batch_that_was_never_created_are_set_free(office: Office) -> None:
    steps = office.lines(range(3))
    office.leave_in_creation(*steps, fault="stall")
    office.grow_older()

    found = reconcile(office)

    assert found["unsent"] == 3
    assert office.listed() == []
    office.leave(*steps)
    assert office.emulator.counters.batches == 1


@pytest.mark.usefixtures("look_quickly")
def test_a_batch_that_was_being_sent_just_now_is_not_given_up_yet(office: Office) -> None:
    office.leave_in_creation(*office.lines(range(3)), fault="stall")

    found = reconcile(office, status=1)

    assert "try again in half a minute" in found["troubles"][0]["why"]
    assert office.states() == ["sending"] * 3


def test_an_accepted_step_that_the_service_does_not_know_any_more_is_lost(office: Office) -> None:
    (gone, _) = office.leave(step("gone"), step("there"))
    forget(office, gone)
    office.grow_older()

    found = reconcile(office)

    assert [one["response_id"] for one in found["lost"]] == [gone]
    assert found["running"] == 1
    assert office.states() == ["lost", "accepted"]


def test_a_job_that_is_not_visible_yet_is_not_lost(office: Office) -> None:
    (gone,) = office.leave(step())
    forget(office, gone)

    assert reconcile(office)["lost"] == []
    assert office.states() == ["accepted"]


def test_a_batch_that_the_service_does_not_know_any_more_is_lost_with_all_of_its_steps(office: Office) -> None:
    office.leave(*office.lines(range(3)))
    office.emulator.batches[0].deleted = True
    office.grow_older()

    assert len(reconcile(office)["lost"]) == 3
    assert office.states() == ["lost"] * 3


def test_a_step_of_unknown_outcome_is_named_and_its_cost_is_said_to_be_unknown(office: Office) -> None:
    office.leave_unknown(step(label="agent 7"))

    said = office.jobs("reconcile")

    assert said.status == 1
    assert "1 possible orphan" in said.out
    assert "1-0" in said.out
    assert "agent 7" in said.out
    assert "cost unknown" in said.out
    assert office.states() == ["sending"]


@AT_ONCE
def test_the_cost_of_a_possible_orphan_is_estimated_from_answered_steps_like_it(office: Office) -> None:
    office.collect(*[step(number) for number in range(4)])
    office.leave_unknown(step("unknown"))
    delivered = office.listed("--state", "delivered")
    tokens = [sum(entry[name] for entry in delivered) / 4 for name in ("input_tokens", "output_tokens")]

    (orphan,) = reconcile(office, status=1)["possible_orphans"]

    assert orphan["estimate"]["average_of_steps"] == 4
    assert orphan["estimate"]["dollars"] == pytest.approx((tokens[0] * 0.07 + tokens[1] * 0.30) / 1e6)


@AT_ONCE
def test_what_was_knowingly_sent_twice_is_named_with_what_the_first_may_have_cost(office: Office) -> None:
    office.emulator.faults.add("lost_reply", route="POST /responses", times=1)
    office.collect(step())

    found = reconcile(office)

    (double,) = found["possible_duplicates"]
    assert double["possible_duplicates"] == 1
    dollars = double["estimate"]["dollars"]
    assert dollars == pytest.approx((double["input_tokens"] * 0.07 + double["output_tokens"] * 0.30) / 1e6)
    told = office.jobs("reconcile").out
    assert "1 step sent again after an unclear outcome" in told
    assert f"About ${dollars:.6f} in all" in told


@BOTH
def test_batches_at_the_service_that_the_journal_does_not_know_are_named(office: Office, tmp_path: Path) -> None:
    office.leave(*office.lines(range(2)))
    other = type(office)(office.emulator, tmp_path / "other.db", office.capsys)
    other.leave(*office.lines(range(3)))
    (mine, theirs) = office.emulator.batches

    found = reconcile(office)

    assert [(one["id"], one["status"]) for one in found["unknown_batches"]] == [(theirs.id, "in_progress")]
    assert mine.id != theirs.id


def test_what_a_living_process_works_on_is_left_to_it(office: Office) -> None:
    with office.engine() as engine:
        (ticket,) = office.hold(engine, step())
        forget(office, str(ticket.response_id))
        office.grow_older()

        found = reconcile(office)

        assert (found["held_by_running_programs"], found["lost"]) == (1, [])
        assert office.states() == ["accepted"]


def test_a_service_that_does_not_answer_leaves_everything_unknown(office: Office) -> None:
    office.leave(step(), *office.lines(range(2)))
    office.emulator.stop()

    found = reconcile(office, 1, "--patience", "0s")

    assert sum(len(one["steps"]) for one in found["troubles"]) == 3
    assert office.states() == ["accepted"] * 3


def test_what_a_killed_process_left_is_cleared_up(office: Office) -> None:
    """A process of its own dies with steps accepted, being sent and not sent."""
    script = f"""
        import os, signal, sys, time
        from dw_agents import Engine, Step
        from tests.core.commandline import accepted
        engine = Engine(journal={str(office.journal)!r})
        steps = [Step(body={{"model": {MODEL!r}, "input": text}}) for text in ("one", "two", "three")]
        accepted(engine, steps[0])
        sys.stdout.write("accepted\\n"); sys.stdout.flush(); sys.stdin.readline()
        engine.submit(steps[1])
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "accepted\n"
            office.emulator.faults.add("stall_reply", route="POST /responses", times=1)
            child.stdin.write("\n")
            child.stdin.flush()
            assert eventually(lambda: posts(office.emulator) == 2)
            assert all(entry["owner"]["alive"] for entry in office.listed())
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.wait(10) == -signal.SIGKILL
        finally:
            child.kill()

    assert [(one["state"], one["owner"]["alive"]) for one in office.listed()] == [
        ("accepted", False),
        ("sending", False),
    ]
    found = reconcile(office, status=1)

    assert (found["running"], len(found["possible_orphans"])) == (1, 1)
    assert [one["owner"] for one in office.listed()] == [None, None]


@AT_ONCE
def test_a_step_of_unknown_outcome_adopts_its_response_and_who_asks_gets_its_answer(office: Office) -> None:
    office.leave_unknown(step())
    (job,) = office.emulator.jobs

    said = office.jobs("adopt", "1-0", job.id.removeprefix("resp_"), "--json")

    assert said.status == 0
    assert (said.object["state"], said.object["response_id"]) == ("settled", job.id)
    (ticket,) = office.collect(step(), on_unknown="raise")
    assert ticket.response_id == job.id
    assert ticket.result().body["id"] == job.id
    assert posts(office.emulator) == 1


def test_a_running_response_is_adopted_as_accepted(office: Office) -> None:
    office.leave_unknown(step())

    assert office.jobs("adopt", "1-0", office.emulator.jobs[0].id).status == 0
    assert office.states() == ["accepted"]


def test_what_does_not_belong_together_is_not_adopted(office: Office) -> None:
    office.leave_unknown(step("one"), step("two", body={"model": "another/model"}))
    office.leave(step("three"), *office.lines(["four"]))
    one, two = (entry for entry in office.listed() if entry["state"] == "sending")
    jobs = {job.model: job.id for job in office.emulator.jobs[:2]}
    three = office.emulator.jobs[2].id

    refusals = {
        "knows no response": (one["id"], "resp_00000000-0000-0000-0000-000000000000"),
        "is of the model": (one["id"], jobs["another/model"]),
        "already": (one["id"], three),
        "is no response id": (one["id"], "../files"),
        "only a step of unknown outcome": ("2-0", jobs[MODEL]),
        "line of a batch": ("2-1", jobs[MODEL]),
        "has no step": ("7-7", jobs[MODEL]),
    }
    for words, (ident, response_id) in refusals.items():
        said = office.jobs("adopt", ident, response_id)
        assert said.status == 2
        assert words in said.err
    assert [entry["state"] for entry in office.listed() if entry["id"] in {one["id"], two["id"]}] == ["sending"] * 2


def test_nothing_is_adopted_while_the_service_cannot_be_asked(office: Office) -> None:
    office.leave_unknown(step())
    response_id = office.emulator.jobs[0].id
    office.emulator.stop()

    said = office.jobs("adopt", "1-0", response_id, "--patience", "0s")

    assert said.status == 1
    assert office.states() == ["sending"]
