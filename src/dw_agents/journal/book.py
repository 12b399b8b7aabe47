"""The journal as the engine sees it: tickets in, decisions and acknowledgements out.

Owns: which row stands for which ticket, and what each event of a ticket's life is in the journal. Everything here runs
on the engine's thread; the writing is done elsewhere, in groups. Must not import the engine or the routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dw_agents.errors import JournalError, StepNotRecorded
from dw_agents.journal.rows import Ask, BatchNews, End, Found, Kind, account_mark, step_key, storable
from dw_agents.journal.writer import Change

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from dw_agents.config import Account
    from dw_agents.journal.rows import State
    from dw_agents.journal.writer import Writer
    from dw_agents.ticket import Ticket

__all__ = ["Book"]

_KEPT_OF_A_KIND: Final = 10_000


class Book:
    """Keeps the journal of one engine.

    Args:
        writer: commits; None keeps no journal, and every step is new.
        loop: the engine's.
        account: whose steps these are.
        run: the run that steps belong to which name none.
    """

    def __init__(self, writer: Writer | None, loop: asyncio.AbstractEventLoop, account: Account, run: str) -> None:
        self._writer = writer
        self._loop = loop
        self._base_url = account.base_url
        self._mark = account_mark(account)
        self._run = run
        self._kinds: dict[tuple[str, ...], Kind] = {}
        self._reading: dict[Ticket, Found] = {}
        """Who reads the answer of a job that is not ours, in a named run."""

    @property
    def kept(self) -> bool:
        """Whether there is a journal."""
        return self._writer is not None

    def ask(self, ticket: Ticket, told: Callable[[Ticket, Found | StepNotRecorded | None], None]) -> None:
        """Ask what is known of a step.

        Args:
            ticket: its handle; gets the row.
            told: called with the ticket and what was found (None: it is new and there is no journal), or with the
                error to end it with.
        """
        self.unread(ticket)
        step = ticket.step
        if self._writer is None or step.service_tier == "priority":
            told(ticket, None)
            return
        run = step.run or self._run
        head = (step.endpoint, step.model, step.service_tier, step.completion_window or "", storable(run))
        kind = self._kinds.get(head)
        if kind is None:
            if len(self._kinds) >= _KEPT_OF_A_KIND:
                self._kinds.clear()
            kind = self._kinds[head] = Kind(self._mark, self._base_url, *head)
        ask = Ask(step_key(self._mark, run, step, ticket.body), bool(run or step.scope), kind, storable(step.label))

        def answered(result: Found | JournalError) -> None:
            if isinstance(result, JournalError):
                told(ticket, _not_recorded(ticket, result))
                return
            if result.ours:
                ticket.row = result.row
            elif result.place is not None:
                self._reading[ticket] = result
            told(ticket, result)

        self._writer.put(Change("asks", ask, self._loop, answered, ticket.done))

    async def sending(self, ticket: Ticket, *, again: bool) -> None:
        """Return once it is durable that the step is about to be sent.

        Args:
            ticket: of the step.
            again: whether an earlier submission may have been accepted.

        Raises:
            StepNotRecorded: it must not be sent.
        """
        if ticket.row is not None:
            await self._durable("sending", (ticket.row, again), ticket)

    def unsent(self, ticket: Ticket) -> None:
        """Note that the submission surely was not accepted."""
        self._note("unsent", ticket, ticket.row)

    def accepted(self, ticket: Ticket, response_id: str) -> None:
        """Note the service's id."""
        self._note("accepted", ticket, (ticket.row, response_id))

    async def shipping(self, token: str, tickets: Sequence[Ticket]) -> None:
        """Return once it is durable that a batch is about to be sent.

        Raises:
            StepNotRecorded: it must not be sent.
        """
        rows = [ticket.row for ticket in tickets]
        if rows and None not in rows:
            await self._durable("shipping", (token, rows), tickets[0])

    def batch(self, token: str, *, file_id: str | None = None, batch_id: str | None = None) -> None:
        """Note what became known of a batch."""
        if self._writer is not None:
            self._put("batches", BatchNews(token, file_id, batch_id))

    def delivered(self, ticket: Ticket, usage: dict[str, Any] | None) -> None:
        """Note that the answer reaches its caller."""
        self._reading.pop(ticket, None)
        counts = [None, None]
        if usage is not None:
            for place, names in enumerate((("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))):
                counts[place] = next((usage[name] for name in names if isinstance(usage.get(name), int)), None)
        self._end(ticket, "delivered", *counts)

    def failed(self, ticket: Ticket, error: BaseException) -> None:
        """Note that the step ended without an answer, for good."""
        self._end(ticket, "failed", error=type(error).__name__)

    def lost(self, ticket: Ticket) -> None:
        """Note that the service does not know the job any more: the next ask submits it anew."""
        read = self._reading.get(ticket)
        if read is not None and read.replayed:
            self._put("ended", End(read.row, "lost", error="StepLost"))
        self._end(ticket, "lost", error="StepLost")

    def cancelled(self, ticket: Ticket) -> None:
        """Note that nobody wants the step any more, and that it does not run."""
        self._end(ticket, "cancelled")

    def released(self, ticket: Ticket) -> None:
        """Leave a step to whoever asks it next: it may be running at the service."""
        self.unread(ticket)
        self._note("released", ticket, ticket.row)
        ticket.row = None

    def unread(self, ticket: Ticket) -> None:
        """Note that a caller got no answer out of a job that is not ours: its next ask gets the same job."""
        read = self._reading.pop(ticket, None)
        if read is not None:
            self._put("unread", read.place)

    def close(self) -> None:
        """Write what is left, and give up what goes on at the service."""
        if self._writer is not None:
            self._writer.close()

    def _end(
        self,
        ticket: Ticket,
        state: State,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        error: str | None = None,
    ) -> None:
        self.unread(ticket)
        if ticket.row is not None:
            self._put("ended", End(ticket.row, state, input_tokens, output_tokens, error))
            ticket.row = None

    def _note(self, kind: str, ticket: Ticket, what: object) -> None:
        if ticket.row is not None:
            self._put(kind, what)

    def _put(self, kind: str, what: object, told: Callable[[Any], None] | None = None) -> None:
        if self._writer is not None:
            self._writer.put(Change(kind, what, self._loop if told is not None else None, told))

    async def _durable(self, kind: str, what: object, ticket: Ticket) -> None:
        written: asyncio.Future[None] = self._loop.create_future()

        def told(error: JournalError | None) -> None:
            if written.done():
                return  # who waited was cancelled
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(_not_recorded(ticket, error))

        self._put(kind, what, told)
        await written


def _not_recorded(ticket: Ticket, error: JournalError) -> StepNotRecorded:
    return StepNotRecorded(
        f"{ticket} was not sent, as the journal could not take it: {error} Make room there, give another file with "
        "journal=... or DW_AGENTS_JOURNAL, or turn it off with journal=False.",
        ticket=ticket,
    )
