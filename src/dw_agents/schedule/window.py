"""When a batch closes: which steps travel together, and how long the first waits for the last.

Owns: ``Window``, the state of one batch that is being collected. Must not read a clock, sleep or do I/O.

A batch is worth waiting for only as long as somebody may still join it. Agents come in cohorts: a batch's answers wake
their callers, each thinks for a moment and asks its next step. So the window knows how many callers were just answered
and have not come back. When all of them have, and no other batch is out whose answers might bring more, the batch
closes at once. When some do not come back (they finished), or when nothing is known yet, a quiet moment closes it.
A step never waits longer than the longest wait, and a batch never grows beyond its limits.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "Window"]

_CROWD = 10
"""Steps from which a batch waits twice the quiet moment: a burst on a busy machine has longer gaps than its end."""
_COMES_BACK_WITHIN = 5.0
"""Seconds after an answer within which the next step is taken for its caller's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a batch.

    Attributes:
        lines: the most steps in one file. Default: the API's 50,000.
        bytes: the most bytes in one file. Default: the API's 200 MB.
        quiet: seconds without a newcomer after which a batch closes; a batch of ten and more waits twice as long.
        longest: seconds after which it closes in any case.
    """

    lines: int = 50_000
    bytes: int = 200_000_000
    quiet: float = 0.25
    longest: float = 10.0


class Window:
    """Decides when the steps that have been collected so far are sent.

    Args:
        limits: what bounds a batch.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.lines = 0
        self.bytes = 0
        self._first = 0.0
        self._last = 0.0
        self._cohort = 0
        self._answered_at = 0.0

    def fits(self, size: int) -> bool:
        """Whether a line of ``size`` bytes still goes into this batch."""
        return self.lines < self.limits.lines and self.bytes + size <= self.limits.bytes

    def joined(self, size: int, now: float) -> None:
        """Count a step that was added."""
        if not self.lines:
            self._first = now
        self.lines += 1
        self.bytes += size
        self._last = now

    def left(self, size: int) -> None:
        """Count a step whose caller went away before the batch was sent."""
        self.lines -= 1
        self.bytes -= size

    def answered(self, callers: int, now: float) -> None:
        """Count callers who were just answered and may come back with their next step."""
        self._cohort += callers
        self._answered_at = now

    def closed(self) -> None:
        """Begin the next batch: what was collected has been sent."""
        self.lines = self.bytes = self._cohort = 0

    def closes_at(self, out: int) -> float | None:
        """Return when the batch is to be sent, a time in the past for at once; None while it is empty.

        Args:
            out: how many steps of the same kind are at the service, whose answers may bring more.
        """
        if not self.lines:
            return None
        full = self.lines >= self.limits.lines or self.bytes >= self.limits.bytes
        all_back = 0 < self._cohort <= self.lines and self._first - self._answered_at < _COMES_BACK_WITHIN
        if full or (all_back and not out):
            return self._last
        quiet = self.limits.quiet * (2 if self.lines >= _CROWD else 1)
        return min(self._last + quiet, self._first + self.limits.longest)
