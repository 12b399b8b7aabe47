"""How long jobs of one kind take, learned while they run, and when to look at one again.

Owns: ``Latencies``, a decaying histogram of job times, and the plan computed from it. Must not read a clock or do I/O.

A poll that comes too early costs a request, one that comes too late costs waiting. For a known distribution the best
times follow from dynamic programming: with survival S, a poll at ``t[i]`` that found the job unfinished is
followed by the one at ``t[j]`` that minimises ``cost * S[i] + (expected waiting in (i, j]) + W[j]``. The price of a
request is not known in seconds: it is chosen such that the mean waiting is a set share of the mean job time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

__all__ = ["Latencies"]

_RATIO: Final = 1.04
_FIRST: Final = 0.02
_BINS: Final = 1 + math.ceil(math.log(86_400 * 2 / _FIRST) / math.log(_RATIO))
_EDGES: Final = [0.0] + [_FIRST * _RATIO**i for i in range(_BINS)]
_LOOK_AHEAD: Final = 80
_BISECTIONS: Final = 9
_MEMORY: Final = 2000.0
"""Samples that count fully; older ones fade."""
_ENOUGH: Final = 3
"""Samples before a plan is trusted at all."""


class Latencies:
    """A histogram of job times, with log-spaced bins 4% wide, and the polling plan that follows from it.

    Args:
        waiting: the mean waiting to aim for, as a share of the mean job time.
    """

    def __init__(self, waiting: float = 0.05) -> None:
        self.samples = 0.0
        self._waiting = waiting
        self._weights: dict[int, float] = {}
        self._planned_at = 0.0
        self._times: list[float] = []
        self._next: list[float] = []

    def observe(self, after: float, by: float) -> bool:
        """Learn that a job finished more than ``after`` and at most ``by`` seconds after its acceptance.

        A wide interval says little by itself, so its weight goes where jobs are known to finish.

        Returns:
            Whether enough was learned since the last plan to have made a new one.
        """
        low, high = _bin(after), _bin(max(by, after))
        known = {i: w for i, w in self._weights.items() if low <= i <= high}
        total = sum(known.values())
        if total > 0.0:
            for i, weight in known.items():
                self._weights[i] = weight + weight / total
        else:
            middle = _bin((after + by) / 2)
            self._weights[middle] = self._weights.get(middle, 0.0) + 1.0
        self.samples += 1.0
        if self.samples > _MEMORY:
            self._weights = {i: w / 2 for i, w in self._weights.items() if w > 0.01}
            self.samples /= 2
            self._planned_at /= 2
        if self.samples < _ENOUGH or self.samples < self._planned_at * 1.2:
            return False
        self._plan()
        return True

    def next_look(self, age: float) -> float | None:
        """Return the age at which to look again at a job found unfinished at ``age``.

        None means that nothing is known of jobs this old: too few were seen, or none took that long.
        """
        if not self._times or age >= self._times[-1]:
            return None
        return self._next[max(0, bisect_right(self._times, age) - 1)]

    def _plan(self) -> None:
        self._planned_at = self.samples
        bins = sorted(self._weights)
        first, last = bins[0], bins[-1]
        total = sum(self._weights.values())
        times = [0.0] + [_EDGES[i + 1] if i + 1 < len(_EDGES) else _EDGES[-1] for i in range(first, last + 1)]
        mass = [0.0] + [self._weights.get(i, 0.0) / total for i in range(first, last + 1)]
        middles = [0.0] + [(_EDGES[i] + _EDGES[min(i + 1, len(_EDGES) - 1)]) / 2 for i in range(first, last + 1)]
        mean = sum(m * t for m, t in zip(mass, middles, strict=True))
        cheap, dear = math.log(mean * 1e-4), math.log(mean)
        chosen = _best(times, mass, middles, math.exp(cheap))
        for _ in range(_BISECTIONS):
            cost = (cheap + dear) / 2
            candidate = _best(times, mass, middles, math.exp(cost))
            if candidate[1] <= self._waiting * mean:
                cheap, chosen = cost, candidate
            else:
                dear = cost
        self._times = times
        self._next = [times[j] for j in chosen[0]]


def _bin(seconds: float) -> int:
    return min(max(0, bisect_right(_EDGES, seconds) - 1), _BINS - 1)


def _best(times: list[float], mass: list[float], middles: list[float], cost: float) -> tuple[list[int], float]:
    """Find the best next look from each time, and the mean waiting that results from starting at 0."""
    size = len(times)
    ended, moment = [0.0] * size, [0.0] * size
    for i in range(1, size):
        ended[i] = ended[i - 1] + mass[i]
        moment[i] = moment[i - 1] + mass[i] * middles[i]
    price, late, following = [0.0] * size, [0.0] * size, [size - 1] * size
    for i in range(size - 2, -1, -1):
        alive = cost * max(0.0, 1.0 - ended[i])
        best, choice, waiting = math.inf, size - 1, 0.0
        # Before the first finishes the best look may be far off; among finishes it never is.
        reach = size if i == 0 else min(size, i + 1 + _LOOK_AHEAD)
        for j in range(i + 1, reach):
            delay = times[j] * (ended[j] - ended[i]) - (moment[j] - moment[i])
            value = alive + delay + price[j]
            if value < best:
                best, choice, waiting = value, j, delay + late[j]
        price[i], late[i], following[i] = best, waiting, choice
    return following, late[0]
