"""When which job is looked at."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from dw_agents.schedule.latency import Latencies
from dw_agents.schedule.polling import PollSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Run:
    """What a simulated run came to."""

    polls: int
    extra: list[float]
    took: list[float]

    @property
    def polls_per_job(self) -> float:
        return self.polls / len(self.took)

    @property
    def mean_extra(self) -> float:
        return sum(self.extra) / len(self.extra)

    @property
    def share(self) -> float:
        return sum(self.extra) / sum(self.took)


def simulate(took: Sequence[float], *, gap: float = 0.001, clock: bool = True, rate: float = 2000.0) -> Run:
    """Play jobs of the given times, one submitted each ``gap`` seconds, against the schedule; no real time passes."""
    schedule, now, reply_after = PollSchedule(rate, seed=1), 0.0, 0.005
    due: list[tuple[float, int]] = []
    start = [i * gap for i in range(len(took))]
    next_job, polls = 0, 0
    extra: dict[int, float] = {}
    while len(extra) < len(took):
        while next_job < len(took) and start[next_job] <= now:
            schedule.add(next_job, "model", start[next_job])
            next_job += 1
        while due and due[0][0] <= now:
            _, job = heapq.heappop(due)
            late = now - start[job] - took[job]
            if late >= 0:
                schedule.finished(job, now, took=float(int(took[job])) if clock else None)
                extra[job] = late
            else:
                schedule.unfinished(job, now)
        for taken in schedule.due(now, 128 - len(due)):
            polls += 1
            heapq.heappush(due, (now + reply_after, int(str(taken))))
        times = [t for t in (schedule.next_at(now), due[0][0] if due else None) if t is not None]
        if next_job < len(took):
            times.append(start[next_job])
        now = max(now + 1e-4, min(times, default=now))
    return Run(polls, list(extra.values()), list(took))


def test_jobs_of_equal_length_cost_few_polls_and_little_waiting() -> None:
    run = simulate([60.0] * 2000)
    assert run.polls_per_job <= 2.0
    assert run.mean_extra <= 1.5


def test_thousands_of_short_jobs_are_collected_within_moments() -> None:
    run = simulate([2.0] * 10_000)
    assert run.polls_per_job <= 1.5
    assert run.mean_extra <= 0.1


def test_a_lone_job_is_noticed_within_a_tenth_of_its_time() -> None:
    for seconds in (1.0, 60.0, 3000.0):
        run = simulate([seconds])
        assert run.mean_extra <= max(0.2, min(15.0, seconds * 0.1)) + 0.1


@pytest.mark.parametrize(("sigma", "known"), [(0.3, 5.13), (0.8, 9.47)])
@pytest.mark.parametrize("gap", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("clock", [True, False])
def test_times_learned_while_running_cost_little_more_than_known_ones(
    sigma: float, known: float, gap: float, clock: bool
) -> None:
    """5,000 log-normal jobs of 90 s come within 20% of the polls that 5% of waiting cost where all is known.

    ``known`` is the optimum that dynamic programming finds for the distribution itself. Polls and waiting trade against
    each other about one to one near it, so that their product is compared.
    """
    rng = random.Random(3)
    run = simulate([90 * math.exp(rng.gauss(0, sigma)) for _ in range(5000)], gap=gap, clock=clock)
    assert run.share <= 0.06
    assert run.polls_per_job * run.share <= 1.2 * known * 0.05


def test_jobs_that_become_slower_are_still_noticed() -> None:
    run = simulate([10.0] * 300 + [60.0] * 300, gap=0.1)
    assert run.share <= 0.12
    assert run.polls_per_job <= 10


def test_jobs_that_become_faster_are_noticed_again_soon() -> None:
    run = simulate([60.0] * 300 + [10.0] * 600, gap=0.1)
    assert sum(run.extra[-100:]) / 100 <= 2.0


def test_no_more_polls_become_due_than_the_rate_allows() -> None:
    schedule = PollSchedule(rate=10.0, seed=1)
    for job in range(100):
        schedule.add(job, job, 0.0)
    seen = sum(len(schedule.due(1.0 + tick / 10, 100)) for tick in range(50))
    assert seen <= 10 * 5 + 10


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_discarded_somebody_is_looked_at_next_while_a_job_is_left(seed: int) -> None:
    """Those who are watched on behalf of all may be the very ones whose callers leave."""
    chance = random.Random(seed)
    schedule, now, left, looking = PollSchedule(seed=seed), 0.0, set(range(60)), set[int]()
    for job in left:
        schedule.add(job, "model", now)
    while left:
        for job in chance.sample(sorted(left), min(len(left), chance.randrange(3))):
            schedule.discard(job, now)
            left.discard(job)
            looking.discard(job)
        for job in looking:
            schedule.unfinished(job, now)
        looking.clear()
        at = schedule.next_at(now)
        assert (at is not None) == bool(left)
        if at is not None:
            now = max(now, at)
            looking = {int(str(job)) for job in schedule.due(now, 4)}


def test_a_discarded_job_is_never_due() -> None:
    schedule = PollSchedule(seed=1)
    schedule.add("a", "k", 0.0)
    schedule.discard("a", 0.0)
    assert schedule.next_at(0.0) is None
    assert schedule.due(100.0, 10) == []
    assert len(schedule) == 0


def test_a_failed_look_is_repeated_at_the_time_that_was_asked_for() -> None:
    schedule = PollSchedule(seed=1)
    schedule.add("a", "k", 0.0)
    assert schedule.due(1.0, 10) == ["a"]
    schedule.again("a", 5.0)
    assert schedule.due(4.9, 10) == []
    assert schedule.due(5.1, 10) == ["a"]


def test_while_nothing_is_known_only_a_few_are_watched() -> None:
    schedule = PollSchedule(seed=1)
    for job in range(1000):
        schedule.add(job, "k", 0.0)
    assert len(schedule.due(0.5, 1000)) <= 10


def test_nothing_is_planned_from_fewer_than_five_samples() -> None:
    latencies = Latencies()
    for _ in range(4):
        assert not latencies.observe(1.9, 2.1)
    assert latencies.next_look(0.0) is None
    assert latencies.observe(1.9, 2.1)
    look = latencies.next_look(0.0)
    assert look is not None
    assert 1.9 <= look <= 2.3
    assert latencies.next_look(100.0) is None


def test_jobs_that_still_run_tell_that_times_are_longer_than_those_that_ended() -> None:
    """Of a hundred jobs five ended early; without the others one would take these for all there is."""
    alone, together = Latencies(), Latencies()
    for _ in range(95):
        together.unfinished(0.0, 60.0)
    for latencies in (alone, together):
        for _ in range(5):
            latencies.observe(49.0, 51.0)
    assert alone.next_look(60.0) is None
    later = together.next_look(60.0)
    assert later is not None
    assert later > 61.0


def test_old_samples_fade() -> None:
    latencies = Latencies()
    for _ in range(5000):
        latencies.observe(9.9, 10.1)
    for _ in range(5000):
        latencies.observe(1.9, 2.1)
    look = latencies.next_look(0.0)
    assert look is not None
    assert look <= 2.5
