"""How `dw-agents jobs reconcile` tells what it found.

Owns: the summary, for people and as JSON. Must not read the journal or ask the service.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dw_agents.commands.tables import age, as_object, clean, out, out_json, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dw_agents.commands.estimates import Estimate
    from dw_agents.commands.service import OwnBatch
    from dw_agents.journal.jobs import Entry, SentBatch

__all__ = ["Findings"]

_NAMED: Final = 20
"""Of each sort, for people; JSON has them all."""


@dataclass
class Findings:
    """What became of the steps that no running program works on.

    Attributes:
        unsent: how many never reached the service and were forgotten.
        attached: batches that were found by their tokens, and how many steps are in each.
        running: how many jobs go on at the service.
        settled: how many have ended there and wait to be collected.
        lost: steps whose jobs the service does not know any more.
        orphans: steps of unknown outcome, and what each may have cost.
        duplicates: steps that were knowingly sent again, and what the submission before may have cost.
        strangers: batches at the service that this journal does not know.
        troubles: what could not be cleared up, and why.
        held: how many steps running programs work on.
    """

    unsent: int = 0
    attached: list[tuple[SentBatch, int]] = field(default_factory=list)
    running: int = 0
    settled: int = 0
    lost: list[Entry] = field(default_factory=list)
    orphans: list[tuple[Entry, Estimate]] = field(default_factory=list)
    duplicates: list[tuple[Entry, Estimate]] = field(default_factory=list)
    strangers: list[OwnBatch] = field(default_factory=list)
    troubles: list[tuple[Sequence[Entry], str]] = field(default_factory=list)
    held: int = 0

    def tell(self, *, json: bool, now: float) -> None:
        """Write the summary to stdout.

        Args:
            json: as one object.
            now: wall-clock seconds.
        """
        if json:
            out_json(self._object(now))
            return
        for line in self._lines(now):
            out(line)

    def _object(self, now: float) -> dict[str, Any]:
        return {
            "unsent": self.unsent,
            "attached": [{"batch": batch.batch_id, "token": batch.token, "steps": n} for batch, n in self.attached],
            "running": self.running,
            "settled": self.settled,
            "lost": [as_object(entry, now) for entry in self.lost],
            "possible_orphans": [_estimated(entry, cost, now) for entry, cost in self.orphans],
            "possible_duplicates": [_estimated(entry, cost, now) for entry, cost in self.duplicates],
            "unknown_batches": [
                {
                    "id": batch.id,
                    "token": batch.token,
                    "status": batch.status,
                    "lines": batch.total,
                    "lines_answered": batch.answered,
                }
                for batch in self.strangers
            ],
            "troubles": [{"steps": [entry.id for entry in entries], "why": why} for entries, why in self.troubles],
            "held_by_running_programs": self.held,
        }

    def _lines(self, now: float) -> Iterable[str]:
        for batch, steps in self.attached:
            yield f"Found batch {batch.batch_id} by its token: {plural(steps, 'step')} attached to it."
        if self.unsent:
            yield f"{plural(self.unsent, 'step')} never reached the service: forgotten, nothing was paid; ask again."
        if self.running or self.settled:
            yield (
                f"{plural(self.running, 'job')} running at the service, {self.settled:,} ended there: run the program "
                "that asked them to collect the answers."
            )
        if self.lost:
            yield f"{plural(len(self.lost), 'step')} lost: accepted, and now the service does not know them:"
            yield from _some([f"{_name(entry, now)}  {entry.job}" for entry in self.lost])
        yield from self._paid_twice(now)
        yield from self._strangers()
        yield from self._left()
        if self == Findings(held=self.held):
            yield "Nothing to clear up."

    def _paid_twice(self, now: float) -> Iterable[str]:
        if self.orphans:
            yield (
                f"{plural(len(self.orphans), 'possible orphan')}: being sent when the process died. Nobody knows "
                f"whether the service accepted them; if so, they are billed. {_sum(self.orphans)}"
            )
            yield from _some([f"{_name(entry, now)}  {cost}" for entry, cost in self.orphans])
            yield "  If you find one in the dashboard: `dw-agents jobs adopt ID RESPONSE_ID`. Else ask the step again."
        if self.duplicates:
            yield (
                f"{plural(len(self.duplicates), 'step')} sent again after an unclear outcome: the submission before "
                f"may have been billed too. {_sum(self.duplicates)}"
            )
            yield from _some([f"{_name(entry, now)}  {cost}" for entry, cost in self.duplicates])

    def _strangers(self) -> Iterable[str]:
        if not self.strangers:
            return
        yield (
            f"{plural(len(self.strangers), 'batch')} of dw-agents at the service that this journal does not know, of "
            "another machine or another journal perhaps; what they cost is not known here:"
        )
        now = time.time()
        yield from _some(
            [
                f"{clean(batch.id)}  {clean(batch.status)}  {batch.answered:,} of {batch.total:,} lines answered"
                + (f"  {age(now - batch.created_at)} ago" if batch.created_at else "")
                for batch in self.strangers
            ]
        )

    def _left(self) -> Iterable[str]:
        for entries, why in self.troubles[:_NAMED]:
            names = ", ".join(entry.id for entry in entries[:5]) + (", ..." if len(entries) > 5 else "")
            yield clean(f"Not cleared up{f' ({names})' if names else ''}: {why}")
        if len(self.troubles) > _NAMED:
            yield f"  and {len(self.troubles) - _NAMED:,} more (--json names all)"
        if self.held:
            yield f"{plural(self.held, 'step')} left to the running programs that work on them."


def _some(lines: Sequence[str]) -> Iterable[str]:
    for line in lines[:_NAMED]:
        yield f"  {line}"
    if len(lines) > _NAMED:
        yield f"  and {len(lines) - _NAMED:,} more (--json names all)"


def _name(entry: Entry, now: float) -> str:
    label = f"  {clean(entry.label)}" if entry.label else ""
    run = f"  run {clean(entry.kind.run)}" if entry.kind.run else ""
    return f"{entry.id}  {clean(entry.kind.model)}  {entry.kind.tier}{run}{label}  {age(now - entry.updated)} ago"


def _sum(items: Sequence[tuple[Entry, Estimate]]) -> str:
    known = [cost.dollars * max(1, entry.possible_duplicates) for entry, cost in items if cost.dollars is not None]
    unknown = len(items) - len(known)
    parts = [f"about ${sum(known):.6f} in all"] if known else []
    if unknown:
        parts.append(f"{unknown:,} of them cannot be estimated" if known else "what that costs cannot be estimated")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."


def _estimated(entry: Entry, cost: Estimate, now: float) -> dict[str, Any]:
    return {
        **as_object(entry, now),
        "estimate": {"dollars": cost.dollars, "average_of_steps": cost.steps or None},
    }
