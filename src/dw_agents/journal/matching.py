"""What a step that is asked gets: a job that was accepted before, or a new row.

Owns: the decision, for all steps of one group at once. Pure but for ``Places``, which remembers what this process has
asked already. Must not do I/O.

Outside a named run, a step takes over any row of its key that is open and that nobody works on; which one is all the
same, as they are answers to the same question. In a named run (or a scope) the n-th time that a process asks a key it
gets the n-th row of that key, so that a repeated run gets the same answers in the same places, also the delivered ones.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dw_agents.journal.rows import OPEN, Ask, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Known", "Matches", "Places", "match"]


class Known(NamedTuple):
    """A row as far as the decision needs it.

    Attributes:
        owner: 0 when nobody works on it; -1 when another living process does; None when it has ended.
    """

    row: int
    key: str
    ordinal: int
    state: State
    owner: int | None


class Places:
    """Which rows of each key this process has had, where that counts."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._returned: dict[str, list[int]] = {}

    def take(self, key: str) -> int:
        """Return the lowest place of a key that this process has not had."""
        returned = self._returned.get(key)
        if returned:
            place = heapq.heappop(returned)
            if not returned:
                del self._returned[key]
            return place
        place = self._next.get(key, 0)
        self._next[key] = place + 1
        return place

    def give_back(self, key: str, place: int) -> None:
        """Make a place one that this process has not had: its step ended without an answer."""
        heapq.heappush(self._returned.setdefault(key, []), place)

    def keep(self, key: str, place: int) -> None:
        """Undo ``give_back``."""
        returned = self._returned[key]
        returned.remove(place)
        heapq.heapify(returned)
        if not returned:
            del self._returned[key]


@dataclass
class Matches:
    """What a group of asks comes to.

    Attributes:
        taken: for each ask the row that it takes over or reads; None where it gets a new one or has to wait.
        new: (number of the ask, ordinal) of rows to be made.
        waiting: numbers of the asks whose row another living process is just sending.
    """

    taken: list[Known | None]
    new: list[tuple[int, int]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)


def match(
    asks: Sequence[Ask],
    places: Sequence[int | None],
    *,
    free: Iterable[Known],
    placed: Mapping[tuple[str, int], Known],
    highest: Mapping[str, int],
) -> Matches:
    """Decide for all asks of a group.

    Args:
        asks: in the order in which they came.
        places: for each, its place in its key's rows; None where that does not count.
        free: open rows of these keys on which nobody works, in the order of their ordinals.
        placed: the rows at the places.
        highest: the highest ordinal of each key that has rows.
    """
    matches = Matches([None] * len(asks))
    by_key: defaultdict[str, deque[Known]] = defaultdict(deque)
    for row in free:
        by_key[row.key].append(row)
    top = dict(highest)
    for number, (ask, place) in enumerate(zip(asks, places, strict=True)):
        if place is None:
            rows = by_key.get(ask.key)
            if rows:
                matches.taken[number] = rows.popleft()
            else:
                top[ask.key] = ordinal = top.get(ask.key, -1) + 1
                matches.new.append((number, ordinal))
            continue
        there = placed.get((ask.key, place))
        if there is None:
            matches.new.append((number, place))
        elif there.owner == -1 and there.state in {"waiting", "sending"}:
            matches.waiting.append(number)
        else:
            matches.taken[number] = there
    return matches


def starts_anew(row: Known) -> bool:
    """Whether a row that was taken over is submitted as if it were new: its work ended without an answer."""
    return row.state == "waiting" or (row.state not in OPEN and row.state != "delivered")
