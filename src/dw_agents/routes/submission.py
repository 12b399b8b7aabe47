"""One step in the submitter's hands.

Owns: what is remembered between its tries. Must not decide anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dw_agents.errors import ServiceUnreachable

if TYPE_CHECKING:
    import asyncio

    from dw_agents.schedule.retries import Retries
    from dw_agents.ticket import Ticket
    from dw_agents.wire.http import NotSent

__all__ = ["Submission", "not_reached"]


class Submission:
    """A step on its way to the service; the submitter's notes on it."""

    __slots__ = (
        "first_at", "pushed_back_at", "recorded", "released", "resend_after", "resends", "retries", "task", "ticket",
        "tries", "uncertain",
    )  # fmt: skip

    def __init__(self, ticket: Ticket, retries: Retries, *, uncertain: bool) -> None:
        self.ticket = ticket
        self.retries = retries
        self.tries = 0
        self.first_at: float | None = None
        self.released = True
        """Whether its place among the requests under way has been given back."""
        self.resend_after: float | None = None
        """Seconds until it is sent again, counted from the end of its task; None when it is not."""
        self.resends = 0
        self.uncertain = uncertain
        """Whether an earlier submission may have been accepted."""
        self.recorded = False
        """Whether the journal has counted that; a refusal in between does not count it once more."""
        self.pushed_back_at: float | None = None
        self.task: asyncio.Task[None] | None = None


def not_reached(ticket: Ticket, error: NotSent, tries: int) -> ServiceUnreachable:
    """Make the error of a step that was tried and never left."""
    return ServiceUnreachable(
        f"{ticket} was not sent: {error}, after {tries} {'try' if tries == 1 else 'tries'}. "
        "Check base_url, the network and the proxy variables; nothing was accepted or paid.",
        ticket=ticket,
    )
