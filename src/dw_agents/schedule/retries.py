"""Whether and when to try again: pure decisions, expressed in tenacity's strategies.

Owns: what an outcome of a request means (``Verdict``), how long to wait before the next try (``Retries``), and how
many retries an engine may make in all (``RetryBudget``). Must not sleep, read a clock or do I/O: times come in as
arguments, so that tests drive it.

The rule behind ``judge``: a read may be repeated whenever it failed for a passing cause; a submission only where
the request surely was not accepted, because the API has no idempotency key and an accepted step is money spent.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import tenacity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

__all__ = [
    "Retries",
    "RetryBudget",
    "Verdict",
    "judge_failed_job",
    "judge_read",
    "judge_submission",
    "retry_after",
]

_PASSING: Final = frozenset({408, 409, 425, 429})
_STORED_NOTHING: Final = ("failed to enqueue request",)
_SERVER_ERROR: Final = 500
_MAX_RETRY_AFTER: Final = 3600.0


class Verdict(enum.Enum):
    """What the outcome of one request means for the step."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    """Surely not accepted (or a read): the same request may be sent again."""
    SLOW_DOWN = "slow down"
    """Refused for the moment (429, 503): to be sent again later, and everything else of the kind waits too."""
    UNKNOWN = "unknown"
    """Sent, and perhaps accepted: sending it again may pay twice."""
    FATAL = "fatal"
    """Refused for a reason that stays."""


def judge_submission(status: int, body: bytes = b"") -> Verdict:
    """Say what the HTTP status of a submission means.

    429 and 503 are sent by the API's limiters before a step is stored; other 5xx and 408 may come from anything
    between the client and the store, so the step may exist, except where the text says that storing failed.
    """
    if status < 300:
        return Verdict.ACCEPTED
    if status in {429, 503}:
        return Verdict.SLOW_DOWN
    if status in {409, 425}:
        return Verdict.RETRY
    if status == 408 or status >= _SERVER_ERROR:
        said = body[:2000].lower()
        return Verdict.RETRY if any(text.encode() in said for text in _STORED_NOTHING) else Verdict.UNKNOWN
    return Verdict.FATAL


def judge_read(status: int) -> Verdict:
    """Say what the HTTP status of a read (a poll, a look-up, a cancel) means; 404 is for the caller to judge."""
    if status < 300:
        return Verdict.ACCEPTED
    if status in {429, 503}:
        return Verdict.SLOW_DOWN
    return Verdict.RETRY if status in _PASSING or status >= _SERVER_ERROR else Verdict.FATAL


def judge_failed_job(code: int | None) -> Verdict:
    """Say whether a job that the service accepted and then failed may succeed when it is submitted again.

    Args:
        code: ``error.code`` of the Response (an HTTP status); None for a network error inside the service.
    """
    if code is None:
        return Verdict.RETRY
    return Verdict.RETRY if code in _PASSING or code >= _SERVER_ERROR else Verdict.FATAL


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read how many seconds the server asks to wait, from ``Retry-After-Ms`` or ``Retry-After`` (RFC 9110).

    Args:
        headers: of the reply, with case-insensitive look-up.
        now: seconds since the epoch, for the HTTP-date form.

    Returns:
        Seconds, at least 0 and at most an hour; None where no usable header is there.
    """
    for name, unit in (("Retry-After-Ms", 0.001), ("Retry-After", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - now
            except (ValueError, OverflowError, TypeError):
                continue
        if seconds == seconds:  # noqa: PLR0124 - "nan" parses as a float
            return min(max(seconds, 0.0), _MAX_RETRY_AFTER)
    return None


@dataclass(frozen=True)
class Retries:
    """How the engine retries: tenacity's own strategies, so any of them may stand here.

    Attributes:
        wait: how long to wait before a retry. Default: exponential from half a second to 30 s, with jitter.
        stop: when a submission that surely was not accepted is given up. Default: after 8 tries.
        patience: seconds for which the service may push back (429, 503) or leave reads unanswered, without one
            success, before a step is given up. Default: an hour, the promise of the flex tier.
        resubmits: how often a job that failed for a passing cause is submitted again. Default: 2.
    """

    wait: WaitBaseT = field(
        default_factory=lambda: tenacity.wait_exponential(multiplier=0.5, max=30.0) + tenacity.wait_random(0, 0.5)
    )
    stop: StopBaseT = field(default_factory=lambda: tenacity.stop_after_attempt(8))
    patience: float = 3600.0
    resubmits: int = 2

    def delay(self, tries: int, elapsed: float, error: BaseException) -> float | None:
        """Return the seconds to wait before try ``tries + 1``, or None to give up.

        Args:
            tries: how many were made, at least 1.
            elapsed: seconds since the first.
            error: how the last one ended, for strategies that look at it.
        """
        state = _state(tries, elapsed, error)
        return None if self.stop(state) else self.pause(tries, error)

    def pause(self, tries: int, error: BaseException | None = None) -> float:
        """Return the seconds to wait before try ``tries + 1``, however many there were."""
        return max(0.0, float(self.wait(_state(tries, 0.0, error))))

    def limited(self, max_retries: int | None) -> Retries:
        """Return the same with a step's own ``max_retries`` in place of ``stop`` and as a bound on ``resubmits``."""
        if max_retries is None:
            return self
        return Retries(
            wait=self.wait,
            stop=tenacity.stop_after_attempt(max_retries + 1),
            patience=self.patience if max_retries else 0.0,
            resubmits=min(self.resubmits, max_retries),
        )


def _state(tries: int, elapsed: float, error: BaseException | None) -> tenacity.RetryCallState:
    no_fn: Any = None
    state = tenacity.RetryCallState(retry_object=_DESCRIBES_NOTHING, fn=no_fn, args=(), kwargs={})
    state.attempt_number = tries
    state.start_time, state.outcome_timestamp = 0.0, elapsed
    if error is not None:
        state.outcome = tenacity.Future(tries)
        state.outcome.set_exception(error)
    return state


_DESCRIBES_NOTHING: Final = tenacity.Retrying()


class RetryBudget:
    """How many retries one engine may send: a token bucket that keeps an outage from becoming a storm.

    Each first request adds a tenth of a retry, each success half of one, and half a minute one, so that a
    service that comes back is noticed even when nothing new is asked.

    Args:
        burst: how many retries may be made at once after a quiet time.
        share: retries added by each first request.
    """

    def __init__(self, burst: float = 100.0, share: float = 0.1, trickle: float = 1 / 30) -> None:
        self.tokens = self.burst = burst
        self._share = share
        self._trickle = trickle
        self._seen = 0.0

    def requested(self) -> None:
        """Count a first request."""
        self._add(self._share)

    def succeeded(self) -> None:
        """Count a success: the service is there, so retries may flow."""
        self._add(0.5)

    def spend(self, now: float) -> float:
        """Take one retry out. Returns 0.0 when it may go now, else the seconds until one may be there."""
        if self._seen:
            self._add((now - self._seen) * self._trickle)
        self._seen = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return min((1.0 - self.tokens) / self._trickle, 1.0 / self._trickle)

    def _add(self, tokens: float) -> None:
        self.tokens = min(self.burst, self.tokens + tokens)
