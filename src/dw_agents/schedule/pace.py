"""How many requests of one kind may be under way, and when the next may leave.

Owns: ``Pace``, the state that turns push-back (429, 503, refused connections) into waiting for everyone, instead
of into retries by everyone. Must not sleep, read a clock or do I/O.
"""

from __future__ import annotations

__all__ = ["Pace"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class Pace:
    """An allowance of concurrent requests that shrinks on push-back and grows with success.

    A request asks ``opens_in``; when that is 0.0 it calls ``begin``, and ``end`` when its reply is there. After a
    refusal nothing leaves until the pause is over; then as many go out as the server took before it refused, and the
    allowance grows slowly from there (by one a round, as TCP's does), quickly where the server took nothing at all:
    it was away. Replies to requests that left before the last pause do not shorten the allowance a second time: a
    burst of refusals is one piece of news.

    Args:
        limit: the most that may ever be under way.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.under_way = 0
        self._allowance = float(limit)
        self._enough = float(limit)
        """The allowance from which it grows slowly."""
        self._closed_until = 0.0
        self.epoch = 0
        """How often it has paused: a request that began in an earlier epoch brings no news."""
        self._taken = 0
        self._refusals = 0

    def opens_in(self, now: float) -> float | None:
        """Return 0.0 if a request may leave now, the seconds until then, or None: when one under way ends."""
        if now < self._closed_until:
            return self._closed_until - now
        return 0.0 if self.under_way < min(self.limit, max(1, int(self._allowance))) else None

    def begin(self) -> int:
        """Count a request as under way; returns the epoch to hand back to ``end``."""
        self.under_way += 1
        return self.epoch

    def end(self, epoch: int, now: float, *, pushed_back: bool = False, wait: float | None = None) -> None:
        """Count a request as over.

        Args:
            epoch: what ``begin`` returned.
            now: the time.
            pushed_back: whether the server refused it for the moment, or could not be reached.
            wait: how many seconds the server asked for; default: doubling from 0.5 s to 30 s.
        """
        self.under_way -= 1
        if not pushed_back:
            self._taken += 1
            self._refusals = 0
            growth = 1.0 if self._allowance < self._enough else 1.0 / self._allowance
            self._allowance = min(float(self.limit), self._allowance + growth)
            return
        if epoch == self.epoch:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self._refusals) if wait is None else wait
            self._closed_until = max(self._closed_until, now + pause)
            self._allowance = max(1.0, min(self._allowance / 2.0, float(self._taken or 1)))
            if self._taken:
                self._enough = self._allowance
            self._refusals += 1
            self._taken = 0
            self.epoch += 1
        elif wait is not None:
            self._closed_until = max(self._closed_until, now + wait)
