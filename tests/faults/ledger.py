"""What the service was asked to do, and what the journal says of it, by the text of each step."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tests.faults.rows import query

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dw_agents.emulator import Emulator


def accepted_by_text(emulator: Emulator, prefix: str = "") -> Counter[str]:
    """How often each text was accepted, and so is billed: as a job, or as a line of a batch that was created."""
    texts: Counter[str] = Counter(str(job.body["input"]) for job in emulator.jobs)
    for batch in emulator.batches:
        if batch.input is not None:
            spool = batch.input.spool
            texts.update(str(msgspec.json.decode(spool.line(number))["body"]["input"]) for number in range(len(spool)))
    return Counter({text: count for text, count in texts.items() if text.startswith(prefix)})


@dataclass
class Rows:
    """The journal's rows of one text.

    Attributes:
        states: how many rows are in each state.
        unknown: of those ``sending``, how many are no line of a batch: nobody can find out whether they were accepted.
        possible_duplicates: as the journal counted them.
        posts: the same.
    """

    states: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    possible_duplicates: int = 0
    posts: int = 0


def rows_by_label(journal: Path) -> dict[str, Rows]:
    """Read the journal of a process that is gone; each step's label is its text."""
    found: dict[str, Rows] = {}
    if not journal.exists():
        return found
    for label, state, batch, posts, duplicates in query(
        journal, "SELECT label, state, batch, posts, possible_duplicates FROM steps"
    ):
        rows = found.setdefault(label, Rows())
        rows.states[state] += 1
        rows.unknown += state == "sending" and batch is None
        rows.possible_duplicates += duplicates
        rows.posts += posts
    return found


def read_lines(path: Path) -> list[Any]:
    """Decode what a child wrote, as far as it got."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def outcomes(path: Path) -> list[dict[str, Any]]:
    """What became of the steps that a child asked."""
    return [line for line in read_lines(path) if "receipt" not in line]


def receipts(paths: Iterable[Path]) -> Counter[str]:
    """The sum of the receipts of the children that lived long enough to have one."""
    total: Counter[str] = Counter()
    for path in paths:
        for line in read_lines(path):
            total.update(line.get("receipt", {}))
    return total
