"""The flex route: a background Response, submitted and polled.

Owns: the life of a flex (or background-tier) step between submission and end. Sending, polling and cancelling are
the submitter's, the poller's and the canceller's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from dw_agents.errors import MalformedAnswer, StepCancelled, StepError, StepLost, SubmissionUnknown
from dw_agents.routes.cancel import Canceller
from dw_agents.routes.poller import Poller
from dw_agents.routes.recall import Recall
from dw_agents.routes.submitter import Submitter
from dw_agents.schedule.retries import Verdict, judge_failed_job
from dw_agents.wire.responses import UNFINISHED, Job, job_error, read_answer, read_job

if TYPE_CHECKING:
    from dw_agents.journal.rows import Found
    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["FlexRoute"]

log = logging.getLogger("dw_agents")

_SUBMISSIONS: Final = 64
_TIMEOUT: Final = 60.0
_TAKEN_OVER: Final = 1e-3
"""The age in seconds that a job is given which is taken over: it is looked at now. How old it really is, only clocks
of other processes know, and those may have been set since."""


class FlexRoute:
    """Submits background Responses and collects them.

    Args:
        shared: of the engine.
        max_polls_per_second: over all jobs of the engine.
    """

    def __init__(self, shared: Shared, *, max_polls_per_second: float) -> None:
        self._shared = shared
        self._poller = Poller(shared, finished=self._finished, lost=self._lost, rate=max_polls_per_second)
        self._submitter = Submitter(
            shared,
            limit=_SUBMISSIONS,
            timeout=_TIMEOUT,
            accept=self._accept,
            salvage=self._accepted,
            failed=self._not_accepted,
            dropped=self._dropped,
            yields=self._poller.is_late,
        )
        self._canceller = Canceller(shared)
        self._recall = Recall()
        self._resubmits: dict[Ticket, int] = {}
        self._guests: set[Ticket] = set()
        """Who waits for a job of another living process."""

    def start(self, ticket: Ticket, found: Found | None = None) -> None:
        """Submit a step, or take over a job that was accepted for an equal one."""
        step = ticket.step
        ticket.replayed = found is not None and not found.ours
        if found is not None and found.response_id is not None:
            self._take_over(ticket, found, found.response_id)
            return
        parked = self._recall.take(ticket)
        if parked is not None:
            self._shared.tally.count("reattached")
            self._accepted(ticket, parked)
            return
        spent = self._recall.spent(ticket, self._shared.clock())
        if isinstance(spent, SubmissionUnknown) and step.on_unknown != "resend":
            self._shared.fail(ticket, SubmissionUnknown(str(spent), ticket=ticket), goes_on=True)
            return
        if found is not None and not self._may_send_again(ticket):
            return
        if spent is not None:
            # Asked again by a retry around the engine: one more try, not another round of them.
            self._resubmits[ticket] = self._shared.retries.resubmits
        self._submitter.push(ticket, uncertain=found is not None)

    def abandon(self, ticket: Ticket) -> None:
        """Forget a step, and cancel it at the service once it has been accepted."""
        if not self._shared.forget(ticket):
            return
        self._resubmits.pop(ticket, None)
        if ticket.accepted_at is not None:
            self._poller.drop(ticket)
            self._unwanted(ticket)
        elif not self._submitter.is_sending(ticket):
            self._dropped(ticket)

    def idle(self) -> bool:
        """Whether no submission or cancellation is under way."""
        return self._submitter.idle() and self._canceller.idle()

    def _take_over(self, ticket: Ticket, found: Found, response_id: str) -> None:
        """Wait for a job that an earlier process, or another one, submitted."""
        if found.ours:
            self._shared.tally.count("reattached")
        elif not found.replayed:
            self._guests.add(ticket)
        self._watch(ticket, response_id, age=_TAKEN_OVER)

    def _may_send_again(self, ticket: Ticket) -> bool:
        """Decide on a step that a process was sending when it died; ends the ticket where it must not be sent."""
        if (ticket.step.on_unknown or self._shared.on_unknown) == "resend":
            log.warning("%s may have been accepted when a process died; it is sent and may be paid twice.", ticket)
            ticket.possible_duplicates += 1
            self._shared.tally.count("possible_duplicates")
            return True
        error = SubmissionUnknown(
            f"{ticket} was being sent when a process died; the service may have accepted it and will then bill it. To "
            'send it again knowingly, ask it with on_unknown="resend"; if you know its id, `dw-agents jobs adopt` '
            "takes it over.",
            ticket=ticket,
        )
        self._shared.fail(ticket, error, goes_on=True)
        return False

    def _dropped(self, ticket: Ticket) -> None:
        """Note that a step whose caller left will not be sent any more."""
        if ticket.possible_duplicates:
            self._shared.book.released(ticket)
        else:
            self._shared.book.cancelled(ticket)

    def _unwanted(self, ticket: Ticket) -> None:
        """Stop an accepted job, unless it is another's or is kept for later."""
        if ticket.replayed:
            self._guests.discard(ticket)
        elif ticket.interrupted and ticket.row is not None:
            self._shared.book.released(ticket)
        else:
            self._canceller.cancel(ticket)

    def _not_accepted(self, ticket: Ticket, error: StepError) -> None:
        self._resubmits.pop(ticket, None)
        unknown = isinstance(error, SubmissionUnknown)
        if unknown:
            self._recall.spend(ticket, error, self._shared.clock())
        self._shared.fail(ticket, error, goes_on=unknown)

    def _accept(self, ticket: Ticket, body: bytes) -> bool:
        job = read_job(body)
        if job is None:
            return False
        self._accepted(ticket, job.id)
        if job.status not in UNFINISHED and not ticket.done():
            self._poller.drop(ticket)
            self._finished(ticket, job, body)
        return True

    def _accepted(self, ticket: Ticket, response_id: str) -> None:
        self._shared.book.accepted(ticket, response_id)
        self._watch(ticket, response_id)

    def _watch(self, ticket: Ticket, response_id: str, *, age: float = 0.0) -> None:
        ticket.response_id = response_id
        ticket.accepted_at = self._shared.clock()
        if ticket not in self._shared.open:
            self._unwanted(ticket)
            return
        ticket.progress("queued")
        self._poller.add(ticket, age=age)

    def _finished(self, ticket: Ticket, job: Job, text: bytes) -> None:
        if job.status == "failed":
            self._failed(ticket, job)
            return
        self._resubmits.pop(ticket, None)
        self._guests.discard(ticket)
        if job.status == "cancelled":
            self._shared.fail(
                ticket, StepCancelled(f"{ticket} was cancelled at the service.", ticket=ticket), "cancelled"
            )
            return
        answer = read_answer(ticket, text)
        if answer is None:
            self._shared.fail(ticket, MalformedAnswer(f"{ticket} finished without a readable answer.", ticket=ticket))
        else:
            self._shared.answer(ticket, *answer)

    def _failed(self, ticket: Ticket, job: Job) -> None:
        if ticket in self._guests:
            # Whose it is submits it again, or gives it up, and the journal knows.
            self._guests.discard(ticket)
            ticket.response_id = ticket.accepted_at = None
            self._shared.ask(ticket)
            return
        error, status = job_error(job, ticket)
        tried = self._resubmits.get(ticket, 0)
        passing = judge_failed_job(status) is Verdict.RETRY
        if passing and tried < self._shared.retries.limited(ticket.step.max_retries).resubmits:
            self._resubmits[ticket] = tried + 1
            self._shared.tally.count("resubmitted")
            ticket.response_id = ticket.accepted_at = None
            ticket.progress("waiting")
            self._submitter.push(ticket, resubmitted=True)
            return
        self._resubmits.pop(ticket, None)
        if passing:
            self._recall.spend(ticket, error, self._shared.clock())
        self._shared.fail(ticket, error)

    def _lost(self, ticket: Ticket, error: StepError) -> None:
        """End a step whose job could not be read; the job itself goes on and is kept for who asks again."""
        goes_on = not isinstance(error, StepLost)
        if ticket.response_id is not None and goes_on and not self._shared.book.kept:
            self._recall.park(ticket, ticket.response_id)
        self._resubmits.pop(ticket, None)
        self._guests.discard(ticket)
        self._shared.fail(ticket, error, goes_on=goes_on)
