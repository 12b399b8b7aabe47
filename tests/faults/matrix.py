"""The crash matrix: for every boundary a process that dies there, and others that ask the same steps after it.

Owns: one cell of the matrix (``cell``) and the walk over all of them (``walk``). The assertions are here, as the tests
and the campaign make the same.
"""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dw_agents.emulator import Emulator
from tests.faults.ledger import Rows, accepted_by_text, outcomes, read_lines, receipts, rows_by_label

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.faults.nursery import Nursery

ASK = "tests.faults.child:ask"


@dataclass(frozen=True)
class Scenario:
    """What the process was doing when it died.

    Attributes:
        tier: of the steps.
        texts: how many different texts are asked.
        samples: how often each.
        run: the run that they belong to; ``""`` is none.
        first_death: the name of the boundary at which an earlier process died, so that it is a recovery that dies.
    """

    tier: str
    texts: int = 2
    samples: int = 1
    run: str = ""
    first_death: str = ""

    def __str__(self) -> str:
        return (
            f"{self.tier}, {self.texts} texts x {self.samples}"
            + (", named run" if self.run else "")
            + (f", in the recovery from a death {self.first_death}" if self.first_death else "")
        )


@dataclass(frozen=True)
class Cell:
    """One death and what came of it.

    Attributes:
        number: of the boundary, from 1.
        boundary: its name; empty where the process survived.
        unknown: steps whose acceptance nobody can find out.
        paid_again: delivered steps that were asked again outside a named run.
    """

    number: int
    boundary: str
    unknown: int = 0
    paid_again: int = 0


MORE = (
    Scenario("flex", texts=3),
    Scenario("flex", texts=1, samples=3),
    Scenario("flex", texts=2, samples=2, run="named"),
    Scenario("batch", texts=3),
    Scenario("batch", texts=2, samples=2),
    Scenario("batch", texts=2, samples=2, run="named"),
    Scenario("flex", texts=2, first_death="while POST /responses is under way"),
    Scenario("flex", texts=2, first_death="after the commit of accepted", run="named"),
    Scenario("batch", texts=2, first_death="while POST /files is under way"),
    Scenario("batch", texts=2, first_death="while POST /batches is under way"),
    Scenario("batch", texts=2, first_death="after the reply to GET /batches/{id}", run="named"),
)
"""What the campaign walks through."""


class Walk:
    """The cells of one scenario, all against one emulator.

    Args:
        scenario: what is done.
        emulator: the service.
        folder: for the files.
    """

    def __init__(self, scenario: Scenario, emulator: Emulator, folder: Path) -> None:
        self._scenario = scenario
        self._emulator = emulator
        self._folder = folder

    def cell(self, nursery: Nursery, number: int, name: str = "") -> Cell:
        """Let a process die at a boundary, by its number or by its name, and check what two later ones get."""
        scenario = self._scenario
        here = self._folder / str(number)
        here.mkdir()
        texts = [f"{scenario.tier}/{number}/{text}" for text in range(scenario.texts)]
        steps = [self._step(text) for text in texts for _ in range(scenario.samples)]
        if scenario.first_death:
            self._child(nursery, here, "before", steps, die_at=scenario.first_death)
        status = self._child(nursery, here, "dying", steps, die_at=name or number)
        names = read_lines(here / "dying.log")
        if status == 0:
            return Cell(number, "")
        assert status == -signal.SIGKILL, nursery.said()
        rows = rows_by_label(here / "journal.db")
        self._check_window(rows, [*read_lines(here / "before.log"), *names])
        second = self._after(nursery, here, "careful", steps, on_unknown="raise")
        self._check_careful(second, rows, texts)
        left = [self._step(each["input"]) for each in second if "answer" not in each]
        again = steps if left and scenario.run else left
        third = self._after(nursery, here, "resending", again, on_unknown="resend") if again else []
        assert all("answer" in each for each in third), third
        self._check_accepted(here, texts, rows, {each["id"]: each for each in [*second, *third] if "answer" in each})
        unknown = sum(each.unknown for each in rows.values())
        said = receipts([here / "resending.jsonl"])["possible_duplicates"]
        assert said == unknown, f"{said} possible duplicates were reported for {unknown} unknown submissions"
        return Cell(number, names[-1], unknown, sum(self._paid_again(each) for each in rows.values()))

    def _step(self, text: str) -> dict[str, Any]:
        body = {"model": "a-model", "input": text}
        return {"body": body, "service_tier": self._scenario.tier, "label": text}

    def _child(
        self,
        nursery: Nursery,
        here: Path,
        name: str,
        steps: list[dict[str, Any]],
        die_at: int | str = "",
        **engine: Any,
    ) -> int:
        settings = {
            "api_key": self._emulator.api_key,
            "base_url": self._emulator.base_url,
            "journal": str(here / "journal.db"),
            "run": self._scenario.run,
            **engine,
        }
        files: dict[str, Any] = {"outcomes": str(here / f"{name}.jsonl"), "log": str(here / f"{name}.log")}
        return nursery.run(ASK, steps=steps, engine=settings, die_at=die_at, **files)

    def _after(
        self, nursery: Nursery, here: Path, name: str, steps: list[dict[str, Any]], on_unknown: str
    ) -> list[dict[str, Any]]:
        assert self._child(nursery, here, name, steps, on_unknown=on_unknown) == 0, nursery.said()
        found = outcomes(here / f"{name}.jsonl")
        assert len(found) == len(steps)
        assert all(each["input"] in each["answer"] for each in found if "answer" in each), (
            "an answer to another question"
        )
        answers = [each["id"] for each in found if "answer" in each]
        assert len(set(answers)) == len(answers), "two steps got one answer"
        return found

    def _check_window(self, rows: dict[str, Rows], names: list[str]) -> None:
        """Unknown is only what was about to leave or had left, and whose id was not on the disk yet."""
        if any(each.unknown for each in rows.values()):
            assert self._scenario.tier == "flex"
            assert any("after the commit of" in name and "sending" in name for name in names)

    def _check_careful(self, second: list[dict[str, Any]], rows: dict[str, Rows], texts: list[str]) -> None:
        """With ``on_unknown="raise"`` the unknown ones are named, and everything else is answered or sent once."""
        for text in texts:
            here = [each for each in second if each["input"] == text]
            known = rows.get(text, Rows())
            refused = [each for each in here if "error" in each]
            assert {each["error"] for each in refused} <= {"SubmissionUnknown"}, refused
            assert all(each["posts"] == 0 and each["names_ticket"] for each in refused)
            assert bool(refused) == bool(known.unknown), f"{text}: {refused} for {known}"
            if self._scenario.samples == 1:
                assert len(refused) == known.unknown

    def _check_accepted(
        self, here: Path, texts: list[str], rows: dict[str, Rows], answers: dict[str, dict[str, Any]]
    ) -> None:
        """Nothing was lost, and nothing was paid twice but what was counted as a possible duplicate."""
        scenario = self._scenario
        accepted = accepted_by_text(self._emulator, f"{scenario.tier}/{texts[0].split('/')[1]}/")
        counted = rows_by_label(here / "journal.db")
        answered = Counter(each["input"] for each in answers.values())
        for text in texts:
            known = rows.get(text, Rows())
            assert answered[text] == scenario.samples, f"{text} was lost"
            wanted = scenario.samples + self._paid_again(known)
            allowed = wanted + counted[text].possible_duplicates
            assert wanted <= accepted[text] <= allowed, f"{text}: accepted {accepted[text]} times, not {wanted}"

    def _paid_again(self, rows: Rows) -> int:
        """A delivered step that is asked again outside a run is new work."""
        return 0 if self._scenario.run else rows.states["delivered"]


def walk(scenario: Scenario, folder: Path, nursery: Nursery, *, workers: int = 6) -> list[Cell]:
    """Visit every boundary of a scenario by its number, until a process survives.

    Args:
        scenario: what is done.
        folder: for the files; empty.
        nursery: starts the processes.
        workers: how many cells are visited at the same time.
    """
    cells: list[Cell] = []
    with Emulator(record=0) as emulator, ThreadPoolExecutor(workers) as pool:
        this = Walk(scenario, emulator, folder)
        for first in itertools.count(1, workers):
            found = list(pool.map(partial(this.cell, nursery), range(first, first + workers)))
            cells += [cell for cell in found if cell.boundary]
            if not all(cell.boundary for cell in found):
                break
    return cells


def visit(scenario: Scenario, folder: Path, nursery: Nursery, names: Iterable[str], *, workers: int = 6) -> list[Cell]:
    """Visit boundaries of a scenario by their names; the arguments are as for ``walk``."""
    with Emulator(record=0) as emulator, ThreadPoolExecutor(workers) as pool:
        this = Walk(scenario, emulator, folder)
        return list(pool.map(partial(this.cell, nursery), itertools.count(1), names))


def table(scenario: Scenario, cells: list[Cell]) -> str:
    """Lay the cells of a scenario out for people."""
    lines = [f"{scenario}: {len(cells)} deaths"]
    lines += [
        f"  {cell.number:3} {cell.boundary}"
        + (f"  [unknown: {cell.unknown}]" if cell.unknown else "")
        + (f"  [asked again after delivery: {cell.paid_again}]" if cell.paid_again else "")
        for cell in cells
    ]
    return "\n".join(lines)
