"""When jobs start: driven with a clock that runs a million times as fast, or by its effects on the order."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator.clock import Clock, parse_duration
from dw_agents.emulator.jobs import Job
from dw_agents.emulator.scheduler import Scheduler
from tests.emulator.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Make = Callable[..., Scheduler]


class Work:
    """Performs jobs when it is let."""

    def __init__(self) -> None:
        self.running: list[Job] = []
        self.gate = asyncio.Event()
        self.clock = Clock(1000)

    async def __call__(self, job: Job) -> None:
        self.running.append(job)
        await self.gate.wait()
        job.complete(self.clock.now(), output=[], usage=None)


@pytest.fixture
async def work() -> Work:
    return Work()


@pytest.fixture
async def make(work: Work) -> AsyncIterator[Make]:
    made: list[Scheduler] = []

    def build(*, pickup: Any = 0.0, latency: Any = 0.0, **knobs: Any) -> Scheduler:
        scheduler = Scheduler(
            work.clock,
            random.Random(0),
            work,
            pickup=parse_duration(pickup),
            latency=parse_duration(latency),
            **knobs,
        )
        scheduler.start()
        made.append(scheduler)
        return scheduler

    yield build
    for scheduler in made:
        await scheduler.close()


def job(work: Work, model: str = "M", **fields: Any) -> Job:
    made: dict[str, Any] = {"tier": "flex", "endpoint": "/responses", "owner": "o", "created": work.clock.now()}
    return Job(body={"model": model}, **{**made, **fields})


async def test_without_knobs_a_job_starts_at_once(make: Make, work: Work) -> None:
    one = job(work)
    make().submit(one)

    assert one.state == "in_progress"


async def test_a_job_waits_for_its_pickup_and_takes_its_latency(make: Make, work: Work) -> None:
    one = job(work)
    work.gate.set()
    make(pickup=20, latency=40).submit(one)
    assert one.state == "queued"
    await until(lambda: one.terminal)

    assert one.started is not None
    assert one.finished is not None
    assert one.started - one.created >= 20
    assert one.finished - one.started >= 40


async def test_a_job_deleted_while_queued_is_never_run(make: Make, work: Work) -> None:
    one, two = job(work), job(work)
    scheduler = make(model_concurrency=1)
    first = job(work)
    for each in (first, one, two):
        scheduler.submit(each)
    one.end(work.clock.now(), "deleted")
    work.gate.set()
    await until(lambda: two.terminal)

    assert work.running == [first, two]


async def test_a_job_deleted_before_its_pickup_is_never_run(make: Make, work: Work) -> None:
    one = job(work)
    make(pickup=10).submit(one)
    one.end(work.clock.now(), "deleted")
    await work.clock.sleep(30)

    assert work.running == []


async def test_a_job_deleted_while_in_progress_is_stopped(make: Make, work: Work) -> None:
    one = job(work)
    make().submit(one)
    await until(lambda: work.running)
    one.end(work.clock.now(), "deleted")
    work.gate.set()
    await asyncio.sleep(0.01)

    assert one.state == "deleted"


async def test_a_model_has_no_more_jobs_in_progress_than_allowed(make: Make, work: Work) -> None:
    jobs = [job(work) for _ in range(5)]
    other = job(work, "other")
    scheduler = make(model_concurrency=2)
    for each in (*jobs, other):
        scheduler.submit(each)
    await until(lambda: len(work.running) == 3)

    assert [each.state for each in jobs] == ["in_progress"] * 2 + ["queued"] * 3
    assert other.state == "in_progress"
    work.gate.set()
    await until(lambda: all(each.terminal for each in jobs))


async def test_a_stopped_job_frees_its_place(make: Make, work: Work) -> None:
    one, two = job(work), job(work)
    scheduler = make(model_concurrency=1)
    scheduler.submit(one)
    scheduler.submit(two)
    one.end(work.clock.now(), "deleted")
    await until(lambda: two.state == "in_progress")


async def test_the_claim_loop_takes_a_batch_at_a_time(make: Make, work: Work) -> None:
    jobs = [job(work) for _ in range(5)]
    scheduler = make(claim_interval=20, claim_batch=2)
    for each in jobs:
        scheduler.submit(each)
    assert [each.state for each in jobs] == ["queued"] * 5
    await until(lambda: all(each.state == "in_progress" for each in jobs))

    starts = [each.started or 0 for each in jobs]
    assert starts[2] - starts[1] >= 19
    assert starts[4] - starts[3] >= 19


async def test_a_cold_model_takes_about_one_job_a_minute(make: Make, work: Work) -> None:
    jobs = [job(work) for _ in range(3)]
    scheduler = make(cold_models=frozenset({"M"}))
    for each in jobs:
        scheduler.submit(each)
    await until(lambda: all(each.state == "in_progress" for each in jobs))

    starts = [each.started or 0 for each in jobs]
    assert starts[1] - starts[0] >= 60
    assert starts[2] - starts[1] >= 60


async def test_a_cold_model_hurries_when_the_deadline_comes_near(make: Make, work: Work) -> None:
    old = [job(work, created=work.clock.now() - 3001) for _ in range(3)]
    scheduler = make(cold_models=frozenset({"M"}))
    for each in old:
        scheduler.submit(each)
    await until(lambda: all(each.state == "in_progress" for each in old))

    starts = [each.started or 0 for each in old]
    assert starts[2] - starts[0] < 60


async def test_a_realtime_job_does_not_queue(make: Make, work: Work) -> None:
    one = job(work, tier="priority", state="in_progress")
    make(claim_interval=1000, model_concurrency=1).run_now(one, 0)
    await until(lambda: work.running == [one])
