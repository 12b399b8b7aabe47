"""The batch route over HTTP, against both kinds of servers: who travels together, and every unhappy ending."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from dw_agents import (
    AuthenticationFailed,
    BadRequest,
    Engine,
    InsufficientCredits,
    Limits,
    MalformedAnswer,
    RateLimited,
    Retries,
    ServiceFailed,
    ServiceUnreachable,
    StepCancelled,
    StepError,
    StepExpired,
    StepLost,
    Ticket,
)
from dw_agents.emulator import Emulator, Fault
from tests.core.conftest import QUICK
from tests.core.steps import MODEL, eventually, text_of
from tests.core.steps import step as any_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents import Answer, Step

UPLOAD, CREATE, POLL, DOWNLOAD = "POST /files", "POST /batches", "GET /batches/{id}", "GET /files/{id}/content"
CANCEL = "POST /batches/{id}/cancel"


def step(text: object = "hello", **settings: Any) -> Step:
    return any_step(text, **{"service_tier": "batch", **settings})


async def ask(engine: Engine, *steps: Step) -> list[Answer | BaseException]:
    """The end of each step, answer or error."""
    return await asyncio.gather(*[engine.arun(one) for one in steps], return_exceptions=True)


def answers(ends: list[Answer | BaseException]) -> list[Answer]:
    return [end for end in ends if not isinstance(end, BaseException)]


def errors(ends: list[Answer | BaseException]) -> list[StepError]:
    found = [end for end in ends if isinstance(end, BaseException)]
    for error in found:
        assert isinstance(error, StepError), error
        assert error.ticket is not None
        assert error.ticket.done()
    return [error for error in found if isinstance(error, StepError)]


@pytest.fixture(params=["doubleword", "openai"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with Emulator(profile=request.param) as running:
        yield running


# Who travels together.


async def test_concurrent_steps_become_one_batch_and_each_caller_gets_its_own_answer(
    engine: Engine, emulator: Emulator
) -> None:
    ends = await ask(engine, *[step(f"<{i}>") for i in range(1000)])

    assert all(f"<{i}>" in text_of(answer.body) for i, answer in enumerate(answers(ends)))
    assert len(answers(ends)) == 1000
    counted = emulator.counters.snapshot()
    assert (counted.files, counted.batches, counted.lines) == (1, 1, 1000)
    assert (counted.flex, counted.realtime) == (0, 0)
    assert engine.receipt().lines[MODEL, "batch"].steps == 1000


async def test_a_thousand_calls_made_within_two_seconds_are_one_batch(engine: Engine, emulator: Emulator) -> None:
    tickets = []
    for i in range(100):
        tickets += [engine.submit(step(f"{i}-{k}")) for k in range(10)]
        await asyncio.sleep(0.02)
    for ticket in tickets:
        await ticket
    assert emulator.counters.batches == 1


async def test_a_lone_call_is_uploaded_within_half_a_second(engine: Engine, emulator: Emulator) -> None:
    started = time.monotonic()
    ticket = engine.submit(step())
    assert await asyncio.to_thread(eventually, lambda: emulator.counters[UPLOAD] == 1)
    assert time.monotonic() - started < 0.5
    await ticket


async def test_agents_that_all_come_back_are_not_kept_waiting() -> None:
    with (
        Emulator(batch_latency=0.3) as emulator,
        Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine,
    ):

        async def agent(name: int) -> None:
            for turn in range(4):
                await engine.arun(step(f"{name}-{turn}"))

        await asyncio.gather(*[agent(i) for i in range(50)])
        created = [batch.created for batch in emulator.batches]
        assert max(b - a for a, b in itertools.pairwise(created)) < 0.3 + 0.25, "no quiet moment in between"
        assert emulator.counters.batches == 4
        assert emulator.counters.lines == 200


async def test_each_model_window_and_endpoint_has_its_own_batch() -> None:
    with Emulator() as emulator, Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
        chat = {"messages": [{"role": "user", "content": "hi"}]}
        ends = await ask(
            engine,
            step(),
            step(body={"model": "Qwen/Qwen3.5-9B"}),
            step(completion_window="1h"),
            step(endpoint="/chat/completions", body=chat),
            step(["a", "b"], endpoint="/embeddings", body={"model": "Qwen/Qwen3-Embedding-8B", "input": ["a", "b"]}),
        )
        assert len(answers(ends)) == 5
        assert emulator.counters.batches == 5
        assert {batch.window for batch in emulator.batches} == {"24h", "1h"}
        tiers = {tier for _, tier in engine.receipt().lines}
        assert tiers == {"batch", "batch 1h"}


async def test_the_lines_carry_the_body_and_nothing_of_the_tier(engine: Engine, emulator: Emulator) -> None:
    await ask(engine, step("x", body={"temperature": 0.5}))
    (line,) = emulator.files[0].lines()
    assert line["body"] == {"model": MODEL, "input": "x", "temperature": 0.5}
    assert line["url"] == "/v1/responses"


async def test_a_burst_larger_than_a_file_is_split() -> None:
    limits = Limits(lines=300, bytes=100_000)
    with (
        Emulator(max_requests_per_file=300) as emulator,
        Engine(api_key=emulator.api_key, base_url=emulator.base_url, batch_limits=limits) as engine,
    ):
        ends = await ask(engine, *[step(i) for i in range(1000)], *[step("x" * 40_000) for _ in range(5)])
        assert len(answers(ends)) == 1005
        assert emulator.counters.lines == 1005
        assert emulator.counters.batches >= 6


@pytest.mark.parametrize("limit", [{"max_file_size": 100_000}, {"max_requests_per_file": 30}])
async def test_a_server_with_smaller_limits_gets_halves(limit: dict[str, int]) -> None:
    with (
        Emulator(**limit) as emulator,  # type: ignore[arg-type]
        Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine,
    ):
        ends = await ask(engine, *[step("x" * 2000) for _ in range(100)])
        assert len(answers(ends)) == 100
        assert emulator.counters.lines == 100
        assert emulator.counters.batches >= 2


# Lines that go wrong.


@pytest.mark.parametrize("code", [400, 402])
async def test_a_failed_line_is_one_callers_problem(code: int, engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("fail_line", code=code, match="<3>", message="that one is bad")
    ends = await ask(engine, *[step(f"<{i}>") for i in range(10)])

    assert len(answers(ends)) == 9
    (error,) = errors(ends)
    assert isinstance(error, {400: BadRequest, 402: InsufficientCredits}[code])
    assert error.status == code
    assert emulator.counters.lines == 10


@pytest.mark.parametrize("code", [429, 500])
async def test_lines_that_failed_for_a_passing_cause_are_submitted_again_alone(
    code: int, engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("fail_line", code=code, match="<3>", times=1)
    emulator.faults.add("fail_line", code=code, match="<7>", times=2)
    ends = await ask(engine, *[step(f"<{i}>") for i in range(10)])

    assert len(answers(ends)) == 10
    assert emulator.counters.lines == 10 + 2 + 1
    assert engine.receipt().resubmitted == 3


async def test_a_line_that_keeps_failing_is_given_up_after_two_more_tries(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("fail_line", code=500, match="<3>")
    ends = await ask(engine, *[step(f"<{i}>") for i in range(5)])
    (error,) = errors(ends)
    assert isinstance(error, ServiceFailed)
    assert emulator.counters.lines == 5 + 2


async def test_an_error_inside_the_output_file_is_one_callers_problem(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("inline_error", status=400, match="<3>")
    ends = await ask(engine, *[step(f"<{i}>") for i in range(10)])
    assert len(answers(ends)) == 9
    assert isinstance(errors(ends)[0], BadRequest)


@pytest.mark.parametrize("kind", ["malformed_line", "missing_line"])
async def test_a_line_that_is_not_there_or_unreadable_is_one_callers_problem(
    kind: str, engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add(kind, match="<3>")
    ends = await ask(engine, *[step(f"<{i}>") for i in range(10)])
    assert len(answers(ends)) == 9
    (error,) = errors(ends)
    assert isinstance(error, MalformedAnswer)
    assert "without a readable line" in str(error)


@pytest.mark.parametrize("kind", ["duplicate_line", "unknown_finish_reason"])
async def test_a_line_that_is_merely_odd_is_an_answer(kind: str, engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add(kind, match="<3>")
    ends = await ask(engine, *[step(f"<{i}>") for i in range(10)])
    assert all(f"<{i}>" in text_of(answer.body) for i, answer in enumerate(answers(ends)))
    assert len(answers(ends)) == 10


async def test_a_line_for_nobody_is_passed_over(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("unknown_custom_id", match="<3>")
    ends = await ask(engine, *[step(f"<{i}>") for i in range(10)])
    assert len(answers(ends)) >= 9
    assert all(isinstance(error, MalformedAnswer) for error in errors(ends))


async def test_a_line_that_the_upload_blames_fails_alone(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("status", route=UPLOAD, status=400, message="Line 4: custom_id is odd", times=1)
    ends = await ask(engine, *[step(f"<{i}>") for i in range(10)])
    assert isinstance(ends[3], BadRequest)
    assert len(answers(ends)) == 9


# Batches that end badly.


@pytest.mark.parametrize(
    ("kind", "error"),
    [("batch_expired", StepExpired), ("batch_cancelled", StepCancelled)],
)
async def test_what_was_finished_before_the_batch_ended_is_delivered(
    kind: str, error: type[StepError], engine: Engine, emulator: Emulator
) -> None:
    if kind == "batch_expired" and emulator.profile == "doubleword":
        pytest.skip("there `expired` is never a status: unfinished lines are run after the deadline")
    emulator.faults.add(kind, share=0.5)
    ends = await ask(engine, *[step(i) for i in range(10)])
    assert len(answers(ends)) == 5
    assert all(isinstance(one, error) for one in errors(ends))


async def test_a_failed_batch_gives_every_caller_the_reason(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("batch_failed", share=0.0)
    ends = await ask(engine, *[step(i, max_retries=0) for i in range(10)])
    assert len(errors(ends)) == 10


async def test_a_batch_that_completed_without_a_file_ends_every_caller(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("no_output_file")
    ends = await ask(engine, *[step(i) for i in range(5)])
    assert all(isinstance(one, MalformedAnswer) for one in errors(ends))
    assert len(errors(ends)) == 5


async def test_a_batch_over_the_token_limit_is_tried_again_later() -> None:
    with (
        Emulator(profile="openai") as emulator,
        Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=QUICK) as engine,
    ):
        emulator.enqueued_token_limit = 1
        (end,) = await ask(engine, step("a long text " * 100, max_retries=0))
        assert isinstance(end, RateLimited)
        assert "token" in str(end)


async def test_an_openai_batch_with_a_bad_line_blames_that_line_and_sends_the_others_again() -> None:
    with Emulator() as emulator, Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
        (end,) = await ask(engine, step(completion_window="48h"))
        assert isinstance(end, BadRequest)
        assert "24h, 1h" in str(end)


async def test_no_balance_is_raised_at_once() -> None:
    from dw_agents.emulator import Account

    with (
        Emulator(api_keys=(Account("k", in_debt=True),)) as emulator,
        Engine(api_key="k", base_url=emulator.base_url) as engine,
    ):
        (end,) = await ask(engine, step())
        assert isinstance(end, InsufficientCredits)
        assert emulator.counters[CREATE] == 1


# Requests that go wrong.


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", route=DOWNLOAD, status=500, times=2),
        Fault("status", route=DOWNLOAD, status=429, times=2, retry_after=0.05),
        Fault("reset_body", route=DOWNLOAD, times=2),
        Fault("lost_reply", route=DOWNLOAD, times=2),
        Fault("paged_download", page=7),
        Fault("status", route=POLL, status=500, times=2),
        Fault("status", route=POLL, status=429, times=1, retry_after=0.05),
        Fault("lost_request", route=POLL, times=2),
        Fault("garbage", route=POLL, times=2),
        Fault("status", route=UPLOAD, status=429, times=2, retry_after=0.05),
        Fault("status", route=UPLOAD, status=503, times=1),
        Fault("lost_request", route=UPLOAD, times=1),
        Fault("lost_reply", route=UPLOAD, times=1),
        Fault("status", route=CREATE, status=429, times=2, retry_after=0.05),
        Fault("lost_reply", route=CREATE, times=1),
        Fault("reset_body", route=CREATE, times=1),
        Fault("status", route=CREATE, status=500, times=1),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.route}-{fault.status}",
)
async def test_whatever_happens_to_a_request_each_line_is_run_once_and_every_caller_answered(
    fault: Fault, engine: Engine, emulator: Emulator
) -> None:
    emulator.set_faults(fault)
    ends = await ask(engine, *[step(f"<{i}>") for i in range(20)])

    assert errors(ends) == []
    assert all(f"<{i}>" in text_of(answer.body) for i, answer in enumerate(answers(ends)))
    assert emulator.counters.batches == 1
    assert emulator.counters.lines == 20
    assert engine.receipt().possible_duplicates == 0


async def test_a_creation_without_a_reply_is_found_in_a_list_that_lags_behind() -> None:
    with (
        Emulator(visible_after=0.4) as emulator,
        Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=QUICK) as engine,
    ):
        emulator.faults.add("lost_reply", route=CREATE, times=1)
        ends = await ask(engine, *[step(i) for i in range(5)])
        assert len(answers(ends)) == 5
        assert emulator.counters.batches == 1


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationFailed), (404, StepLost)])
async def test_polls_that_are_refused_for_ever_end_every_caller(
    status: int, error: type[StepError], engine: Engine, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw_agents.routes.reader.VISIBLE_WITHIN", 0.2)
    emulator.faults.add("status", route=POLL, status=status)
    ends = await ask(engine, *[step(i) for i in range(5)])
    assert len(errors(ends)) == 5
    assert all(isinstance(one, error) for one in errors(ends))


async def test_a_download_that_is_refused_ends_every_caller_with_the_reason(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("status", route=DOWNLOAD, status=401)
    ends = await ask(engine, *[step(i) for i in range(5)])
    assert len(errors(ends)) == 5
    assert all(isinstance(one, AuthenticationFailed) for one in errors(ends))


async def test_a_service_that_stays_away_ends_every_caller(free_address: str) -> None:
    with Engine(api_key="k", base_url=free_address, retries=QUICK) as engine:
        ends = await ask(engine, *[step(i) for i in range(5)])
        assert all(isinstance(one, ServiceUnreachable) for one in errors(ends))
        assert len(errors(ends)) == 5


async def test_an_upload_that_is_pushed_back_delays_only_itself(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("status", route=UPLOAD, status=429, retry_after=1.0, times=1)
    slow = engine.submit(step("slow"))
    assert await asyncio.to_thread(eventually, lambda: emulator.counters[UPLOAD] == 1)
    started = time.monotonic()
    await engine.arun(step("other", body={"model": "Qwen/Qwen3.5-9B"}))
    assert time.monotonic() - started < 0.9
    assert not slow.done()
    await slow


# Callers who leave.


@pytest.fixture
def endless() -> Iterator[Emulator]:
    with Emulator(batch_latency=3600.0) as running:
        yield running


async def test_who_leaves_before_the_upload_is_not_in_it(engine: Engine, emulator: Emulator) -> None:
    tickets = [engine.submit(step(f"<{i}>")) for i in range(10)]
    for ticket in tickets[:9]:
        ticket.cancel()
    await tickets[9]
    assert emulator.counters.lines == 1


async def test_when_all_leave_before_the_upload_nothing_is_sent(engine: Engine, emulator: Emulator) -> None:
    for ticket in [engine.submit(step(i)) for i in range(10)]:
        ticket.cancel()
    await asyncio.sleep(0.5)
    assert emulator.counters.requests == 0


async def test_when_the_last_caller_leaves_the_batch_is_cancelled_at_the_service(endless: Emulator) -> None:
    with Engine(api_key=endless.api_key, base_url=endless.base_url) as engine:
        tickets = [engine.submit(step(i)) for i in range(3)]
        assert await asyncio.to_thread(eventually, lambda: len(endless.running()) == 1)
        for ticket in tickets[:2]:
            ticket.cancel()
        await asyncio.sleep(0.3)
        assert len(endless.running()) == 1
        tickets[2].cancel()
        assert await asyncio.to_thread(eventually, lambda: not endless.running())


async def test_who_leaves_during_the_upload_hurts_nobody_else(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("slow", route=UPLOAD, delay=0.5)
    tickets = [engine.submit(step(f"<{i}>")) for i in range(10)]
    assert await asyncio.to_thread(eventually, lambda: tickets[0].status == "submitting")
    tickets[0].cancel()
    tickets[9].cancel()
    for i, ticket in enumerate(tickets[1:9], 1):
        assert f"<{i}>" in text_of((await ticket).body)


async def test_a_batch_whose_callers_are_all_answered_is_not_cancelled(engine: Engine, emulator: Emulator) -> None:
    await ask(engine, *[step(i) for i in range(10)])
    assert emulator.counters[CANCEL] == 0


def test_exit_with_a_batch_in_flight_cancels_it(endless: Emulator) -> None:
    engine = Engine(api_key=endless.api_key, base_url=endless.base_url)
    ticket: Ticket = engine.submit(step())
    assert eventually(lambda: len(endless.running()) == 1)
    engine.close()
    assert endless.running() == []
    with pytest.raises(StepCancelled):
        ticket.result()


async def test_results_are_handed_out_as_they_appear() -> None:
    with (
        Emulator(line_latency=(0.05, 1.5)) as emulator,
        Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine,
    ):
        tickets = [engine.submit(step(f"<{i}>")) for i in range(40)]
        waiting = [asyncio.ensure_future(ticket.wait()) for ticket in tickets]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert sum(ticket.done() for ticket in tickets) < 40
        await asyncio.gather(*waiting)
        assert all(f"<{i}>" in text_of(ticket.result().body) for i, ticket in enumerate(tickets))


async def test_patience_ends_a_batch_that_cannot_be_read(emulator: Emulator) -> None:
    impatient = Retries(wait=tenacity.wait_fixed(0.02), patience=0.3)
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=impatient) as engine:
        emulator.faults.add("lost_request", route=POLL)
        ends = await ask(engine, step(), step("other"))
        assert all(isinstance(one, ServiceUnreachable) for one in errors(ends))
        assert len(errors(ends)) == 2
