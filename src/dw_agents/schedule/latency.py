"""How long jobs of one kind take, learned while they run, and when to look at one again.

Owns: ``Latencies``: what was seen of job times, and the plan that follows from it. Must not read a clock or do I/O.

What is seen is never a time but a bound: a job that was unfinished at one look and finished at the next took something
in between, and one that is still unfinished takes longer than its age. Both kinds are fitted together: the likeliest
log-normal distribution, which tells something of the times that nobody has seen yet, and a smoothed histogram, which
takes over as samples come in.

A poll that comes too early costs a request, one that comes too late costs waiting. For a known distribution the best
times follow from dynamic programming (``plan.py``).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import Final

from dw_agents.schedule.plan import Plan, make_plan

__all__ = ["Latencies"]

_RATIO: Final = 1.01
_FIRST: Final = 0.02
_BINS: Final = 1 + math.ceil(math.log(86_400 * 2 / _FIRST) / math.log(_RATIO))
_EDGES: Final = [_FIRST * _RATIO**i for i in range(_BINS)]
"""Upper edges of the bins; the first begins at 0."""
_LOGS: Final = [math.log(edge) for edge in _EDGES]
_MEMORY: Final = 2000.0
"""Samples that count fully; older ones fade."""
_ENOUGH: Final = 5
"""Samples before a plan is trusted at all."""
_SOON: Final = 1.3
_LATER: Final = 1.7
_MOVED: Final = 0.02
"""Change of the logarithms' mean and width, taken together, that makes the next plan come soon."""
_PRIOR: Final = 25.0
"""Samples for which the log-normal distribution counts."""
_STILL: Final = 1.05
"""Factor between widths that makes no difference."""
_SMOOTH: Final = 0.5
"""Bins are averaged over this share of the width, so that no look that was taken leaves a spike behind."""
_TRUISM: Final = 0.98
"""Bounds that hold for nearly every job tell nothing; left in, they would drown those that tell something."""
_NARROWEST: Final = 0.01
_WIDEST: Final = 1.5
_REACH: Final = 4.0
"""Standard deviations of the log-normal distribution that are planned for."""


class Latencies:
    """Job times with log-spaced bins 1% wide, and the polling plan that follows from them.

    Args:
        waiting: the mean waiting to aim for, as a share of the mean job time.
    """

    def __init__(self, waiting: float = 0.045) -> None:
        self.samples = 0.0
        self._waiting = waiting
        self._seen: dict[tuple[int, int], float] = {}
        """Finished jobs by the edges around their bounds, fading."""
        self._running: Counter[int] = Counter()
        """Unfinished jobs by the edge below the age at which they were last looked at."""
        self._planned_at = 0.0
        self._patience = _SOON
        """Factor by which the samples grow before the next plan."""
        self._center = self._width = 0.0
        self._shares: dict[int, float] = {}
        self._plan: Plan | None = None

    def unfinished(self, before: float, age: float) -> None:
        """Learn that a job last looked at when it was ``before`` seconds old is unfinished at ``age`` seconds."""
        self.gone(before)
        self._running[_below(age)] += 1

    def gone(self, age: float) -> None:
        """Forget an unfinished job last looked at when it was ``age`` seconds old."""
        if age > 0.0:
            self._running[_below(age)] -= 1

    def observe(self, after: float, by: float) -> bool:
        """Learn that a job finished more than ``after`` and at most ``by`` seconds after its acceptance.

        Returns:
            Whether enough was learned since the last plan to have made a new one.
        """
        pair = _below(after), _above(max(by, after))
        self._seen[pair] = self._seen.get(pair, 0.0) + 1.0
        self.samples += 1.0
        if self.samples > _MEMORY:
            self._seen = {pair: w / 2 for pair, w in self._seen.items() if w > 0.01}
            self.samples /= 2
            self._planned_at /= 2
        if self.samples < _ENOUGH or self.samples < self._planned_at * self._patience:
            return False
        self._planned_at = self.samples
        center, width = self._center, self._width
        self._fit()
        moved = abs(self._center - center) + abs(self._width - width) > _MOVED
        self._patience = _SOON if moved else _LATER
        return True

    def next_look(self, age: float) -> float | None:
        """Return the age at which to look again at a job found unfinished at ``age``.

        None means that nothing is known of jobs this old: too few were seen, or none takes that long.
        """
        return self._plan.next_look(age) if self._plan is not None else None

    def _fit(self) -> None:
        bounds = [(low, high, w) for (low, high), w in self._seen.items()]
        # Who was never looked at after the first finished tells nothing; who runs longer than all of them does.
        alive = [(low, _BINS, float(n)) for low, n in self._running.items() if n > 0]
        self._fit_normal(bounds + alive)
        first = max(0, _below(math.exp(self._center - _REACH * self._width)))
        last = _above(math.exp(self._center + _REACH * self._width))
        first = min([first, *(high for _, high, _ in bounds)])
        last = max([last, *(high for _, high, _ in bounds)])
        normal = self._normal_shares(first, last)
        shares = {i: self._shares.get(i, 0.0) * 0.8 + share * 0.2 for i, share in normal.items()}
        reach = round(_SMOOTH * self._width / math.log(_RATIO) / 2)
        for _ in range(3):
            shares = _smooth(_spread(bounds + alive, shares, normal), reach)
        self._shares = shares
        edges = [0.0 if first == 0 else _EDGES[first - 1], *_EDGES[first : last + 1]]
        self._plan = make_plan(edges, [shares[i] for i in range(first, last + 1)], self._waiting, self._plan)

    def _fit_normal(self, bounds: list[tuple[int, int, float]]) -> None:
        """Find the mean and the width of the logarithms under which what was seen is likeliest."""
        if not self._width:
            known = [(_LOGS[max(low, 0)] + _LOGS[high]) / 2 for low, high, _ in bounds if high < _BINS]
            self._center, self._width = sum(known) / len(known), 0.2
        step, factor = self._width, 2.0
        best = _likelihood(bounds, self._center, self._width)
        while factor > _STILL:
            moved = False
            for center, width in (
                (self._center + step, self._width),
                (self._center - step, self._width),
                (self._center, min(_WIDEST, self._width * factor)),
                (self._center, max(_NARROWEST, self._width / factor)),
            ):
                here = _likelihood(bounds, center, width)
                if here > best + 1e-6:
                    best, moved = here, True
                    self._center, self._width = center, width
            if not moved:
                step, factor = step / 2, math.sqrt(factor)

    def _normal_shares(self, first: int, last: int) -> dict[int, float]:
        below = 0.0
        shares = {}
        for i in range(first, last + 1):
            up_to = _cdf((_LOGS[i] - self._center) / self._width)
            shares[i] = up_to - below + 1e-9
            below = up_to
        return shares


def _spread(
    bounds: list[tuple[int, int, float]], shares: dict[int, float], normal: dict[int, float]
) -> dict[int, float]:
    """Put each job where jobs are known to finish within its bounds, and add the log-normal ones."""
    first, last = min(shares), max(shares)
    below = [0.0]
    for i in range(first, last + 1):
        below.append(below[-1] + shares[i])
    # Each job adds weight / (share of its bins) to all of its bins: summed up by where that begins and ends.
    steps = [0.0] * (last - first + 2)
    total = _PRIOR
    for low, high, w in bounds:
        start, end = max(low + 1, first) - first, min(high, last) - first + 1
        if start >= end:
            start = end - 1
        inside = below[end] - below[start]
        if 1e-12 < inside < _TRUISM:
            steps[start] += w / inside
            steps[end] -= w / inside
            total += w
    rate, made = 0.0, {}
    for i in range(first, last + 1):
        rate += steps[i - first]
        made[i] = (shares[i] * rate + _PRIOR * normal[i]) / total
    return made


def _smooth(shares: dict[int, float], reach: int) -> dict[int, float]:
    """Average each bin with those within reach."""
    if not reach:
        return shares
    first, size = min(shares), len(shares)
    sums = [0.0]
    for share in shares.values():
        sums.append(sums[-1] + share)
    return {
        first + i: (sums[min(size, i + reach + 1)] - sums[max(0, i - reach)])
        / (min(size, i + reach + 1) - max(0, i - reach))
        for i in range(size)
    }


def _likelihood(bounds: list[tuple[int, int, float]], center: float, width: float) -> float:
    """Return the logarithm of the likelihood of what was seen."""
    total = 0.0
    for low, high, w in bounds:
        above = _cdf((_LOGS[low] - center) / width) if low >= 0 else 0.0
        up_to = _cdf((_LOGS[high] - center) / width) if high < _BINS else 1.0
        total += w * math.log(max(up_to - above, 1e-12))
    return total


def _cdf(z: float) -> float:
    return 0.5 * (1.0 + math.erf(z / 1.4142135623730951))


def _below(seconds: float) -> int:
    """Return the last edge that is not above ``seconds``; -1 for 0."""
    return min(bisect_right(_EDGES, seconds), _BINS - 1) - 1


def _above(seconds: float) -> int:
    """Return the first edge that is not below ``seconds``."""
    return min(bisect_left(_EDGES, seconds), _BINS - 1)
