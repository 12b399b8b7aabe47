"""Jobs and their store."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from dw_agents.emulator.jobs import Job, JobStore


class Now:
    def __init__(self) -> None:
        self.value = 1000.0

    def __call__(self) -> float:
        return self.value


def make(**fields: Any) -> Job:
    known: dict[str, Any] = {"tier": "flex", "endpoint": "/responses", "body": {"model": "M"}, "owner": "o"}
    return Job(**{**known, "created": 1000.0, **fields})


def test_ids_are_a_prefix_and_a_uuid_and_never_repeat() -> None:
    ids = {make().id for _ in range(100)}

    assert len(ids) == 100
    for ident in ids:
        assert uuid.UUID(ident.removeprefix("resp_")).version == 4


@pytest.mark.parametrize("spell", [str, str.upper, lambda i: i.replace("-", ""), lambda i: "{" + i + "}"])
@pytest.mark.parametrize("prefix", ["", "resp_"])
def test_a_job_is_found_by_any_spelling_of_its_id(spell: Any, prefix: str) -> None:
    store, job = JobStore(Now()), make()
    store.add(job)

    assert store.get(prefix + spell(job.id.removeprefix("resp_"))) is job


@pytest.mark.parametrize("ident", ["", "resp_", "resp_1", "nonsense", "resp_resp_1"])
def test_an_id_that_is_none_finds_nothing(ident: str) -> None:
    assert JobStore(Now()).get(ident) is None


def test_a_job_is_invisible_to_others_and_once_deleted() -> None:
    store, job = JobStore(Now()), make()
    store.add(job)
    assert store.find(job.id, "o", visible_after=0) is job
    assert store.find(job.id, "someone else", visible_after=0) is None

    job.end(1001, "deleted")
    assert store.find(job.id, "o", visible_after=0) is None
    assert store.all() == [job]


def test_a_young_job_is_not_visible_yet() -> None:
    now = Now()
    store, job = JobStore(now), make()
    store.add(job)

    now.value = 1001.9
    assert store.find(job.id, "o", visible_after=2) is None
    now.value = 1002.0
    assert store.find(job.id, "o", visible_after=2) is job


def test_running_jobs_are_those_that_would_still_be_paid() -> None:
    store = JobStore(Now())
    jobs = [make() for _ in range(5)]
    for job in jobs:
        store.add(job)
    jobs[1].start(1)
    jobs[2].complete(1, output=[], usage=None)
    jobs[3].fail(1, {"message": "m"})
    jobs[4].end(1, "cancelled")

    assert store.running() == [jobs[0].id, jobs[1].id]


async def test_a_waiter_wakes_at_the_last_state_and_not_before() -> None:
    job = make()
    waiting = asyncio.create_task(job.wait(5))
    job.start(1)
    await asyncio.sleep(0)
    assert not waiting.done()

    job.fail(2, {"message": "m"})
    assert await waiting is True
    assert await job.wait(0) is True


async def test_a_waiter_gives_up_at_its_limit() -> None:
    assert await make().wait(0.001) is False


async def test_ending_a_job_stops_its_task() -> None:
    job = make()
    job.task = asyncio.create_task(asyncio.sleep(60))
    job.end(1, "deleted")
    with pytest.raises(asyncio.CancelledError):
        await job.task


def test_a_change_of_state_forgets_the_encoded_object() -> None:
    job = make()
    job.encoded = b"{}"
    job.start(1)

    assert job.encoded is None


def test_the_user_agent_is_kept_up_to_256_characters() -> None:
    assert len(make(user_agent="x" * 300).user_agent) == 256


def test_deleting_a_finished_job_keeps_the_time_at_which_it_finished() -> None:
    job = make()
    job.complete(5, output=[], usage=None)
    job.end(9, "deleted")

    assert (job.finished, job.state) == (5, "deleted")
