"""`dw-agents jobs reconcile`.

Owns: what is asked about steps that no running program works on, and what follows from the answers. What a program
works on is left to it. How the outcome is told is ``findings.py``'s.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from dw_agents.commands.estimates import estimate
from dw_agents.commands.findings import Findings
from dw_agents.commands.service import Seen, Service
from dw_agents.journal import amend
from dw_agents.journal.jobs import Selection
from dw_agents.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dw_agents.commands.jobs import Desk
    from dw_agents.journal.jobs import Entry, SentBatch

__all__ = ["run"]

_AT_ONCE: Final = 256
_REMEMBERED: Final = 30 * 86_400.0
"""Seconds for which journals remember their batches, and the service keeps their files."""


def run(desk: Desk) -> int:
    """Clear up what can be cleared up; returns the exit status."""
    found = Findings(unsent=amend.bury(desk.jobs))
    entries = desk.jobs.entries(Selection(account=desk.mark))
    free = [entry for entry in entries if entry.open and not entry.held]
    found.held = sum(entry.held for entry in entries)
    asyncio.run(_ask(desk, free, found))
    usage, prices = desk.jobs.usage(), Prices.load()
    for entry in free:
        if entry.unknown and entry.batch is None:
            found.orphans.append((entry, estimate(entry, usage, prices)))
    found.duplicates = [
        (entry, estimate(entry, usage, prices))
        for entry in entries
        if entry.possible_duplicates and not (entry.unknown and entry.batch is None)
    ]
    found.tell(json=desk.options.json, now=desk.now)
    return 1 if found.orphans or found.troubles else 0


async def _ask(desk: Desk, free: list[Entry], found: Findings) -> None:
    async with Service(desk.payer, patience=desk.options.patience) as service:
        lines: dict[int, list[Entry]] = {}
        for entry in free:
            if entry.batch is not None and entry.state != "waiting":
                lines.setdefault(entry.batch.number, []).append(entry)
        await asyncio.gather(*[_batch(desk, service, some, found) for some in lines.values()])
        singles = [entry for entry in free if entry.batch is None and entry.response_id is not None]
        for start in range(0, len(singles), _AT_ONCE):
            part = singles[start : start + _AT_ONCE]
            seen = await asyncio.gather(*[service.look(entry) for entry in part])
            _note(desk, zip(part, seen, strict=True), found)
        await _strangers(desk, service, found)


async def _batch(desk: Desk, service: Service, entries: list[Entry], found: Findings) -> None:
    """Find a batch whose creation was not confirmed, and ask what became of it."""
    batch = entries[0].batch
    if batch is None:
        raise AssertionError("unreachable: only lines of batches come here")
    if batch.batch_id is None:
        attached = await _find(desk, service, batch, entries, found)
        if attached is None:
            return
        batch = attached
    seen = await service.look_at_batch(batch, entries[0])
    _note(desk, ((entry, seen) for entry in entries), found)


async def _find(
    desk: Desk, service: Service, batch: SentBatch, entries: list[Entry], found: Findings
) -> SentBatch | None:
    if any(entry.held for entry in desk.jobs.open_lines(batch)):
        found.troubles.append((entries, "a running program is sending or looking for their batch; try again later"))
        return None
    batch_id, trouble = await service.find_batch(batch, entries[0])
    if trouble:
        found.troubles.append((entries, f"their batch could not be looked for: {trouble}"))
        return None
    if batch_id is None:
        found.unsent += amend.unsend(desk.jobs, entries)
        return None
    amend.attach(desk.jobs, batch.token, batch_id)
    batch = batch._replace(batch_id=batch_id)
    found.attached.append((batch, len(entries)))
    return batch


def _note(desk: Desk, looks: Iterable[tuple[Entry, Seen]], found: Findings) -> None:
    """Write down what was seen of accepted jobs."""
    ended: list[Entry] = []
    gone: list[Entry] = []
    for entry, seen in looks:
        if seen.trouble:
            found.troubles.append(([entry], f"the service could not be asked: {seen.trouble}"))
        elif seen.gone:
            gone.append(entry)
        elif seen.ended:
            ended.append(entry)
        else:
            found.running += 1
    now = time.time()
    amend.settle(desk.jobs, [entry for entry in ended if entry.written != "settled"], now)
    amend.end(desk.jobs, gone, "lost", now, "StepLost")
    found.settled += len(ended)
    found.lost += gone


async def _strangers(desk: Desk, service: Service, found: Findings) -> None:
    """Find batches that dw-agents sent and this journal does not know."""
    known = desk.jobs.tokens()
    batches, trouble = await service.own_batches(time.time() - _REMEMBERED)
    known |= desk.jobs.tokens()  # a program may have sent one while the list was read
    found.strangers = [batch for batch in batches if batch.token not in known]
    if trouble:
        found.troubles.append(([], f"the list of batches at the service could not be read to its end: {trouble}"))
