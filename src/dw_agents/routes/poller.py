"""Asks for the state of accepted jobs.

Owns: the polls under way, their allowance, and what follows from each outcome of a GET. Must not know what a finished
job leads to: that is the route's, handed in.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from dw_agents.errors import MalformedAnswer, ServiceUnreachable, StepError, StepLost
from dw_agents.routes.reader import VISIBLE_WITHIN
from dw_agents.schedule.pace import Pace
from dw_agents.schedule.polling import PollSchedule
from dw_agents.schedule.retries import Verdict, judge_read, retry_after
from dw_agents.wire.http import NotSent, Reply, WireError
from dw_agents.wire.responses import UNFINISHED, Job, read_job, reply_error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["Poller"]

_LIMIT: Final = 128
_TIMEOUT: Final = 60.0
_LATE: Final = 0.1
"""Seconds that a look may be overdue before submissions make room."""
_FAILURES_IN_A_ROW: Final = 3
"""Polls that failed one after the other, of whatever jobs, that make all the others wait too."""
_UNREADABLE: Final = 5
"""Replies in a row that are no Response, before the answer is called malformed."""


class _Trouble:
    __slots__ = ("since", "tries", "unreadable")

    def __init__(self, since: float) -> None:
        self.since = since
        self.tries = 0
        self.unreadable = 0


class Poller:
    """Polls the jobs of one route.

    Args:
        shared: of the engine.
        finished: called with the ticket, what was read, and the whole text of a job in a final state.
        lost: called with the ticket and the reason, when a job that was accepted can not be read.
        rate: the most polls a second.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        finished: Callable[[Ticket, Job, bytes], None],
        lost: Callable[[Ticket, StepError], None],
        rate: float,
    ) -> None:
        self._shared = shared
        self._finished = finished
        self._lost = lost
        self._schedule = PollSchedule(rate)
        self._pace = Pace(_LIMIT)
        self._trouble: dict[Ticket, _Trouble] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._last_success = 0.0
        self._failures_in_a_row = 0

    def add(self, ticket: Ticket, *, age: float = 0.0) -> None:
        """Watch an accepted job until it ends or is dropped.

        Args:
            ticket: of the job.
            age: seconds since it was accepted, of one that is not new; it is looked at now.
        """
        step = ticket.step
        self._schedule.add(ticket, (step.model, step.service_tier), self._shared.clock(), age=age)
        self._pump()

    def drop(self, ticket: Ticket) -> None:
        """Stop watching a job."""
        self._trouble.pop(ticket, None)
        if ticket in self._schedule:
            self._schedule.discard(ticket, self._shared.clock())
            self._pump()

    def is_late(self) -> bool:
        """Whether looks are overdue: this thread or the service is busy, and finished jobs come before new ones."""
        now = self._shared.clock()
        at = self._schedule.next_at(now)
        return at is not None and at < now - _LATE

    def _pump(self) -> None:
        now = self._shared.clock()
        wait = self._pace.opens_in(now)
        while wait == 0.0:
            due = self._schedule.due(now, 1)
            if not due:
                break
            ticket: Ticket = due[0]  # type: ignore[assignment]
            self._shared.spawn(self._look(ticket, self._pace.begin()))
            wait = self._pace.opens_in(now)
        if wait is not None:
            at = self._schedule.next_at(now)
            if at is not None:
                self._wake(max(at, now + wait))

    def _wake(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._shared.loop.call_later(max(0.0, at - self._shared.clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()

    async def _look(self, ticket: Ticket, epoch: int) -> None:
        shared = self._shared
        ticket.polls += 1
        shared.tally.request("poll")
        pushed_back, wait = False, None
        try:
            with shared.guarded(ticket):
                pushed_back, wait = await self._attempt(ticket)
        finally:
            if ticket.done():
                self.drop(ticket)
            self._pace.end(epoch, shared.clock(), pushed_back=pushed_back, wait=wait)
            self._pump()

    async def _attempt(self, ticket: Ticket) -> tuple[bool, float | None]:
        """Ask once and act on what comes; returns whether that is push-back and for how long."""
        try:
            reply = await self._shared.connection.request("GET", f"/responses/{ticket.response_id}", timeout=_TIMEOUT)
        except WireError as error:
            self._failed(ticket, error)
            return isinstance(error, NotSent) or self._failures_in_a_row >= _FAILURES_IN_A_ROW, None
        return (False, None) if ticket.done() else self._judge(ticket, reply)

    def _judge(self, ticket: Ticket, reply: Reply) -> tuple[bool, float | None]:
        """Act on a reply; returns whether it pushed back and for how long."""
        now = self._shared.clock()
        verdict = judge_read(reply.status)
        if verdict is Verdict.ACCEPTED:
            self._read(ticket, reply, now)
            return False, None
        error = reply_error(reply.status, reply.body, doing="polling", ticket=ticket)
        accepted_at = ticket.accepted_at if ticket.accepted_at is not None else now
        if reply.status == 404 and now - accepted_at < VISIBLE_WITHIN:
            self._schedule.again(ticket, now + min(2.0, 0.1 + (now - accepted_at) / 4))
            return False, None
        if reply.status in {404, 410}:
            self._end(ticket, StepLost(f"{error} It was accepted, and now it cannot be found.", ticket=ticket))
            return False, None
        if verdict is Verdict.FATAL:
            self._end(ticket, error)
            return False, None
        self._failed(ticket, error)
        slow_down = verdict is Verdict.SLOW_DOWN or self._failures_in_a_row >= _FAILURES_IN_A_ROW
        return slow_down, retry_after(reply.headers, time.time())

    def _read(self, ticket: Ticket, reply: Reply, now: float) -> None:
        job = read_job(reply.body)
        if job is None:
            self._unreadable(ticket, reply, now)
            return
        self._last_success = now
        self._failures_in_a_row = 0
        self._trouble.pop(ticket, None)
        if job.status in UNFINISHED:
            ticket.progress("in_progress" if job.status == "in_progress" else "queued")
            self._schedule.unfinished(ticket, now)
            return
        self._schedule.finished(ticket, now, took=job.took)
        self._finished(ticket, job, reply.body)

    def _unreadable(self, ticket: Ticket, reply: Reply, now: float) -> None:
        trouble = self._trouble.setdefault(ticket, _Trouble(now))
        trouble.unreadable += 1
        if trouble.unreadable >= _UNREADABLE:
            self._end(
                ticket,
                MalformedAnswer(
                    f"{ticket}: the service's text is no Response, {trouble.unreadable} times in a row: "
                    f"{reply.text[:200]!r}. The job is kept: ask the same step again to read it again.",
                    ticket=ticket,
                ),
            )
            return
        self._schedule.again(ticket, now + self._shared.retries.pause(trouble.unreadable))

    def _failed(self, ticket: Ticket, error: WireError | StepError) -> None:
        """Look again later: a read may be repeated, and the job goes on meanwhile."""
        now = self._shared.clock()
        self._failures_in_a_row += 1
        if ticket.done():
            return
        trouble = self._trouble.setdefault(ticket, _Trouble(now))
        trouble.tries += 1
        if now - max(trouble.since, self._last_success) < self._shared.retries.patience:
            self._schedule.again(ticket, now + self._shared.retries.pause(trouble.tries))
            return
        if isinstance(error, WireError):
            kind = "could not be reached" if isinstance(error, NotSent) else "gave no reply"
            error = ServiceUnreachable(
                f"{ticket}: the service {kind} for {now - trouble.since:.0f} s ({error}). "
                "The job goes on there: ask the same step again to collect it.",
                ticket=ticket,
            )
        self._end(ticket, error)

    def _end(self, ticket: Ticket, error: StepError) -> None:
        self.drop(ticket)
        self._lost(ticket, error)
