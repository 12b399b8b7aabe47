"""When to look at a job whose distribution of times is known.

Owns: the dynamic programme. Pure.

With survival S, a look at ``t[i]`` that found the job unfinished is followed by the one at ``t[j]`` that minimises
``cost * S[i] + (expected waiting in (i, j]) + W[j]``. The price of a request is not known in seconds: it is chosen such
that the mean waiting is a set share of the mean job time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

__all__ = ["Plan", "make_plan"]

_BISECTIONS: Final = 12
_POINTS: Final = 128
"""The most ages that are considered for looks."""
_DEAREST: Final = 0.02
"""The most that a request may count, as a share of the mean time: jobs of equal length are looked at soon anyway."""
_CLOSE: Final = 0.03
"""Relative distance from the waiting aimed for that is close enough."""


@dataclass(frozen=True, slots=True)
class Plan:
    """For each age at which a job was found unfinished, the age of the next look.

    Attributes:
        times: ages, ascending.
        following: for each, the next look.
        cost: of a request, in seconds of waiting, that leads to the waiting aimed for.
    """

    times: list[float]
    following: list[float]
    cost: float

    def next_look(self, age: float) -> float | None:
        """Return the age of the next look; None beyond what is planned."""
        if age >= self.times[-1]:
            return None
        return self.following[max(0, bisect_right(self.times, age) - 1)]


def make_plan(edges: list[float], shares: list[float], waiting: float, last: Plan | None) -> Plan:
    """Plan the looks.

    Args:
        edges: of the bins, ascending, one more than there are bins.
        shares: of the jobs in each bin.
        waiting: the mean waiting aimed for, as a share of the mean time.
        last: the plan before, whose price is a good guess.
    """
    stride = math.ceil(len(shares) / _POINTS)
    times, ended, moment = [0.0], [0.0], [0.0]
    total = sum(shares)
    e = m = 0.0
    for place, share in enumerate(shares):
        e += share / total
        m += share / total * (edges[place] + edges[place + 1]) / 2
        if place % stride == stride - 1 or place == len(shares) - 1:
            times.append(edges[place + 1])
            ended.append(e)
            moment.append(m)
    aim = waiting * moment[-1]
    cheap, dear = math.log(moment[-1] * 1e-5), math.log(moment[-1] * _DEAREST)
    cost = math.log(last.cost) if last is not None and cheap < math.log(last.cost) < dear else (cheap + dear) / 2
    following: list[int] = []
    for _ in range(_BISECTIONS):
        following, late = _best(times, ended, moment, math.exp(cost))
        if abs(late - aim) <= _CLOSE * aim:
            break
        if late <= aim:
            cheap = cost
        else:
            dear = cost
        # The waiting grows about as the square root of the price.
        guess = cost + 2 * math.log(aim / max(late, aim * 1e-3))
        cost = guess if cheap < guess < dear else (cheap + dear) / 2
    return Plan(times, [times[j] for j in following], math.exp(cost))


def _best(times: list[float], ended: list[float], moment: list[float], cost: float) -> tuple[list[int], float]:
    """Find the best next look from each time, and the mean waiting that results from starting at 0."""
    size = len(times)
    price, late, following = [0.0] * size, [0.0] * size, [size - 1] * size
    for i in range(size - 2, -1, -1):
        alive, ended_i, moment_i = cost * max(0.0, 1.0 - ended[i]), ended[i], moment[i]
        best, choice, waiting = math.inf, size - 1, 0.0
        for j in range(i + 1, size):
            delay = times[j] * (ended[j] - ended_i) - (moment[j] - moment_i)
            if delay >= best:
                break  # it grows with j, and the rest costs something too
            value = delay + price[j]
            if value < best:
                best, choice, waiting = value, j, delay + late[j]
        price[i], late[i], following[i] = best + alive, waiting, choice
    return following, late[0]
