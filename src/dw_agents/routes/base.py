"""What every route is, and what the routes of one engine share.

Owns: the ``Route`` protocol and ``Shared`` (connection, counts, retry settings, the open tickets). Must not import a
route.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from dw_agents.errors import MalformedAnswer, StepLost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from dw_agents.errors import StepError
    from dw_agents.journal.book import Book
    from dw_agents.journal.rows import Found
    from dw_agents.receipt import Tally
    from dw_agents.schedule.retries import Retries, RetryBudget
    from dw_agents.step import OnUnknown
    from dw_agents.ticket import Answer, Ticket, TicketStatus
    from dw_agents.wire.http import Connection

__all__ = ["Route", "Shared"]

log = logging.getLogger("dw_agents")


class Route(Protocol):
    """One way for a step to travel; everything here runs on the engine's thread."""

    def start(self, ticket: Ticket, found: Found | None = None) -> None:
        """Take up a step; its ticket will be settled, whatever happens.

        Args:
            ticket: of the step.
            found: what the journal knows of a step that is not new.
        """

    def abandon(self, ticket: Ticket) -> None:
        """Stop a step whose ticket has already ended for its caller: at the service too, if it is there."""

    def idle(self) -> bool:
        """Whether nothing is left to do, cancellations at the service included."""


class _Guard:
    """See ``Shared.guarded``; a class, since generators cost several times as much, and every request has two."""

    __slots__ = ("_shared", "_ticket")

    def __init__(self, shared: Shared, ticket: Ticket) -> None:
        self._shared = shared
        self._ticket = ticket

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        log.error("dw-agents: an internal error; please report it", exc_info=error)
        ticket = self._ticket
        what = f"{ticket}: an internal error of dw-agents: {error!r}."
        self._shared.fail(ticket, MalformedAnswer(what, ticket=ticket))
        return True


@dataclass
class Shared:
    """What the routes of one engine have in common; used on the engine's thread only.

    Attributes:
        loop: the engine's.
        connection: to the account's address.
        retries: the settings.
        budget: the engine's one retry budget.
        on_unknown: what to do with a submission without a reply, where the step does not say.
        tally: counts for the receipt.
        clock: monotonic seconds.
        book: the journal.
        ask: puts a step to the journal and then to its route, once more.
        open: tickets that have not ended.
        not_cancelled: ids of jobs that could not be cancelled at the service, for the message at exit.
    """

    loop: asyncio.AbstractEventLoop
    connection: Connection
    retries: Retries
    budget: RetryBudget
    on_unknown: OnUnknown
    tally: Tally
    clock: Callable[[], float]
    book: Book
    ask: Callable[[Ticket], None]
    open: set[Ticket] = field(default_factory=set)
    not_cancelled: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` on the engine's loop and keep it alive until it ends."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def answer(self, ticket: Ticket, answer: Answer, usage: dict[str, Any] | None) -> None:
        """End a ticket with its answer; its ``usage`` goes into the receipt."""
        if ticket in self.open:
            self.book.delivered(ticket, usage)
        self._end(ticket, "completed", answer=answer, usage=usage)

    def fail(self, ticket: Ticket, error: StepError, state: TicketStatus = "failed", *, goes_on: bool = False) -> None:
        """End a ticket with what went wrong.

        Args:
            ticket: of the step.
            error: what went wrong.
            state: how it ended.
            goes_on: whether the job may be running or finished at the service, to be collected by who asks next.
        """
        if ticket not in self.open:
            return  # its caller left in the meantime, and was counted then
        if isinstance(error, StepLost):
            self.book.lost(ticket)
        elif goes_on:
            self.book.released(ticket)
        elif state == "cancelled":
            self.book.cancelled(ticket)
        else:
            self.book.failed(ticket, error)
        self._end(ticket, state, error=error)

    def guarded(self, ticket: Ticket) -> _Guard:
        """End the ticket when what is done inside breaks: nobody hangs because of a defect of ours."""
        return _Guard(self, ticket)

    def forget(self, ticket: Ticket) -> bool:
        """Count a ticket that its caller ended; False if it was counted before."""
        if ticket not in self.open:
            return False
        self.open.discard(ticket)
        self.book.unread(ticket)
        ticket.ended_at = self.clock()
        self.tally.ended(ticket.step, answered=False, usage=None)
        return True

    def _end(
        self,
        ticket: Ticket,
        state: TicketStatus,
        *,
        answer: Answer | None = None,
        usage: dict[str, Any] | None = None,
        error: StepError | None = None,
    ) -> None:
        if ticket not in self.open:
            return  # its caller left in the meantime, and was counted then
        self.open.discard(ticket)
        ticket.ended_at = self.clock()
        # Counted before the caller wakes: a receipt taken right after the answer must hold it.
        if ticket.replayed and answer is not None:
            self.tally.count("replayed")
        else:
            self.tally.ended(ticket.step, answered=answer is not None, usage=usage)
        ticket.settle(answer=answer, error=error, state=state)
