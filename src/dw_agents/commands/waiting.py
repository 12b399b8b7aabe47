"""`dw-agents jobs wait`.

Owns: following jobs until they have ended at the service, and noting that. It takes no rows over: a program that asks
one of these steps meanwhile gets the same job, as if nobody waited here. Nothing is lost when it is stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dw_agents.commands.progress import Progress
from dw_agents.commands.service import Seen, Service, make_ticket
from dw_agents.commands.tables import clean, out, out_json, plural, say
from dw_agents.errors import StepLost
from dw_agents.journal import amend
from dw_agents.journal.jobs import OPEN_STATES
from dw_agents.routes.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.commands.jobs import Desk
    from dw_agents.errors import StepError
    from dw_agents.journal.jobs import Entry
    from dw_agents.ticket import Ticket
    from dw_agents.wire.responses import Job

__all__ = ["run"]

_POLLS: Final = 500.0
"""A second, over all jobs."""
_JUST_NOW: Final = 1e-3
_SHORTEST: Final = 0.5
_LONGEST: Final = 30.0
_GROWTH: Final = 0.02
"""A batch is looked at again when it has become a fiftieth older."""
_GATHER: Final = 0.05
"""Seconds in which ends are gathered, to be noted together."""


@dataclass
class _Watch:
    """What is waited for, and what came of it."""

    desk: Desk
    progress: Progress
    open: dict[int, Entry]
    total: int
    ends: asyncio.Queue[tuple[list[Entry], Seen]] = field(default_factory=asyncio.Queue)
    statuses: Counter[str] = field(default_factory=Counter)
    troubled: int = 0

    def tell(self, *, last: bool = False) -> None:
        ended = self.total - len(self.open)
        said = ", ".join(f"{count:,} {status}" for status, count in sorted(self.statuses.items()))
        self.progress.tell(f"{ended:,} of {plural(self.total, 'job')} ended{f' ({said})' if said else ''}", last=last)

    def note(self, entries: Sequence[Entry], seen: Seen) -> None:
        """Take note of the end of jobs, or of why they cannot be followed."""
        for entry in entries:
            del self.open[entry.row]
            if self.desk.options.json:
                out_json(
                    {
                        "id": entry.id,
                        "job": entry.job,
                        "status": seen.status or None,
                        "ended": seen.ended,
                        "trouble": seen.trouble or (str(seen) if seen.gone else None),
                    }
                )
        if seen.ended:
            self.statuses[seen.status] += len(entries)
            return
        self.troubled += len(entries)
        self.statuses["not followed"] += len(entries)
        say(f"{entries[0].job}: {clean(str(seen))}")


def run(desk: Desk) -> int:
    """Wait for the jobs that are meant; returns the exit status."""
    amend.bury(desk.jobs)
    chosen = desk.selected(OPEN_STATES)
    done = [entry for entry in chosen if entry.state == "settled"]
    going = [entry for entry in chosen if entry.state == "accepted"]
    unknown = [entry for entry in chosen if entry.unknown]
    early = len(chosen) - len(done) - len(going) - len(unknown)
    if early:
        say(f"{plural(early, 'step')} not at the service yet: not waited for.")
    if unknown:
        say(
            f"{plural(len(unknown), 'step')} in `sending` that no process works on: there is nothing to wait for; see "
            "`dw-agents jobs reconcile`."
        )
    watch = _Watch(desk, Progress(), {entry.row: entry for entry in going}, len(going))
    try:
        in_time = asyncio.run(_follow(watch)) if going else True
    except KeyboardInterrupt:
        say(f"\nStopped waiting; {plural(len(watch.open), 'job')} at the service as before.")
        raise
    if not desk.options.json:
        said = ", ".join(f"{count:,} {status}" for status, count in sorted(watch.statuses.items()))
        out(
            f"{plural(len(done) + len(going) - len(watch.open) - watch.troubled, 'job')} ended at the service"
            f"{f' ({said})' if said else ''}; run the program that asked them to collect the answers."
            if chosen
            else "No open jobs to wait for."
        )
    if not in_time:
        say(f"{plural(len(watch.open), 'job')} had not ended in time.")
    return 1 if watch.troubled or unknown or watch.open else 0


async def _follow(watch: _Watch) -> bool:
    """Follow all jobs to their ends; returns whether that took less than the user's time limit."""
    options = watch.desk.options
    async with Service(watch.desk.payer, patience=options.patience) as service:
        watch.tell()
        _poll_responses(watch, service)
        batches: dict[int, list[Entry]] = {}
        for entry in watch.open.values():
            if entry.batch is not None:
                batches.setdefault(entry.batch.number, []).append(entry)
        async with asyncio.TaskGroup() as group:
            polls = [group.create_task(_poll_batch(watch, service, lines)) for lines in batches.values()]
            with suppress(TimeoutError):
                async with asyncio.timeout(options.timeout):
                    while watch.open:
                        await _take_ends(watch)
                        watch.tell()
            for poll in polls:
                poll.cancel()
        watch.tell(last=True)
    return not watch.open


async def _take_ends(watch: _Watch) -> None:
    """Wait for the next ends and note them."""
    ends = [await watch.ends.get()]
    await asyncio.sleep(_GATHER)
    while not watch.ends.empty():
        ends.append(watch.ends.get_nowait())
    settled: list[Entry] = []
    for entries, seen in ends:
        watch.note(entries, seen)
        settled += entries if seen.ended else []
    # Those of a living process are its own to note.
    amend.settle(watch.desk.jobs, settled, time.time())


def _poll_responses(watch: _Watch, service: Service) -> None:
    """Let the engine's own poller follow the jobs that have response ids."""
    entries: dict[Ticket, Entry] = {}

    def finished(ticket: Ticket, job: Job, _: bytes) -> None:
        watch.ends.put_nowait(([entries[ticket]], Seen(job.status, ended=True)))

    def lost(ticket: Ticket, error: StepError) -> None:
        seen = Seen(gone=True) if isinstance(error, StepLost) else Seen(trouble=str(error))
        watch.ends.put_nowait(([entries[ticket]], seen))

    poller = Poller(service.shared, finished=finished, lost=lost, rate=_POLLS)
    now = time.time()
    for entry in watch.open.values():
        if entry.batch is None:
            ticket = make_ticket(entry)
            entries[ticket] = entry
            age = max(_JUST_NOW, now - entry.updated)
            ticket.accepted_at = service.shared.clock() - age
            poller.add(ticket, age=age)


async def _poll_batch(watch: _Watch, service: Service, lines: list[Entry]) -> None:
    """Follow one batch, which lines of several programs may be in."""
    batch = lines[0].batch
    if batch is None:
        raise AssertionError("unreachable: only lines of batches come here")
    since = time.monotonic() - max(0.0, time.time() - batch.created)
    while True:
        seen = await service.look_at_batch(batch, lines[0])
        if seen.ended or seen.gone or seen.trouble:
            watch.ends.put_nowait((lines, seen))
            return
        await asyncio.sleep(min(_LONGEST, max(_SHORTEST, (time.monotonic() - since) * _GROWTH)))
