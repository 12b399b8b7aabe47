"""What the commands ask of the service.

Owns: looking at jobs and batches once each, finding batches, and stopping them, with the engine's own parts for all of
it. Must not read or write the journal.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import msgspec

from dw_agents.errors import StepLost
from dw_agents.journal.book import Book
from dw_agents.receipt import Tally
from dw_agents.routes.base import Shared
from dw_agents.routes.batch import Kind
from dw_agents.routes.cancel import Canceller
from dw_agents.routes.dispatch import Dispatch
from dw_agents.routes.reader import VISIBLE_WITHIN, Refused, read
from dw_agents.schedule.retries import Retries, RetryBudget
from dw_agents.step import Step
from dw_agents.ticket import Ticket
from dw_agents.wire import UNREADABLE, batches
from dw_agents.wire.http import Connection, WireError
from dw_agents.wire.responses import UNFINISHED, read_job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from dw_agents.config import Account
    from dw_agents.journal.jobs import Entry, SentBatch

__all__ = ["OwnBatch", "Seen", "Service", "make_ticket"]

_TIMEOUT: Final = 30.0
_AT_ONCE: Final = 32
_PAGES: Final = 50
_CANCEL_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """What the service said of a job or a batch.

    Attributes:
        status: in the service's words; empty where it was not told.
        ended: whether nothing will happen to it any more.
        gone: whether the service does not know it (any more).
        hidden: whether the service does not know it, which was accepted too short a time ago for that to mean anything.
        trouble: why the service could not be asked; empty when it was.
        answered: lines of a batch that have an answer.
        total: lines of a batch.
        usage: of a finished job, as the service counts.
        model: of a job, where the service says it.
    """

    status: str = ""
    ended: bool = False
    gone: bool = False
    hidden: bool = False
    trouble: str = ""
    answered: int | None = None
    total: int | None = None
    usage: dict[str, object] | None = None
    model: str = ""

    def __str__(self) -> str:
        if self.trouble:
            return f"could not be asked: {self.trouble}"
        if self.gone:
            return "not known there any more"
        if self.hidden:
            return "not visible there yet"
        return self.status + (f", {self.answered:,} of {self.total:,} lines answered" if self.total else "")


@dataclass(frozen=True, slots=True)
class OwnBatch:
    """A batch at the service that dw-agents sent."""

    id: str
    token: str
    status: str
    total: int
    answered: int
    created_at: float | None


class _Model(msgspec.Struct, gc=False):
    model: str = ""


class _Page(msgspec.Struct, gc=False):
    data: list[batches.Batch]
    has_more: bool = False


class Service:
    """The service, for as long as one command needs it.

    Args:
        account: the key and the address.
        patience: seconds for which to try again what got no answer.
    """

    def __init__(self, account: Account, *, patience: float) -> None:
        self._account = account
        self._retries = Retries(patience=patience)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.shared = Shared(
            loop=loop,
            connection=Connection(self._account),
            retries=self._retries,
            budget=RetryBudget(),
            on_unknown="raise",
            tally=Tally(),
            clock=time.monotonic,
            # What is done here is noted by the commands, under other conditions than an engine's.
            book=Book(None, loop, self._account, ""),
            ask=_asks_nothing,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self.shared.tasks):
            task.cancel()
        await asyncio.gather(*self.shared.tasks, return_exceptions=True)
        await self.shared.connection.close()

    async def look(self, entry: Entry) -> Seen:
        """Ask for the state of a job that has a response id.

        Args:
            entry: the step; one that was accepted just now may not be visible yet, which is no sign that it is gone.
        """
        return await self.look_up(str(entry.response_id), age=time.time() - entry.updated, ticket=make_ticket(entry))

    async def look_up(self, response_id: str, *, age: float, ticket: Ticket) -> Seen:
        """Ask for the state of a response.

        Args:
            response_id: its id.
            age: seconds since it was accepted.
            ticket: of its step, for what is said of it.
        """
        async with self._slots:
            text, seen = await self._read(f"/responses/{response_id}", age, ticket)
        if seen is not None:
            return seen
        job = read_job(text)
        if job is None:
            return Seen(trouble="the reply is no Response")
        usage: dict[str, object] | None = None
        model = ""
        with suppress(*UNREADABLE):
            usage = msgspec.json.decode(job.usage, type=dict[str, object] | None)
            model = msgspec.json.decode(text, type=_Model).model
        return Seen(job.status, ended=job.status not in UNFINISHED, usage=usage, model=model)

    async def look_at_batch(self, sent: SentBatch, entry: Entry) -> Seen:
        """Ask for the state of a batch that has an id.

        Args:
            sent: the batch.
            entry: a step in it.
        """
        async with self._slots:
            text, seen = await self._read(f"/batches/{sent.batch_id}", time.time() - sent.created, make_ticket(entry))
        if seen is not None:
            return seen
        batch = batches.read_batch(text)
        if batch is None:
            return Seen(trouble="the reply is no batch")
        total = batch.request_counts.total if batch.request_counts is not None else sent.lines
        return Seen(
            batch.status, ended=batch.status in batches.ENDED, answered=batch.completed_lines, total=total or sent.lines
        )

    async def find_batch(self, sent: SentBatch, entry: Entry) -> tuple[str | None, str]:
        """Look for a batch by its token.

        Args:
            sent: the batch.
            entry: a step in it.

        Returns:
            Its id, None where it surely is not there; and why the service could not be asked, if so.
        """
        kind = entry.kind

        async def goes_on(seconds: float) -> bool:
            await asyncio.sleep(seconds)
            return True

        dispatch = Dispatch(self.shared, Kind(kind.endpoint, kind.model, kind.window or "24h"), sent.token, goes_on)
        async with self._slots:
            try:
                batch = await dispatch.find()
            except Refused as refused:
                return None, str(refused)
        if batch is not None:
            return batch.id, ""
        if time.time() - entry.updated < VISIBLE_WITHIN:
            return None, "it was being sent just now and may not be visible yet; try again in half a minute"
        return None, ""

    async def own_batches(self, since: float) -> tuple[list[OwnBatch], str]:
        """List the batches at the service that were sent by dw-agents, whatever journal has them.

        Args:
            since: wall-clock seconds; older ones are left out.

        Returns:
            The batches, newest first; and why there may be more, if so.
        """
        found: list[OwnBatch] = []
        after = ""
        for _ in range(_PAGES):
            try:
                reply = await read(
                    self.shared, f"/batches?limit=100&search={batches.TOKEN_FIELD}{after}", timeout=_TIMEOUT
                )
                page = msgspec.json.decode(reply.body, type=_Page)
            except (Refused, *UNREADABLE) as error:
                return found, str(error)
            recent = [batch for batch in page.data if batch.created_at is None or batch.created_at >= since]
            # A server may ignore the search that was asked for.
            found += [_own(batch) for batch in recent if (batch.metadata or {}).get(batches.TOKEN_FIELD)]
            if not page.has_more or not page.data or len(recent) < len(page.data):
                return found, ""
            after = f"&after={page.data[-1].id}"
        return found, f"there are more than {_PAGES * 100:,} batches"

    async def cancel(self, entries: Sequence[Entry]) -> set[str]:
        """Stop jobs; returns the response ids of those that could not be stopped."""
        canceller = Canceller(self.shared)
        for entry in entries:
            ticket = make_ticket(entry)
            ticket.accepted_at = self.shared.clock() - max(0.0, time.time() - entry.updated)
            canceller.cancel(ticket)
        await asyncio.gather(*self.shared.tasks)
        left, self.shared.not_cancelled = set(self.shared.not_cancelled), []
        return left

    async def cancel_batch(self, sent: SentBatch) -> str:
        """Stop a batch that has not ended; returns why it could not be stopped, or nothing."""
        trouble = ""
        for tries in range(1, _CANCEL_TRIES + 1):
            try:
                reply = await self.shared.connection.request(
                    "POST", f"/batches/{sent.batch_id}/cancel", timeout=_TIMEOUT
                )
            except WireError as error:
                trouble = str(error)
            else:
                if reply.status < 300:
                    return ""
                trouble = f"{reply.status} {reply.text[:200]}"
                if reply.status in {400, 401, 403, 404, 409}:
                    return trouble
            await asyncio.sleep(min(2.0, self._retries.pause(tries)))
        return trouble

    async def _read(self, path: str, age: float, ticket: Ticket) -> tuple[bytes, Seen | None]:
        """Read something; returns its text, or what to make of its not being there."""
        try:
            return (await read(self.shared, path, timeout=_TIMEOUT)).body, None
        except Refused as refused:
            if not isinstance(refused.error(ticket), StepLost):
                return b"", Seen(trouble=str(refused))
        return b"", Seen(hidden=age < VISIBLE_WITHIN, gone=age >= VISIBLE_WITHIN)


def make_ticket(entry: Entry) -> Ticket:
    """Make a handle to a step, for the parts of the engine that want one."""
    kind = entry.kind
    ticket = Ticket(
        Step(
            body={"model": kind.model},
            endpoint=kind.endpoint,
            service_tier=kind.tier,  # type: ignore[arg-type]  # what the journal keeps went through the check of a Step
            label=entry.label,
        )
    )
    ticket.response_id = entry.response_id
    return ticket


def _own(batch: batches.Batch) -> OwnBatch:
    return OwnBatch(
        id=batch.id,
        token=str((batch.metadata or {})[batches.TOKEN_FIELD]),
        status=batch.status,
        total=batch.request_counts.total if batch.request_counts is not None else 0,
        answered=batch.completed_lines,
        created_at=batch.created_at,
    )


def _asks_nothing(_: Ticket) -> None:
    """No step is submitted from here."""
