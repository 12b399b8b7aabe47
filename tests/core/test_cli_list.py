"""`dw-agents jobs list`, `show` and `prune`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from dw_agents.cli import main
from dw_agents.emulator import Emulator
from tests.core.commandline import LONG_AGO, accepted
from tests.core.steps import MODEL, eventually, step
from tests.core.test_cli import office

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.commandline import Office

__all__ = ["office"]

FOR_EVER = {"latency": 3600.0, "batch_latency": 3600.0}


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A service whose jobs take for ever, unless the test says otherwise."""
    with Emulator(**getattr(request, "param", FOR_EVER)) as running:
        yield running


AT_ONCE = pytest.mark.parametrize("emulator", [{}], indirect=True)


def test_each_step_is_one_json_object_with_what_the_journal_knows(office: Office) -> None:
    (response_id,) = office.leave(step("first", label="agent 7"), run="nightly")

    (entry,) = office.listed()

    assert entry["id"] == "1-0"
    assert (entry["state"], entry["response_id"], entry["owner"]) == ("accepted", response_id, None)
    assert (entry["model"], entry["service_tier"]) == (MODEL, "flex")
    assert (entry["run"], entry["label"], entry["posts"]) == ("nightly", "agent 7", 1)
    assert entry["age_seconds"] < 60


def test_a_line_of_a_created_batch_counts_as_accepted_and_names_its_batch(office: Office) -> None:
    office.leave(*office.lines(range(3)))

    entries = office.listed("--state", "accepted")

    (batch,) = office.emulator.batches
    assert [entry["batch"]["id"] for entry in entries] == [batch.id] * 3
    assert [entry["batch"]["line"] for entry in entries] == [0, 1, 2]
    assert office.listed("--state", "sending") == []


def test_the_table_sums_a_batch_up_in_one_row(office: Office) -> None:
    office.leave(*office.lines(range(5)), step("alone"))

    said = office.jobs("list")

    _, *rows = said.out.splitlines()
    assert len(rows) == 2
    assert sum("5 of 5 lines" in row for row in rows) == 1
    assert "6 steps: 6 accepted" in said.err
    assert len(office.jobs("list", "--lines").out.splitlines()) == 7


@AT_ONCE
def test_the_tokens_of_delivered_steps_are_listed(office: Office) -> None:
    (ticket,) = office.collect(step())
    usage = ticket.result().usage
    assert usage is not None

    (entry,) = office.listed()

    assert entry["state"] == "delivered"
    assert (entry["input_tokens"], entry["output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])
    assert f"{usage['input_tokens']} + {usage['output_tokens']}" in office.jobs("list").out


def test_steps_are_found_by_run_state_and_age(office: Office) -> None:
    office.leave(step("old"), run="monday")
    office.grow_older()
    office.leave(step("new"), run="tuesday")
    office.jobs("cancel", "--run", "monday")

    def runs(*filters: str) -> list[str]:
        return [entry["run"] for entry in office.listed(*filters)]

    assert runs() == ["monday", "tuesday"]
    assert runs("--run", "monday") == ["monday"]
    assert runs("--older", "30m") == ["monday"]
    assert runs("--newer", "30m") == ["tuesday"]
    assert runs("--older", "2h") == []
    assert runs("--state", "cancelled,lost") == ["monday"]
    assert runs("--state", "open") == ["tuesday"]
    assert runs("--state", "ended") == ["monday"]
    assert runs("--limit", "1") == ["tuesday"]


def test_a_living_owner_is_named_and_a_step_without_one_has_none(office: Office) -> None:
    with office.engine() as engine:
        office.hold(engine, step())
        (held,) = office.listed()
        assert held["owner"]["alive"]
        assert f"pid {held['owner']['pid']}" in office.jobs("list").out

    (left,) = office.listed()
    assert left["owner"] is None


def test_a_step_of_unknown_outcome_is_pointed_out(office: Office) -> None:
    office.leave_unknown(step())

    said = office.jobs("list")

    assert office.listed()[0]["outcome_unknown"]
    assert "1 step in `sending` that no process works on" in said.err


def test_control_characters_in_a_label_do_not_reach_the_terminal(office: Office) -> None:
    office.leave(step(label="red \x1b[31m\nalert"))

    said = office.jobs("list")

    assert "\x1b" not in said.out
    assert len(said.out.splitlines()) == 2


@pytest.mark.parametrize("beginning", [12, 20, 41])
def test_a_step_is_shown_by_the_beginning_of_its_response_id(office: Office, beginning: int) -> None:
    ids = office.leave(*[step(number) for number in range(5)])

    for number, response_id in enumerate(ids):
        for ident in (response_id[:beginning], response_id.removeprefix("resp_")[: beginning - 5]):
            shown = office.jobs("show", ident, "--json").object
            assert (shown["id"], shown["response_id"]) == (f"1-{number}", response_id)


def test_show_asks_the_service_what_it_has(office: Office) -> None:
    office.leave(step(), *office.lines(range(2)))

    assert office.jobs("show", "1-0", "--json").object["at_the_service"]["status"] == "in_progress"
    line = office.jobs("show", "1-1", "--json").object
    assert line["at_the_service"]["lines"] == 2
    (batch,) = office.emulator.batches
    assert office.jobs("show", f"{batch.id}/1", "--json").object["id"] == "1-2"
    assert "in_progress" in office.jobs("show", "1-0").out


def test_an_id_that_stands_for_several_steps_is_refused_and_names_them(office: Office) -> None:
    office.leave(*office.lines(range(3)))
    (batch,) = office.emulator.batches

    said = office.jobs("show", batch.id)

    assert said.status == 2
    assert "stands for 3 steps: 1-0, 1-1, 1-2" in said.err


def test_show_says_when_the_service_cannot_be_asked(office: Office) -> None:
    office.leave(step())
    office.emulator.stop()

    said = office.jobs("show", "1-0", "--patience", "0s")

    assert said.status == 0
    assert "could not be asked" in said.out


def test_show_changes_nothing(office: Office) -> None:
    office.leave(step())
    before = office.listed()

    office.jobs("show", "1-0")

    assert [{**entry, "age_seconds": 0} for entry in office.listed()] == [{**e, "age_seconds": 0} for e in before]


@AT_ONCE
def test_prune_forgets_ended_steps_that_are_old_enough(office: Office) -> None:
    office.collect(step("old"))
    office.grow_older()
    office.collect(step("new"))

    assert office.jobs("prune", "--older", "30m", "--json").object == {"ended": 1, "open": 0}
    assert len(office.listed()) == 1
    assert office.jobs("prune", "--older", "30m", "--vacuum").status == 0


def test_prune_never_forgets_open_steps_unless_they_are_given_up_for_lost(office: Office) -> None:
    office.leave(step("left"))
    with office.engine() as engine:
        accepted(engine, step("held"))
        assert eventually(lambda: office.states() == ["accepted"] * 2)
        office.grow_older(LONG_AGO)
        assert office.jobs("prune", "--older", "30m", "--json").object == {"ended": 0, "open": 0}
        assert len(office.listed()) == 2

        assert office.jobs("prune", "--older", "30m", "--lost", "--json").object == {"ended": 0, "open": 1}
        (held,) = office.listed()
        assert held["owner"]["alive"]


@pytest.mark.parametrize(
    "ident", ["0-4294967296", "9999999999-9999999999", "batch_0/99999999999999999999", "caf\udce9", "4294967296-0"]
)
def test_an_id_that_no_step_can_have_is_no_step(office: Office, ident: str) -> None:
    office.leave(step("first"))

    said = office.jobs("show", ident)

    assert said.status == 2
    assert "has no step" in said.err


@AT_ONCE
def test_a_terminal_that_does_not_take_a_label_gets_it_escaped(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.collect(step("first", label="caf\u00e9 \U0001f642"))

    for arguments, shown in ((["list"], "caf\\xe9 \\U0001f642"), (["list", "--json"], r"caf\u00e9 \ud83d\ude42")):
        narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", narrow)
            assert main(["jobs", *arguments]) == 0
        assert shown in narrow.buffer.getvalue().decode("ascii")
