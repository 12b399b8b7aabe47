"""Sends submissions, each surely at most once or knowingly twice.

Owns: the queue of steps to be sent, its allowance, and what follows from each outcome of a POST. Must not know what an
accepted submission leads to: that is the route's, handed in as ``accept``.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from dw_agents.errors import StepError, StepNotRecorded, SubmissionUnknown
from dw_agents.routes.submission import Submission, not_reached
from dw_agents.schedule.pace import Pace
from dw_agents.schedule.retries import Verdict, judge_submission, retry_after
from dw_agents.wire.http import NotSent, Reply, ReplyLost
from dw_agents.wire.responses import reply_error, salvage_id

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["Submitter"]

log = logging.getLogger("dw_agents")

_SOON: Final = 0.001
"""Seconds that a retry within the budget waits at least; 0.0 stands for the head of the queue."""
_LONG_WAIT: Final = 10.0
"""Seconds that a service may ask to wait without the user being told."""
_FEW: Final = 16
"""Submissions that may be under way while more urgent requests are late."""
_UNKNOWN_IN_A_ROW: Final = 3
"""Lost replies one after the other that count as push-back; a single one is bad luck."""


class Submitter:
    """Sends the POSTs of one route.

    Args:
        shared: of the engine.
        limit: the most POSTs under way at a time.
        timeout: seconds to wait for a reply.
        accept: called with the ticket and the body of a 2xx reply; says whether it could be read. The ticket may
            have ended in the meantime.
        salvage: called with the ticket and the id found in a 2xx reply that broke off, where the id is enough.
        failed: called with the ticket and the error of a submission that is given up.
        dropped: called with a ticket whose caller left while it was sent, when it was not accepted.
        yields: says whether other requests are late, so that only a few submissions may be under way.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        limit: int,
        timeout: float,
        accept: Callable[[Ticket, bytes], bool],
        failed: Callable[[Ticket, StepError], None],
        dropped: Callable[[Ticket], None] | None = None,
        salvage: Callable[[Ticket, str], None] | None = None,
        yields: Callable[[], bool] | None = None,
    ) -> None:
        self._shared = shared
        self._failed = failed
        self._dropped = dropped
        self._pace = Pace(limit)
        self._timeout = timeout
        self._accept = accept
        self._salvage = salvage
        self._yields = yields
        self._queue: deque[Submission] = deque()
        self._sending: dict[Ticket, Submission] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unreachable = 0
        self._unreachable_since = 0.0
        self._unknown_in_a_row = 0
        self._last_success = 0.0

    def push(self, ticket: Ticket, *, resubmitted: bool = False, uncertain: bool = False) -> None:
        """Queue a step.

        Args:
            ticket: of the step.
            resubmitted: makes it a retry in the engine's budget.
            uncertain: whether an earlier submission may have been accepted.
        """
        submission = Submission(ticket, self._shared.retries.limited(ticket.step.max_retries), uncertain=uncertain)
        if resubmitted:
            self._later(submission, submission.retries.pause(1))
            return
        self._shared.budget.requested()
        self._queue.append(submission)
        self._pump()

    def abort(self, ticket: Ticket) -> None:
        """Break off a submission that is under way, for routes where a closed connection ends the work."""
        submission = self._sending.get(ticket)
        if submission is not None and submission.task is not None:
            submission.task.cancel()

    def is_sending(self, ticket: Ticket) -> bool:
        """Whether a submission is under way, so that its outcome is not known."""
        return ticket in self._sending

    def idle(self) -> bool:
        """Whether nothing is queued, under way or waiting for its retry, except for callers who left."""
        return not self._sending and not any(not s.ticket.done() for s in self._queue)

    def _pump(self) -> None:
        shared = self._shared
        while self._queue:
            if self._queue[0].ticket.done():
                self._queue.popleft()
                continue
            wait = self._pace.opens_in(shared.clock())
            if wait is None or (self._pace.under_way >= _FEW and self._yields is not None and self._yields()):
                return  # the next reply brings us back here
            if wait > 0.0:
                if self._timer is None:
                    self._timer = shared.loop.call_later(wait, self._on_timer)
                return
            submission = self._queue.popleft()
            submission.released = False
            self._sending[submission.ticket] = submission
            submission.task = shared.spawn(self._send(submission, epoch := self._pace.begin()))
            # Not in a `finally` of the task: one that is cancelled before its first step would never get there.
            submission.task.add_done_callback(partial(self._sent, submission, epoch))

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()

    async def _send(self, submission: Submission, epoch: int) -> None:
        ticket = submission.ticket
        body = ticket.body
        if ticket.done():
            return  # its caller left since it was taken from the queue, and took the body along
        if ticket.row is not None and not await self._recorded(submission):
            return
        ticket.progress("submitting")
        ticket.posts += 1
        submission.tries += 1
        if submission.first_at is None:
            submission.first_at = self._shared.clock()
        self._shared.tally.request("submit")
        with self._shared.guarded(ticket):
            pushed_back, wait = await self._attempt(submission, body, epoch)
            # At once, so that the next failure of the same burst is no news any more.
            self._release(submission, epoch, pushed_back=pushed_back, wait=wait)

    async def _recorded(self, submission: Submission) -> bool:
        """Wait until the journal has it that the step is being sent; returns whether it is to be sent."""
        ticket = submission.ticket
        try:
            await self._shared.book.sending(ticket, again=submission.uncertain and not submission.recorded)
            submission.recorded = submission.uncertain
        except StepNotRecorded as error:
            self._failed(ticket, error)
        return not ticket.done()

    def _release(
        self, submission: Submission, epoch: int, *, pushed_back: bool = False, wait: float | None = None
    ) -> None:
        if not submission.released:
            submission.released = True
            self._pace.end(epoch, self._shared.clock(), pushed_back=pushed_back, wait=wait)

    def _sent(self, submission: Submission, epoch: int, task: asyncio.Task[None]) -> None:
        self._release(submission, epoch)
        if self._sending.get(submission.ticket) is submission:
            del self._sending[submission.ticket]
        if submission.ticket.done() and submission.ticket.accepted_at is None and self._dropped is not None:
            # Broken off under way, when the engine closes: what became of it will never be known.
            submission.ticket.possible_duplicates += task.cancelled() and submission.tries > 0
            self._dropped(submission.ticket)
        after, submission.resend_after = submission.resend_after, None
        if after == 0.0:
            self._queue.appendleft(submission)
        elif after is not None:
            self._later(submission, after)
        self._pump()

    async def _attempt(self, submission: Submission, body: bytes, epoch: int) -> tuple[bool, float | None]:
        """Send a step once and act on what comes; returns whether that is push-back and for how long."""
        ticket = submission.ticket
        try:
            reply = await self._shared.connection.request("POST", ticket.step.endpoint, body, timeout=self._timeout)
        except NotSent as error:
            return True, self._not_sent(submission, error, news=epoch == self._pace.epoch)
        except ReplyLost as error:
            found = salvage_id(error.partial) if error.status is not None and error.status < 300 else None
            if found is None or self._salvage is None:
                return self._unknown(submission, str(error)), None
            self._salvage(ticket, found)
            return False, None
        return self._judge(submission, reply)

    def _judge(self, submission: Submission, reply: Reply) -> tuple[bool, float | None]:
        """Act on a reply; returns whether it pushed back and for how long."""
        ticket = submission.ticket
        verdict = judge_submission(reply.status, reply.body)
        if verdict is Verdict.ACCEPTED:
            if self._accept(ticket, reply.body):
                self._succeeded()
                return False, None
            return self._unknown(submission, f"the reply ({reply.status}) cannot be read"), None
        error = reply_error(reply.status, reply.body, doing="submitting", ticket=ticket)
        if verdict is Verdict.UNKNOWN:
            return self._unknown(submission, str(error)), None
        self._unreachable = self._unknown_in_a_row = 0
        if verdict is Verdict.FATAL:
            self._give_up(submission, error)
            return False, None
        if verdict is Verdict.RETRY:
            self._not_accepted(submission)
            delay = submission.retries.delay(submission.tries, self._elapsed(submission), error)
            if delay is None:
                self._give_up(submission, error)
            else:
                self._shared.tally.count("retries")
                submission.resend_after = max(delay, _SOON)
            return False, None
        self._pushed_back(submission, error)
        wait = retry_after(reply.headers, time.time())
        if wait is not None and wait >= _LONG_WAIT:
            log.warning("The service asks to wait %.0f s before the next submission (%s).", wait, error)
        return True, wait

    def _succeeded(self) -> None:
        self._last_success = self._shared.clock()
        self._unreachable = self._unknown_in_a_row = 0
        self._shared.budget.succeeded()

    def _pushed_back(self, submission: Submission, error: StepError) -> None:
        """Put a refused step back at the head of the queue, unless the service refuses for too long."""
        self._not_accepted(submission)
        now = self._shared.clock()
        if submission.pushed_back_at is None:
            submission.pushed_back_at = now
        since = max(submission.pushed_back_at, self._last_success)
        if now - since >= submission.retries.patience:
            self._give_up(submission, error)
            return
        log.info("%s It waits and is sent again.", error)
        self._shared.tally.count("retries")
        submission.resend_after = 0.0

    def _not_sent(self, submission: Submission, error: NotSent, *, news: bool) -> float:
        """Put a step that did not leave back at the head of the queue; returns how long everyone waits.

        Args:
            submission: the step.
            error: what happened.
            news: whether it left after the last pause; a burst of failures is one failure of the service.
        """
        shared = self._shared
        self._not_accepted(submission)
        now = shared.clock()
        if not self._unreachable:
            self._unreachable_since = now
        self._unreachable = max(1, self._unreachable + news)
        delay = shared.retries.delay(self._unreachable, now - self._unreachable_since, error)
        if delay is None:
            # What one step found out in so many tries need not be found out again by each that waits behind it.
            waiting, self._queue = [submission, *self._queue], deque()
            tries, self._unreachable = self._unreachable, 0
            for each in waiting:
                self._give_up(each, not_reached(each.ticket, error, tries))
            return 0.0
        if news and self._unreachable == 1:
            # Said once: a user who waits must know why.
            log.warning("%s; trying again", error)
        own = submission.ticket.step.max_retries is not None
        if own and submission.retries.delay(submission.tries, self._elapsed(submission), error) is None:
            self._give_up(submission, not_reached(submission.ticket, error, submission.tries))
        else:
            shared.tally.count("retries")
            submission.resend_after = 0.0
        return delay

    def _give_up(self, submission: Submission, error: StepError) -> None:
        """End a step; one whose first submission got no reply is unknown, however the second ended."""
        ticket = submission.ticket
        if submission.resends:
            text = f"{ticket}: its first submission got no reply and may have been accepted and billed; then: {error}"
            self._failed(ticket, SubmissionUnknown(text, ticket=ticket))
        else:
            self._failed(ticket, error)

    def _not_accepted(self, submission: Submission) -> None:
        """Note that this submission surely came to nothing."""
        if not submission.uncertain:
            self._shared.book.unsent(submission.ticket)

    def _elapsed(self, submission: Submission) -> float:
        now = self._shared.clock()
        return now - (submission.first_at if submission.first_at is not None else now)

    def _unknown(self, submission: Submission, what: str) -> bool:
        """Resolve a submission that may have been accepted; returns whether it counts as push-back."""
        shared, ticket = self._shared, submission.ticket
        ticket.possible_duplicates += 1
        submission.uncertain, submission.recorded = True, False
        self._unknown_in_a_row += 1
        resend = (ticket.step.on_unknown or shared.on_unknown) == "resend" and submission.retries.patience > 0
        if ticket.done():
            log.warning("%s was cancelled, but its submission got no reply: it may run unseen.", ticket)
        elif resend and not submission.resends:
            submission.resends += 1
            log.warning("%s got no usable reply (%s); it is sent once more and may be paid twice.", ticket, what)
            shared.tally.count("possible_duplicates")
            submission.resend_after = max(submission.retries.pause(1), _SOON)
        else:
            sent = "twice" if submission.resends else "once"
            self._failed(
                ticket,
                SubmissionUnknown(
                    f"{ticket} was sent {sent} without a usable reply ({what}); the service may have accepted it and "
                    'will then bill it. To send it again knowingly, ask it with on_unknown="resend".',
                    ticket=ticket,
                ),
            )
        return self._unknown_in_a_row >= _UNKNOWN_IN_A_ROW

    def _later(self, submission: Submission, delay: float) -> None:
        self._shared.loop.call_later(delay, self._requeue, submission)

    def _requeue(self, submission: Submission) -> None:
        if submission.ticket.done():
            return
        wait = self._shared.budget.spend(self._shared.clock())
        if wait > 0.0:
            log.info("%s waits %.1f s for the retry budget.", submission.ticket, wait)
            self._later(submission, wait)
            return
        self._queue.appendleft(submission)
        self._pump()
