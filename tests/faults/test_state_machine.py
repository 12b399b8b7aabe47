"""Histories of steps, deaths and a service with moods, in an order that nobody thought of; checked after every move.

What is real and what is simulated is said in ``simulation.py``. ``make test`` runs 500 histories of 50 moves, always
the same; ``STATE_MACHINE_HISTORIES`` asks for more, ``STATE_MACHINE_SEED`` for others. What must hold after every move:

* nothing is lost: whatever the service accepted is in the journal by its id, or is one of the submissions of which the
  journal says that they may have been accepted;
* nothing is paid twice: the service has no more work of a text than the journal has rows for it, but for possible
  duplicates that were counted and for work whose caller left it;
* a step outside a run gets a new row only where no open one can be taken over, and a run has as many rows of a text as
  one process wanted at the same time at most;
* a batch is created once.

And in the end every caller has an end, and every open row can be collected.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dw_agents import Step, StepError
from tests.faults.service import ENDED
from tests.faults.simulation import Process, World

if TYPE_CHECKING:
    from dw_agents import Ticket
    from dw_agents.step import OnUnknown

HISTORIES = int(os.environ.get("STATE_MACHINE_HISTORIES", "500"))
SEED = int(os.environ.get("STATE_MACHINE_SEED", "0"))
PARTS = 5
MOVES = 50
TEXTS = st.sampled_from(["a", "b"])
WHO = st.integers(0, 2)
TIMES = st.integers(1, 3)
MOMENTS = st.sampled_from([0.0, 0.003, 0.011, 0.015, 0.03, 0.08, 0.09, 0.1, 0.11, 0.3, 1.0, 5.0])
"""Seconds: long enough for a commit, a request on its way, a reply, a batch to close, to be uploaded, and so on."""
WHERE = st.sampled_from(["/responses", "/responses", "/files", "/batches", "/batches", ""])
FATES = st.sampled_from(["lost request", "lost reply", "refused", "429", "500", "503"])

Tier = Literal["flex", "batch"]


def label(text: str, tier: str, run: str) -> str:
    """What tells the work of a step apart; it is the text that the service sees."""
    return f"{tier}-{text}-{run}"


class Histories(RuleBasedStateMachine):
    """The moves."""

    @initialize(on_unknown=st.sampled_from(["resend", "resend", "raise"]), disk=st.sampled_from([0.002, 0.002, 0.05]))
    def begin(self, on_unknown: OnUnknown, disk: float) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name) / "journal.db")
        self.world.disk = disk
        self.on_unknown = on_unknown
        self.tickets: list[Ticket] = []
        self.most: Counter[str] = Counter()
        """The most that one process ever had at a time of some work, answered or under way."""
        self.left: Counter[str] = Counter()
        """Steps whose callers gave them up."""
        self.unfinished: list[Step] = []
        """Steps of processes that are gone, without an answer."""
        self.start()

    def pick(self, number: int) -> Process:
        """One of the processes; there always is one."""
        if not self.world.processes:
            self.world.process(self.on_unknown)
        return self.world.processes[number % len(self.world.processes)]

    def submit(self, process: Process, step: Step) -> None:
        self.tickets.append(process.submit(step))
        # Who failed gave its place back; who left did so when its job was stopped, which may not be yet.
        held = sum(t.step.label == step.label and t.status != "failed" for t in process.asked)
        self.most[step.label] = max(self.most[step.label], held)

    def ask(self, who: int, text: str, tier: Tier, run: str, times: int, then: float) -> None:  # noqa: PLR0917 - a rule's
        name = label(text, tier, run)
        for _ in range(times):
            body = {"model": "m", "input": name}
            self.submit(self.pick(who), Step(body=body, service_tier=tier, run=run, label=name))
        self.world.run(then)

    def gone(self, process: Process, *, resume: bool) -> None:
        """Remember what a process that is gone did not get; or start another that asks for it again."""
        self.unfinished += [t.step for t in process.asked if t._answer is None and t.status != "failed"]
        self.tickets = [ticket for ticket in self.tickets if ticket not in set(process.asked)]
        if resume:
            again, self.unfinished = self.unfinished, []
            successor = self.world.process(self.on_unknown)
            for step in again:
                self.submit(successor, step)

    @precondition(lambda self: len(self.world.processes) < 3)
    @rule()
    def start(self) -> None:
        self.world.process(self.on_unknown)

    @rule(who=WHO, text=TEXTS, times=TIMES, then=MOMENTS)
    def ask_flex(self, who: int, text: str, times: int, then: float) -> None:
        self.ask(who, text, "flex", "", times, then)

    @rule(who=WHO, text=TEXTS, times=TIMES, then=MOMENTS)
    def ask_flex_in_a_run(self, who: int, text: str, times: int, then: float) -> None:
        self.ask(who, text, "flex", "r", times, then)

    @rule(who=WHO, text=TEXTS, times=TIMES, run=st.sampled_from(["", "r"]), then=MOMENTS)
    def ask_batch(self, who: int, text: str, times: int, run: str, then: float) -> None:
        self.ask(who, text, "batch", run, times, then)

    @precondition(lambda self: self.unfinished)
    @rule(who=WHO, then=MOMENTS)
    def resume(self, who: int, then: float) -> None:
        """Ask again what processes that are gone did not get."""
        again, self.unfinished = self.unfinished, []
        for step in again:
            self.submit(self.pick(who), step)
        self.world.run(then)

    @precondition(lambda self: any(ticket.status == "failed" for ticket in self.tickets))
    @rule(number=st.integers(0, 9), then=MOMENTS)
    def retry(self, number: int, then: float) -> None:
        """Ask again what failed, in the same process, as a framework's retries do."""
        failed = [ticket for ticket in self.tickets if ticket.status == "failed"]
        ticket = failed[number % len(failed)]
        (process,) = (process for process in self.world.processes if ticket in process.asked)
        self.tickets.remove(ticket)
        self.submit(process, ticket.step)
        self.world.run(then)

    @rule(seconds=MOMENTS)
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(number=st.integers(0, 9), end=st.sampled_from(["completed", "completed", "failed", "broken", "cancelled"]))
    def a_job_ends(self, number: int, end: str) -> None:
        jobs = self.world.service.open_jobs()
        if jobs:
            job = jobs[number % len(jobs)]
            job.state, job.code = ("failed", 500) if end == "broken" else (end, 400)

    @rule(number=st.integers(0, 9), end=st.sampled_from(["completed", "completed", "expired", "cancelled", "failed"]))
    def a_batch_ends(self, number: int, end: str) -> None:
        batches = self.world.service.open_batches()
        if batches:
            batches[number % len(batches)].end(end)

    @rule(number=st.integers(0, 9), code=st.sampled_from([0, 0, 400, 503]))
    def a_line_ends(self, number: int, code: int) -> None:
        lines = [line for b in self.world.service.open_batches() for line in b.lines.values() if not line.ended()]
        if lines:
            line = lines[number % len(lines)]
            line.state, line.code = ("failed" if code else "completed"), code

    @rule(where=WHERE, fates=st.lists(FATES, min_size=1, max_size=3))
    def the_network_has_a_mood(self, where: str, fates: list[str]) -> None:
        self.world.service.fates[where] = fates

    @precondition(lambda self: self.world.processes)
    @rule(who=WHO, resume=st.booleans(), then=MOMENTS)
    def crash(self, who: int, *, resume: bool, then: float) -> None:
        process = self.pick(who)
        process.kill()
        self.gone(process, resume=resume)
        self.world.run(then)

    @precondition(lambda self: self.world.processes)
    @rule(who=WHO, resume=st.booleans(), then=MOMENTS)
    def leave(self, who: int, *, resume: bool, then: float) -> None:
        process = self.pick(who)
        process.end()
        self.gone(process, resume=resume)
        self.world.run(then)

    @precondition(lambda self: any(not ticket.done() for ticket in self.tickets))
    @rule(number=st.integers(0, 9))
    def a_caller_leaves(self, number: int) -> None:
        waiting = [ticket for ticket in self.tickets if not ticket.done()]
        ticket = waiting[number % len(waiting)]
        ticket.cancel()
        self.left[ticket.step.label] += 1

    @rule(hours=st.sampled_from([-24, -1, 0, 1, 24]))
    def the_clock_is_set(self, hours: int) -> None:
        self.world.jump = hours * 3600

    @invariant()
    def nothing_is_lost_or_paid_twice(self) -> None:
        if not hasattr(self, "world"):
            return
        kept = self.world.rows()
        known = {row["response_id"] for row in kept}
        counted = Counter(row["label"] for row in kept)
        duplicates: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        for row in kept:
            duplicates[row["label"]] += row["possible_duplicates"]
            unknown[row["label"]] += row["state"] == "sending" and row["batch"] is None
        billed = Counter(job.text for job in self.world.service.billed())
        lost = Counter(job.text for job in self.world.service.jobs.values() if job.billed() and job.id not in known)
        for text, count in billed.items():
            allowed = counted[text] + duplicates[text] + self.left[text]
            assert count <= allowed, f"{text}: {count} are paid, {allowed} are accounted for"
        for text, count in lost.items():
            allowed = unknown[text] + duplicates[text] + self.left[text]
            assert count <= allowed, f"{text}: {count} jobs are in nobody's books, {allowed} may be"
        if self.on_unknown == "raise":
            assert not duplicates.total()
        assert not self.world.new_rows_in_vain, self.world.new_rows_in_vain
        for name, count in counted.items():
            if name.endswith("-r"):
                assert count <= self.most[name], (
                    f"{name} has {count} rows, and nobody wanted more than {self.most[name]}"
                )

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.everyone_gets_an_end()
            self.what_is_open_can_be_collected()
            self.nothing_is_lost_or_paid_twice()
        finally:
            self.world.close()
            self.folder.cleanup()

    def everyone_gets_an_end(self) -> None:
        self.world.service.recover()
        for _ in range(40):
            if all(ticket.done() for ticket in self.tickets):
                break
            self.world.run(60.0)
        hanging = [ticket for ticket in self.tickets if not ticket.done()]
        assert not hanging, f"after forty minutes of a healthy service: {hanging}"
        for ticket in self.tickets:
            if ticket._answer is not None:
                output = ticket._answer.body["output"]
                assert output[0]["content"][0]["text"] == ticket.step.label, "an answer to another question"
            else:
                assert isinstance(ticket._error, StepError)
                assert ticket._error.ticket is ticket

    def what_is_open_can_be_collected(self) -> None:
        """A last process that asks what is open gets it all, each job once."""
        for process in list(self.world.processes):
            process.kill()
        last = self.world.process("resend")
        left = [row for row in self.world.rows() if row["state"] in {"sending", "accepted"}]
        tickets = []
        for row in left:
            tier, _, run = row["label"].split("-")
            if not run:
                body = {"model": "m", "input": row["label"]}
                tickets.append(last.submit(Step(body=body, service_tier=tier, label=row["label"])))
        self.world.run(120.0)
        assert all(ticket.done() for ticket in tickets)
        answers = [ticket._answer.body["id"] for ticket in tickets if ticket._answer is not None]
        assert len(set(answers)) == len(answers)
        still = [r for r in self.world.rows() if r["state"] not in ENDED | {"delivered", "lost", "waiting"}]
        assert all(row["label"].endswith("-r") for row in still), still
        self.on_unknown = "resend"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("part", range(PARTS))
def test_histories(part: int) -> None:
    profile = settings(
        max_examples=HISTORIES // PARTS,
        stateful_step_count=MOVES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    histories = seed(SEED + part)(type(f"Histories{part}", (Histories,), {}))
    run_state_machine_as_test(histories, settings=profile)
