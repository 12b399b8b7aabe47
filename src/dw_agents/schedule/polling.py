"""When to ask for the state of which job.

Owns: ``PollSchedule``, the state that says which jobs are due. Must not read a clock, sleep or do I/O; the poller
(``routes/poller.py``) does that and reports what it saw.

Jobs of one key (model and tier) take similar times. While their times are known, each job is looked at when the plan
(``latency.py``) says. Where they are not (at the start, or when jobs take longer than any before), a few are watched
on behalf of all, in turn: each that turns out finished doubles how many are watched, each that does not shrinks it, so
that a thousand equal jobs cost a few requests while nothing happens and are collected within moments when it does.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Final

from dw_agents.schedule.latency import Latencies

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["PollSchedule"]

_WATCHED: Final = 4
"""How many jobs of a key are watched at a time while nothing is known."""
_SCOUT_EVERY: Final = 256
"""Every so many jobs one is watched from its start, to notice that times have become shorter."""
_PAUSE: Final = 0.1
"""Share of a job's age that a watched one may wait for its look while none has finished."""
_SHORTEST: Final = 0.1
_LONGEST: Final = 15.0
_GROWTH: Final = 0.1
"""While nothing is known: look again when the job has become a tenth older."""


class _Key:
    """What is known of the jobs of one model and tier."""

    __slots__ = ("jobs", "latencies", "parked", "seen", "watched", "watching")

    def __init__(self) -> None:
        self.jobs: dict[_Job, None] = {}
        self.latencies = Latencies()
        self.parked: deque[_Job] = deque()
        self.seen = 0
        self.watched = float(_WATCHED)
        self.watching = 0


class _Job:
    __slots__ = ("accepted_at", "checked_age", "due_at", "id", "key", "looking", "scout", "turn", "watched")

    def __init__(self, id_: Hashable, key: _Key, accepted_at: float, *, scout: bool) -> None:
        self.id = id_
        self.key = key
        self.accepted_at = accepted_at
        self.checked_age = 0.0
        self.due_at: float | None = None
        """When it is to be looked at; None while it is parked or being looked at."""
        self.looking = False
        self.scout = scout
        self.watched = False
        self.turn = 0
        """Counts its places in the heap: only the newest is valid."""


class PollSchedule:
    """Says which jobs to look at, and learns from what was seen.

    Args:
        rate: the most polls that may become due in a second, over all jobs.
        seed: of the jitter.
    """

    def __init__(self, rate: float = 2000.0, seed: int | None = None) -> None:
        self._jobs: dict[Hashable, _Job] = {}
        self._keys: dict[Hashable, _Key] = {}
        self._heap: list[tuple[float, int, int, _Job]] = []
        self._order = count()
        self._rate = rate
        self._burst = self._tokens = max(1.0, rate / 4)
        self._refilled_at = 0.0
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, id_: Hashable) -> bool:
        return id_ in self._jobs

    def add(self, id_: Hashable, key: Hashable, now: float, *, age: float = 0.0) -> None:
        """Take up a job.

        Args:
            id_: the job's.
            key: groups jobs that take similar times.
            now: the time.
            age: seconds since the service accepted it; one that is not new is looked at now.
        """
        group = self._keys.setdefault(key, _Key())
        job = _Job(id_, group, now - age, scout=group.seen % _SCOUT_EVERY == 0)
        group.seen += 1
        group.jobs[job] = None
        self._jobs[id_] = job
        if age:
            self._push(job, now, jitter=0.0)
        else:
            self._place(job, now)

    def due(self, now: float, most: int) -> list[Hashable]:
        """Take out up to ``most`` jobs that are to be looked at now; each must be reported back."""
        self._refill(now)
        taken: list[Hashable] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < most and self._tokens >= 1.0:
            _, _, turn, job = heapq.heappop(self._heap)
            if turn == job.turn and job.id in self._jobs:
                job.due_at, job.looking = None, True
                taken.append(job.id)
                self._tokens -= 1.0
        return taken

    def next_at(self, now: float) -> float | None:
        """Return when ``due`` may have something next, or None while no job has a time."""
        while self._heap and (self._heap[0][2] != self._heap[0][3].turn or self._heap[0][3].id not in self._jobs):
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        self._refill(now)
        at = self._heap[0][0]
        return at if self._tokens >= 1.0 else max(at, now + (1.0 - self._tokens) / self._rate)

    def unfinished(self, id_: Hashable, now: float) -> None:
        """Report a job that was looked at and is still queued or running."""
        job = self._jobs.get(id_)
        if job is None:
            return
        age = now - job.accepted_at
        job.key.latencies.unfinished(job.checked_age, age)
        job.checked_age = age
        self._unwatch(job)
        job.key.watched = max(float(_WATCHED), job.key.watched / 2)
        self._place(job, now)

    def again(self, id_: Hashable, at: float) -> None:
        """Report a job whose look failed; it is to be looked at again at the time ``at``."""
        job = self._jobs.get(id_)
        if job is not None:
            self._push(job, at)

    def finished(self, id_: Hashable, now: float, *, took: float | None = None) -> None:
        """Report a job that was found finished, and forget it.

        Args:
            id_: the job's.
            now: the time.
            took: how long it took by the service's own clock, in whole seconds, where it says so.
        """
        job = self._jobs.get(id_)
        if job is None:
            return
        after, by = job.checked_age, now - job.accepted_at
        if took is not None and after < took + 1.0 and took - 1.0 < by:
            after, by = max(after, took - 1.0), min(by, took + 1.0)
        key = job.key
        key.watched = min(key.watched * 2, 1e6)
        self._forget(job)
        if key.latencies.observe(after, by):
            self._plan_again(key, now)
        self._watch_more(key, now)

    def discard(self, id_: Hashable, now: float) -> None:
        """Forget a job that nobody waits for any more; another may be due in its place."""
        job = self._jobs.get(id_)
        if job is not None:
            self._forget(job)
            self._watch_more(job.key, now)

    def _forget(self, job: _Job) -> None:
        del self._jobs[job.id]
        job.key.jobs.pop(job, None)
        job.key.latencies.gone(job.checked_age)
        self._unwatch(job)

    def _plan_again(self, key: _Key, now: float) -> None:
        """Give every job the look that is best by what is known now."""
        for job in key.jobs:
            if job.looking or job.scout:
                continue
            look = key.latencies.next_look(job.checked_age)
            if look is not None:
                self._unwatch(job)
                at = max(now, job.accepted_at + look)
                if job.due_at is None or abs(at - job.due_at) > _SHORTEST:
                    self._push(job, at)

    def _place(self, job: _Job, now: float) -> None:
        """Give a job its next look, or park it behind those that are watched on its behalf."""
        age = now - job.accepted_at
        look = None if job.scout else job.key.latencies.next_look(age)
        if look is not None:
            self._push(job, job.accepted_at + max(look, age + _SHORTEST))
        elif job.scout:
            self._push(job, now + _gap(age))
        else:
            job.looking = False
            job.key.parked.append(job)
            self._watch_more(job.key, now)

    def _watch_more(self, key: _Key, now: float) -> None:
        while key.parked and key.watching < key.watched:
            job = key.parked.popleft()
            if job.id not in self._jobs or job.due_at is not None or job.looking:
                continue
            age = now - job.accepted_at
            look = key.latencies.next_look(age)
            job.watched = True
            key.watching += 1
            if look is not None:
                self._push(job, job.accepted_at + look)
                continue
            # While nothing has finished, one look a while at any of them tells as much as one at each.
            pause = age * _PAUSE * self._random.random() if key.watched <= _WATCHED else 0.0
            self._push(job, now + max(pause, _gap(age) - (age - job.checked_age)), jitter=0.0)

    def _unwatch(self, job: _Job) -> None:
        if job.watched:
            job.watched = False
            job.key.watching -= 1

    def _push(self, job: _Job, at: float, *, jitter: float = 0.02) -> None:
        job.turn += 1
        job.looking = False
        # Jobs accepted together must not be asked for together.
        job.due_at = at + (at - job.accepted_at - job.checked_age) * jitter * self._random.random()
        heapq.heappush(self._heap, (job.due_at, next(self._order), job.turn, job))

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._refilled_at) * self._rate)
        self._refilled_at = now


def _gap(age: float) -> float:
    return min(_LONGEST, max(_SHORTEST, age * _GROWTH))
