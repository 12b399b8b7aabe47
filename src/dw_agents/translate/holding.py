"""A flex chat call that holds a connection: what each outcome of its requests leads to.

Owns: the retries that are safe, the caller's time limit and the reply that is made of the answer. Pure but for the
monotonic clock: whoever has the connection sends ``content``, says here what came of it, and does what it is told.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from dw_agents.errors import (
    DeadlineExceeded,
    InvalidStep,
    MalformedAnswer,
    ServiceError,
    ServiceUnreachable,
    StepCancelled,
    StepError,
    SubmissionUnknown,
)
from dw_agents.schedule.retries import Retries, Verdict, judge_failed_job, judge_submission, retry_after
from dw_agents.ticket import Answer, Ticket
from dw_agents.translate.held import HeldAnswer, held_body, stored_answer
from dw_agents.wire.responses import reply_error, service_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.translate.call import Hold

__all__ = ["Holding"]

_SILENCE: Final = 90.0
"""Seconds without a byte after which the connection counts as lost; the service sends a comment every 15."""
_TIMED_OUT: Final = 504
"""The service's own limit on such calls passed; the job lives on, so that another must not be submitted."""


class Holding:
    """One call. Methods that return seconds mean: send it again after these.

    Args:
        hold: the decision.
        retries: how to retry; default: as an engine does.

    Attributes:
        ticket: of the call, for errors and headers; no engine knows it.
        content: what is posted to ``/chat/completions``.

    Raises:
        InvalidStep: the body is no JSON.
    """

    def __init__(self, hold: Hold, *, retries: Retries | None = None) -> None:
        self._hold = hold
        self.ticket = Ticket(hold.step, submitted_at=time.monotonic())
        self._retries = (retries or Retries()).limited(hold.step.max_retries)
        self._resend = (hold.step.on_unknown or "resend") == "resend" and hold.step.max_retries != 0
        self._resubmits = 0
        self._reader = HeldAnswer()
        try:
            self.content = held_body(hold.step.body)
        except (TypeError, ValueError) as error:
            raise InvalidStep(f"body cannot be written as JSON: {error}.", field="body") from error

    @property
    def answer_path(self) -> str:
        """Where the service keeps the answer whole, once ``ended`` has returned None."""
        return f"/responses/{self._reader.response_id}"

    def left(self) -> float | None:
        """Return the seconds until the caller's time limit; None where there is none.

        Raises:
            DeadlineExceeded: it has passed.
        """
        limit = self._hold.step.timeout
        left = None if limit is None else limit - (time.monotonic() - self.ticket.submitted_at)
        if left is not None and left <= 0:
            raise self.overdue()
        return left

    def overdue(self) -> DeadlineExceeded:
        """Return the error that says that the caller's time limit has passed."""
        return DeadlineExceeded(
            f"{self.ticket} had no answer within timeout={self._hold.step.timeout:g} s. It was sent in the blocking "
            "chat form, which the service goes on with and bills. Give more time, or use service_tier='priority'.",
            ticket=self.ticket,
        )

    def begins(self) -> float:
        """Note that the call is about to be sent; returns the seconds of silence to bear.

        Raises:
            DeadlineExceeded: the caller's time limit has passed.
        """
        left = self.left()
        self._reader = HeldAnswer()
        self.ticket.posts += 1
        self.ticket.progress("submitting")
        return _SILENCE if left is None else min(_SILENCE, left)

    def line(self, text: str) -> None:
        """Take one line of the stream.

        Raises:
            MalformedAnswer: it is no event.
            DeadlineExceeded: the caller's time limit has passed.
        """
        self.ticket.progress("queued")
        try:
            self._reader.line(text)
        except ValueError as error:
            raise MalformedAnswer(f"{self.ticket}: its stream cannot be read ({error}).", ticket=self.ticket) from error
        self.left()

    def ended(self) -> float | None:
        """Judge a stream that came to its end; None: the answer is there.

        Raises:
            StepError: the service says what went wrong, or nobody knows.
        """
        said = self._reader.error
        if said is not None:
            return self._job_failed(said)
        if not self._reader.done or self._reader.completion() is None:
            return self._unknown("the stream ended before the answer")
        self.ticket.response_id = self._reader.response_id
        return None

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """Judge a reply that is no stream.

        Raises:
            StepError: it stays refused.
        """
        error = reply_error(status, body, doing="submitting", ticket=self.ticket)
        verdict = judge_submission(status, body)
        if verdict is Verdict.UNKNOWN:
            return self._unknown(str(error))
        if verdict is Verdict.FATAL:
            raise error
        return self._later(error, retry_after(headers, time.time()))

    def not_connected(self, why: str) -> float:
        """Judge that no connection could be made.

        Raises:
            StepError: it was tried often enough.
        """
        self.left()
        said = f"{self.ticket}: no connection could be made ({why}); the service has accepted nothing."
        return self._later(ServiceUnreachable(said, ticket=self.ticket), None)

    def broken(self, why: str) -> float:
        """Judge a connection that broke after the call was sent.

        Raises:
            StepError: it may not be sent again.
        """
        self.left()
        return self._unknown(why)

    def client_closed(self, *, sent: bool) -> StepError:
        """Say what it means that the caller closed what sends.

        Args:
            sent: whether the call had left.
        """
        self.ticket.possible_duplicates += sent
        if self.ticket.possible_duplicates:
            said = f"{self.ticket}: its client was closed before the answer came. The service goes on and bills it."
            return SubmissionUnknown(said, ticket=self.ticket)
        return StepCancelled(f"{self.ticket}: its client was closed before it was accepted.", ticket=self.ticket)

    def finish(self, stored: bytes | None) -> tuple[str, bytes]:
        """Return the content type and the content of the reply.

        Args:
            stored: what stands at ``answer_path``; None where that could not be read.

        Raises:
            MalformedAnswer: the answer does not have the shape that the API promises.
        """
        completion = (stored_answer(stored) if stored is not None else None) or self._reader.completion() or {}
        try:
            kind, content = self._hold.shape.write(completion)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise MalformedAnswer(
                f"{self.ticket} finished, but its answer cannot be read ({type(error).__name__}: {error}).",
                ticket=self.ticket,
            ) from error
        self.ticket.settle(answer=Answer(content, self.ticket), state="completed")
        return kind, content

    def failed(self, error: BaseException) -> None:
        """Note how the call ended."""
        went_wrong = isinstance(error, ServiceError | MalformedAnswer)
        self.ticket.settle(error=error, state="failed" if went_wrong else "cancelled")

    def _job_failed(self, said: Mapping[str, object]) -> float:
        code = said.get("code")
        status = code if isinstance(code, int) else None
        if (
            status != _TIMED_OUT
            and judge_failed_job(status) is Verdict.RETRY
            and self._resubmits < self._retries.resubmits
        ):
            self._resubmits += 1
            return self._retries.pause(self._resubmits)
        message, kind = str(said.get("message") or "no reason given"), said.get("type")
        raise service_error(
            status, message, doing="the job", code=None if kind is None else str(kind), ticket=self.ticket
        )

    def _later(self, error: StepError, wait: float | None) -> float:
        """Return the pause after a submission that surely was not accepted."""
        delay = self._retries.delay(self.ticket.posts, time.monotonic() - self.ticket.submitted_at, error)
        if delay is None:
            raise error
        pause = max(delay, wait or 0.0)
        left = self.left()
        return pause if left is None else min(pause, left)

    def _unknown(self, what: str) -> float:
        """Resolve a submission that may have been accepted."""
        self.ticket.possible_duplicates += 1
        if self._resend and self.ticket.possible_duplicates == 1:
            return self._retries.pause(1)
        raise SubmissionUnknown(
            f"{self.ticket} was sent without a usable reply ({what}); the service may have accepted it and will then "
            'bill it. To send it again knowingly, ask it with on_unknown="resend".',
            ticket=self.ticket,
        )
