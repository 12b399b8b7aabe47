"""`dw-agents jobs cancel`.

Owns: which jobs may be stopped, and what is noted of them. A row is held while its job is being stopped, so that no
program takes it over meanwhile; what has ended at the service is left to be collected, as it is paid for.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from dw_agents.commands.service import Service
from dw_agents.commands.tables import clean, out, out_json, plural, say
from dw_agents.errors import ConfigurationError
from dw_agents.journal import amend
from dw_agents.journal.jobs import OPEN_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dw_agents.commands.jobs import Desk
    from dw_agents.journal.jobs import Entry, SentBatch

__all__ = ["run"]

_AT_ONCE: Final = 64
"""Jobs that are held, stopped and noted together."""

_GOOD: Final = frozenset({"cancelled", "ended"})


class _Outcomes:
    """Says what became of each step, and counts it."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self.counts: Counter[str] = Counter()

    def add(self, entries: Iterable[Entry], outcome: str, why: str = "") -> None:
        """Take note of some steps.

        Args:
            entries: the steps.
            outcome: ``cancelled``, ``ended`` (its answer waits) or ``left`` (as it was).
            why: for people, where it is not as they asked.
        """
        some = list(entries)
        self.counts[outcome] += len(some)
        if self._json:
            for entry in some:
                out_json({"id": entry.id, "job": entry.job, "outcome": outcome, "why": why or None})
        elif why and some:
            names = ", ".join(entry.id for entry in some[:5]) + (", ..." if len(some) > 5 else "")
            say(f"{names}: {clean(why)}")


def run(desk: Desk) -> int:
    """Stop the jobs that are meant; returns the exit status.

    Raises:
        ConfigurationError: it was not said which.
    """
    options = desk.options
    amend.bury(desk.jobs)
    chosen = _chosen(desk)
    outcomes = _Outcomes(json=options.json)
    outcomes.add([entry for entry in chosen if not entry.open], "ended", "has ended already; nothing to stop.")
    chosen = [entry for entry in chosen if entry.open]
    lines, singles = _by_batch(chosen)
    plain = _stoppable(singles, outcomes, force=options.force)
    whole = [batch for batch in lines.values() if _allowed(desk, batch, outcomes)]
    if plain or whole:
        asyncio.run(_stop(desk, plain, whole, outcomes))
    if not options.json:
        stopped, ended, left = (outcomes.counts[name] for name in ("cancelled", "ended", "left"))
        text = f"Cancelled {plural(stopped, 'step')}"
        text += f"; {ended:,} had ended" if ended else ""
        out(text + (f"; {left:,} left as before." if left else "."))
    return 0 if set(+outcomes.counts) <= _GOOD else 1


def _chosen(desk: Desk) -> list[Entry]:
    options = desk.options
    filtered = any(getattr(options, name) is not None for name in ("run", "state", "older", "newer"))
    if options.ids and (filtered or options.all):
        raise ConfigurationError("Name steps by their ids or by filters, not by both.", field="ID")
    if not options.ids and not filtered and not options.all:
        raise ConfigurationError("Say what to cancel: ids, --run NAME, other filters, or --all.", field="ID")
    if not options.ids:
        return desk.selected(OPEN_STATES)
    chosen: dict[int, Entry] = {}
    for ident in options.ids:
        found = desk.named(ident)
        together = {entry.batch.number if entry.batch is not None else None for entry in found}
        if len(found) > 1 and (len(together) > 1 or together == {None}):
            desk.one(ident)  # says what it may stand for
        chosen.update((entry.row, entry) for entry in found)
    return list(chosen.values())


def _by_batch(chosen: Sequence[Entry]) -> tuple[dict[int, list[Entry]], list[Entry]]:
    lines: dict[int, list[Entry]] = {}
    singles: list[Entry] = []
    for entry in chosen:
        if entry.batch is not None and entry.state != "waiting":
            lines.setdefault(entry.batch.number, []).append(entry)
        else:
            singles.append(entry)
    return lines, singles


def _stoppable(singles: Sequence[Entry], outcomes: _Outcomes, *, force: bool) -> list[Entry]:
    """Return those of the flex steps that can be stopped, and say why the others cannot."""
    held = [entry for entry in singles if entry.held]
    early = [entry for entry in held if entry.response_id is None]
    outcomes.add(early, "left", "a running program is just sending it; stop the program.")
    if not force:
        rest = [entry for entry in held if entry.response_id is not None]
        outcomes.add(rest, "left", "a running program waits for it; stop the program, or give --force.")
    outcomes.add(
        [entry for entry in singles if entry.unknown],
        "left",
        "was being sent when its process died, and its id is not known, so it cannot be stopped. If you find it in the "
        "dashboard, `dw-agents jobs adopt` it first.",
    )
    return [
        entry for entry in singles if (force and entry.response_id is not None if entry.held else not entry.unknown)
    ]


def _allowed(desk: Desk, chosen: Sequence[Entry], outcomes: _Outcomes) -> bool:
    """Whether a batch may be stopped for these of its steps; says why where it may not."""
    batch = chosen[0].batch
    if batch is None:
        raise AssertionError("unreachable: only lines of batches come here")
    every = desk.jobs.open_lines(batch)
    name = f"batch {batch.batch_id}" if batch.batch_id else "their batch"
    if any(entry.held for entry in every) and not desk.options.force:
        outcomes.add(chosen, "left", f"a running program waits for {name}; stop the program, or give --force.")
        return False
    if any(entry.held for entry in every) and batch.batch_id is None:
        outcomes.add(chosen, "left", "a running program is just sending their batch; stop the program.")
        return False
    if len(every) > len(chosen) and not desk.options.whole_batch:
        outcomes.add(
            chosen,
            "left",
            f"a line of a batch cannot be stopped alone, and {len(chosen):,} of the {len(every):,} open steps in "
            f"{name} were named. Name them all, or give --whole-batch.",
        )
        return False
    return True


async def _stop(desk: Desk, plain: list[Entry], whole: list[list[Entry]], outcomes: _Outcomes) -> None:
    async with Service(desk.payer, patience=desk.options.patience) as service:
        with amend.Hold(desk.jobs) as hold:
            for start in range(0, len(plain), _AT_ONCE):
                await _stop_responses(service, hold, plain[start : start + _AT_ONCE], outcomes)
            for chosen in whole:
                if chosen[0].batch is not None:
                    await _stop_batch(desk, service, hold, chosen[0].batch, outcomes)


async def _stop_responses(service: Service, hold: amend.Hold, entries: list[Entry], outcomes: _Outcomes) -> None:
    """Stop flex steps; rows of a living process, which only --force brings here, are left to it."""
    held = [entry for entry in entries if entry.held]
    taken = hold.take([entry for entry in entries if not entry.held])
    _missed(entries, [*held, *taken], outcomes)
    unsent = [entry for entry in taken if entry.response_id is None]
    here = [entry for entry in [*taken, *held] if entry.response_id is not None]
    seen = dict(zip(here, await asyncio.gather(*[service.look(entry) for entry in here]), strict=True))
    running = [entry for entry in here if not (seen[entry].ended or seen[entry].gone or seen[entry].trouble)]
    failed = await service.cancel(running)
    stopped = [entry for entry in running if entry.response_id not in failed]
    stopped += [entry for entry in here if seen[entry].status == "cancelled"]
    gone = [entry for entry in here if seen[entry].gone]
    ended = [entry for entry in here if seen[entry].ended and seen[entry].status != "cancelled"]
    now = time.time()
    hold.end([entry for entry in [*stopped, *unsent] if not entry.held], "cancelled", now)
    hold.end([entry for entry in gone if not entry.held], "lost", now, "StepLost")
    hold.settle([entry for entry in ended if not entry.held], now)
    outcomes.add([*stopped, *unsent], "cancelled")
    outcomes.add(gone, "ended", "the service does not know it any more.")
    outcomes.add(ended, "ended", "had ended at the service and is paid for; its answer is kept for who asks again.")
    for entry in here:
        if seen[entry].trouble:
            outcomes.add([entry], "left", f"the service could not be asked ({seen[entry].trouble}); it may run on.")
        elif entry in running and entry.response_id in failed:
            outcomes.add([entry], "left", "could not be stopped; it runs on and will be billed.")


async def _stop_batch(desk: Desk, service: Service, hold: amend.Hold, batch: SentBatch, outcomes: _Outcomes) -> None:
    """Stop a batch with all of its steps."""
    entries = desk.jobs.open_lines(batch)
    held = [entry for entry in entries if entry.held]
    taken = hold.take([entry for entry in entries if not entry.held])
    _missed(entries, [*held, *taken], outcomes)
    here = [*taken, *held]
    if not here:
        return
    if batch.batch_id is None:
        found, trouble = await service.find_batch(batch, here[0])
        if trouble:
            outcomes.add(here, "left", f"their batch could not be looked for ({trouble}); it may run.")
            return
        if found is None:
            hold.end(taken, "cancelled", time.time())
            outcomes.add(here, "cancelled", "their batch was never created.")
            return
        amend.attach(desk.jobs, batch.token, found)
        batch = batch._replace(batch_id=found)
    seen = await service.look_at_batch(batch, here[0])
    if seen.trouble:
        outcomes.add(here, "left", f"batch {batch.batch_id} could not be looked at ({seen.trouble}); it may run on.")
    elif seen.gone:
        hold.end(taken, "lost", time.time(), "StepLost")
        outcomes.add(here, "ended", f"the service does not know batch {batch.batch_id} any more.")
    elif seen.ended and seen.status != "cancelled":
        hold.settle(taken, time.time())
        outcomes.add(here, "ended", f"batch {batch.batch_id} had ended; its answers are kept for who asks again.")
    else:
        trouble = await service.cancel_batch(batch) if not seen.ended else ""
        if trouble:
            outcomes.add(here, "left", f"batch {batch.batch_id} could not be stopped ({trouble}); it runs on.")
            return
        hold.end(taken, "cancelled", time.time())
        paid = (
            f"{seen.answered:,} of its {seen.total:,} lines had been answered and are billed." if seen.answered else ""
        )
        outcomes.add(here, "cancelled", paid)


def _missed(entries: Sequence[Entry], taken: Sequence[Entry], outcomes: _Outcomes) -> None:
    rows = {entry.row for entry in taken}
    missed = [entry for entry in entries if entry.row not in rows]
    outcomes.add(missed, "left", "a program took it up in the meantime.")
