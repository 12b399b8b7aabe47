"""Submitting a step and waiting for its answer.

Owns: the two waits (a thread's, a loop's) with their heartbeats, and the promise that a caller who stops
waiting stops the step. Must not know a framework.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dw_agents import Answer, Engine, Step, Ticket

__all__ = ["Abandonable", "abandonable", "wait_in_thread", "wait_on_loop"]


class Abandonable:
    """The tickets of a call that runs in another thread, which cannot be interrupted there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: list[Ticket] = []
        self._reason: BaseException | None = None
        """Why its caller left."""

    def add(self, ticket: Ticket) -> None:
        """Take note of a ticket; it is cancelled at once where its caller has left already."""
        with self._lock:
            self._tickets.append(ticket)
            reason = self._reason
        if reason is not None:
            ticket.cancel(reason)

    def abandon(self, reason: BaseException) -> None:
        """Cancel all tickets, also those to come.

        Args:
            reason: what ended the call; see ``Ticket.cancel``.
        """
        with self._lock:
            self._reason = reason
            tickets = list(self._tickets)
        for ticket in tickets:
            ticket.cancel(reason)


abandonable: Final[ContextVar[Abandonable | None]] = ContextVar("dw_agents_abandonable", default=None)


def wait_in_thread(engine: Engine, step: Step, *, every: float | None, beat: Callable[[Ticket], None]) -> Answer:
    """Submit the step and wait in this thread, calling ``beat(ticket)`` each ``every`` seconds.

    Raises:
        DwAgentsError: what went wrong. Whatever else ends the wait (``KeyboardInterrupt``) cancels the step.
    """
    ticket = engine.submit(step)
    try:
        if (call := abandonable.get()) is not None:
            call.add(ticket)
        while not ticket.join(every):
            beat(ticket)
    except BaseException as error:
        ticket.cancel(error)
        raise
    return ticket.result()


async def wait_on_loop(
    engine: Engine, step: Step, *, every: float | None, beat: Callable[[Ticket], Awaitable[None]]
) -> Answer:
    """Submit the step and wait on this event loop, awaiting ``beat(ticket)`` each ``every`` seconds.

    Raises:
        DwAgentsError: what went wrong. Being cancelled cancels the step.
    """
    ticket = engine.submit(step)
    try:
        while not await ticket.wait(every):
            await beat(ticket)
    except BaseException as error:
        ticket.cancel(error)
        raise
    return await ticket
