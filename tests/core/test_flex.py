"""The flex route over HTTP: answers, and every way in which a step can go wrong, each with its exact count of POSTs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import tenacity

from dw_agents import (
    AuthenticationFailed,
    BadRequest,
    DeadlineExceeded,
    Engine,
    InsufficientCredits,
    MalformedAnswer,
    NotFound,
    PermissionDenied,
    RateLimited,
    Retries,
    ServiceError,
    ServiceFailed,
    ServiceUnreachable,
    StepCancelled,
    StepError,
    StepLost,
    SubmissionUnknown,
)
from dw_agents.emulator import Emulator, Fault
from tests.core.conftest import QUICK
from tests.core.steps import POLL, SUBMIT, eventually, posts, step, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator


async def test_an_answer_is_the_services_response_as_it_came(engine: Engine, emulator: Emulator) -> None:
    answer = await engine.arun(step("tell me"))

    assert answer.body["object"] == "response"
    assert "tell me" in text_of(answer.body)
    assert answer.body["id"] == answer.ticket.response_id
    assert answer.usage == answer.body["usage"]
    assert not answer.truncated
    assert (answer.ticket.status, answer.ticket.posts, answer.ticket.done()) == ("completed", 1, True)
    stored = emulator.counters.snapshot()
    assert (stored.flex, stored.realtime, stored[SUBMIT]) == (1, 0, 1)


async def test_the_body_travels_untouched(engine: Engine, emulator: Emulator) -> None:
    schema = {"type": "object", "properties": {"ä": {"type": "number", "default": 1e-7}}, "required": []}
    body = {"tools": [{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": False}]}
    await engine.arun(step("x", body=body))

    import msgspec

    sent = msgspec.json.decode(emulator.requests[0].body)
    assert sent == {**step("x", body=body).body, "service_tier": "flex", "background": True}


async def test_two_thousand_steps_at_once_are_each_sent_once_and_answered(engine: Engine, emulator: Emulator) -> None:
    answers = await asyncio.gather(*[engine.arun(step(f"number {i}")) for i in range(2000)])

    assert all(f"number {i}" in text_of(answer.body) for i, answer in enumerate(answers))
    assert emulator.counters.accepted == posts(emulator) == 2000


async def test_the_first_answers_arrive_while_later_steps_are_still_being_sent(emulator: Emulator) -> None:
    emulator.faults.add("slow", route=SUBMIT, delay=0.05)
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
        tickets = [engine.submit(step(i)) for i in range(400)]
        await asyncio.wait([asyncio.ensure_future(t.wait()) for t in tickets], return_when=asyncio.FIRST_COMPLETED)
        assert sum(ticket.status == "waiting" for ticket in tickets) > 0


async def test_the_background_tier_travels_like_flex(engine: Engine, emulator: Emulator) -> None:
    from dw_agents.emulator import Account

    with Emulator(api_keys=(Account("k", background_role=True),)) as other:
        with Engine(api_key="k", base_url=other.base_url) as privileged:
            await privileged.arun(step(service_tier="background"))
        assert other.counters.background == 1
    with pytest.raises(PermissionDenied):
        await engine.arun(step(service_tier="background"))
    assert emulator.counters.accepted == 0


async def test_an_answer_as_long_as_the_limit_counts_as_truncated(engine: Engine) -> None:
    answer = await engine.arun(step("a long story about many things", body={"max_output_tokens": 3}))
    assert answer.truncated
    assert answer.body["status"] == "completed", "the service does not say so itself"


@pytest.mark.parametrize("kind", ["omit_usage", "omit_usage_details"])
async def test_usage_may_be_partial_or_missing(kind: str, engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add(kind)
    answer = await engine.arun(step())
    assert (answer.usage is None) == (kind == "omit_usage")
    assert engine.receipt().steps == 1


async def test_an_openai_server_is_served_by_the_same_route() -> None:
    with (
        Emulator(cancel_route="post", latency=0.1) as openai,
        Engine(api_key=openai.api_key, base_url=openai.base_url) as engine,
    ):
        answer = await engine.arun(step("a long story about many things", body={"max_output_tokens": 3}))
        assert answer.body["status"] == "incomplete"
        assert answer.truncated


# Faults of the submission.


async def test_a_lost_reply_is_sent_once_more_and_counted_as_a_possible_duplicate(
    engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("lost_reply", route=SUBMIT, times=1)
    answer = await engine.arun(step())

    assert posts(emulator) == 2
    assert emulator.counters.accepted == 2
    assert answer.ticket.possible_duplicates == 1
    assert engine.receipt().possible_duplicates == 1


async def test_a_reply_lost_twice_is_never_sent_a_third_time(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("lost_reply", route=SUBMIT)
    with pytest.raises(SubmissionUnknown, match="sent twice") as caught:
        await engine.arun(step())
    assert posts(emulator) == 2
    assert caught.value.ticket is not None
    assert caught.value.ticket.possible_duplicates == 2


async def test_asking_again_after_an_unknown_submission_sends_nothing(careful: Engine, emulator: Emulator) -> None:
    emulator.faults.add("lost_reply", route=SUBMIT)
    for _ in range(3):
        with pytest.raises(SubmissionUnknown):
            await careful.arun(step())
    assert posts(emulator) == 1

    emulator.faults.clear()
    await careful.arun(step(on_unknown="resend"))
    assert posts(emulator) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("lost_reply", route=SUBMIT),
        Fault("lost_request", route=SUBMIT),
        Fault("status", route=SUBMIT, status=500),
        Fault("status", route=SUBMIT, status=502),
        Fault("status", route=SUBMIT, status=504),
        Fault("garbage", route=SUBMIT),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_whatever_may_have_been_accepted_is_sent_once_when_the_user_says_raise(
    fault: Fault, careful: Engine, emulator: Emulator
) -> None:
    emulator.set_faults(fault)
    with pytest.raises(SubmissionUnknown, match="on_unknown"):
        await careful.arun(step())
    assert posts(emulator) == 1


async def test_a_reply_that_breaks_off_after_the_id_loses_nothing(careful: Engine, emulator: Emulator) -> None:
    emulator.faults.add("reset_body", route=SUBMIT, times=1)
    answer = await careful.arun(step())
    assert posts(emulator) == emulator.counters.accepted == 1
    assert answer.ticket.possible_duplicates == 0


async def test_a_reply_that_proves_that_nothing_was_stored_is_not_ambiguous(
    careful: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("status", route=SUBMIT, status=500, message="Failed to enqueue request", times=2)
    await careful.arun(step())
    assert posts(emulator) == 3
    assert emulator.counters.accepted == 1
    assert careful.receipt().possible_duplicates == 0


async def test_a_refused_connection_is_tried_again_and_then_ends_every_waiting_step(free_address: str) -> None:
    with Engine(api_key="k", base_url=free_address, retries=QUICK) as engine:
        tickets = [engine.submit(step(i)) for i in range(100)]
        for ticket in tickets:
            with pytest.raises(ServiceUnreachable, match="nothing was accepted or paid"):
                await ticket
        receipt = engine.receipt()
        assert receipt.possible_duplicates == 0
        assert receipt.requests["submit"] <= 100 + 4


async def test_a_service_that_comes_back_is_noticed(free_address: str) -> None:
    port = int(free_address.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
    patient = Retries(wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_attempt(20))
    with Engine(api_key="dw-test-key", base_url=free_address, retries=patient) as engine:
        tickets = [engine.submit(step(i)) for i in range(50)]
        impatient = engine.submit(step(max_retries=0))
        with pytest.raises(ServiceUnreachable, match="after 1 try"):
            await impatient
        assert eventually(lambda: engine.receipt().requests.get("submit", 0) > 0)
        with Emulator(port=port) as emulator:
            for ticket in tickets:
                await ticket
            assert emulator.counters.accepted == 50


async def test_two_accepted_a_second_answer_all_of_two_hundred(emulator: Emulator, engine: Engine) -> None:
    emulator.faults.rate_limit(40.0, retry_after=0.05, burst=2)
    answers = await asyncio.gather(*[engine.arun(step(i)) for i in range(200)])
    assert len(answers) == emulator.counters.accepted == 200
    assert posts(emulator) <= 1000


async def test_a_429_without_retry_after_is_waited_for_as_well(emulator: Emulator, engine: Engine) -> None:
    emulator.faults.add("status", route=SUBMIT, status=429, times=1)
    await engine.arun(step())
    assert posts(emulator) == 2
    assert engine.receipt().possible_duplicates == 0


async def test_a_service_that_pushes_back_for_longer_than_patience_is_given_up(emulator: Emulator) -> None:
    emulator.faults.add("status", route=SUBMIT, status=429, retry_after=0.01)
    impatient = Retries(patience=0.2)
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=impatient) as engine:
        with pytest.raises(RateLimited) as caught:
            await engine.arun(step())
        assert caught.value.status == 429
        assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (401, AuthenticationFailed),
        (402, InsufficientCredits),
        (403, PermissionDenied),
        (404, NotFound),
        (413, BadRequest),
        (422, BadRequest),
    ],
)
async def test_a_refusal_that_stays_is_raised_at_once_with_the_services_words(
    status: int, error: type[ServiceError], engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("status", route=SUBMIT, status=status, message="because of reasons")
    with pytest.raises(error, match="because of reasons") as caught:
        await engine.arun(step(label="planner"))
    assert posts(emulator) == 1
    assert caught.value.status == status
    assert "planner" in str(caught.value)
    assert caught.value.ticket is not None
    assert not caught.value.retryable


async def test_a_wrong_key_is_refused_by_the_service_and_never_shown(emulator: Emulator) -> None:
    with (
        Engine(api_key="sk-wrong-key", base_url=emulator.base_url) as engine,
        pytest.raises(PermissionDenied, match="Invalid API key") as caught,
    ):
        await engine.arun(step())
    assert "sk-wrong-key" not in f"{caught.value} {caught.value.ticket!r} {engine!r}"


async def test_a_model_that_does_not_exist_is_named(emulator: Emulator) -> None:
    with (
        Emulator(models=("Qwen/Qwen3.5-9B",)) as strict,
        Engine(api_key=strict.api_key, base_url=strict.base_url) as engine,
        pytest.raises(PermissionDenied, match="Qwen/Qwen3"),
    ):
        await engine.arun(step())


# Faults of the polls.


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", route=POLL, status=500, times=5),
        Fault("status", route=POLL, status=503, times=2, retry_after=0.05),
        Fault("status", route=POLL, status=429, times=2, retry_after=0.05),
        Fault("status", route=POLL, status=408, times=5),
        Fault("lost_request", route=POLL, times=5),
        Fault("lost_reply", route=POLL, times=5),
        Fault("reset_body", route=POLL, times=5),
        Fault("garbage", route=POLL, times=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_whatever_happens_to_a_poll_the_step_is_neither_lost_nor_sent_again(
    fault: Fault, careful: Engine, emulator: Emulator
) -> None:
    emulator.set_faults(fault)
    await careful.arun(step())
    assert posts(emulator) == emulator.counters.accepted == 1


async def test_a_job_that_is_not_visible_for_a_second_is_waited_for() -> None:
    with (
        Emulator(visible_after=1.0) as emulator,
        Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine,
    ):
        await engine.arun(step())
        assert posts(emulator) == 1
        assert emulator.counters.statuses[404] > 0


async def test_a_job_that_the_service_forgot_is_an_error_that_says_so(
    engine: Engine, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw_agents.routes.poller.VISIBLE_WITHIN", 0.3)
    emulator.faults.add("status", route=POLL, status=404)
    with pytest.raises(StepLost, match="accepted"):
        await engine.arun(step())


async def test_a_poll_that_is_refused_for_good_keeps_the_job_for_who_asks_again(
    engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("status", route=POLL, status=401, times=1)
    with pytest.raises(AuthenticationFailed):
        await engine.arun(step("again"))

    answer = await engine.arun(step("again"))
    assert "again" in text_of(answer.body)
    assert posts(emulator) == emulator.counters.accepted == 1
    assert engine.receipt().reattached == 1


async def test_a_service_that_stays_away_while_polling_ends_the_wait_and_keeps_the_job(emulator: Emulator) -> None:
    impatient = Retries(wait=tenacity.wait_fixed(0.02), patience=0.3)
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=impatient) as engine:
        emulator.faults.add("lost_request", route=POLL)
        with pytest.raises(ServiceUnreachable, match="The job goes on"):
            await engine.arun(step("patience"))
        emulator.faults.clear()
        await engine.arun(step("patience"))
    assert posts(emulator) == 1


async def test_an_answer_that_stays_unreadable_is_malformed_and_not_paid_again(
    engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("garbage", route=POLL)
    with pytest.raises(MalformedAnswer, match="no Response"):
        await engine.arun(step())
    emulator.faults.clear()
    await engine.arun(step())
    assert posts(emulator) == 1


# Jobs that fail.


@pytest.mark.parametrize(
    ("code", "error", "submissions"),
    [
        (400, BadRequest, 1),
        (402, InsufficientCredits, 1),
        (403, PermissionDenied, 1),
        (429, RateLimited, 3),
        (500, ServiceFailed, 3),
        (None, ServiceFailed, 3),
    ],
)
async def test_a_job_that_fails_is_submitted_again_only_for_a_passing_cause_and_at_most_twice(
    code: int | None, error: type[ServiceError], submissions: int, engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("fail_job", code=code, message="the model said no")
    with pytest.raises(error) as caught:
        await engine.arun(step())
    assert posts(emulator) == submissions
    assert caught.value.status == code
    assert "the model said no" in str(caught.value) or code is None
    assert caught.value.ticket is not None
    assert caught.value.ticket.response_id is not None


async def test_a_job_that_fails_once_for_a_passing_cause_is_answered_by_its_second_submission(
    engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("fail_job", code=500, times=1)
    await engine.arun(step())
    assert posts(emulator) == 2
    assert engine.receipt().resubmitted == 1
    assert engine.receipt().possible_duplicates == 0


async def test_a_retry_around_the_engine_adds_one_submission_each_instead_of_another_round(
    engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("fail_job", code=500)
    for _ in range(3):
        with pytest.raises(ServiceFailed):
            await engine.arun(step())
    assert posts(emulator) == 3 + 1 + 1


async def test_a_steps_own_max_retries_of_zero_turns_resubmission_off(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("fail_job", code=500)
    with pytest.raises(ServiceFailed):
        await engine.arun(step(max_retries=0))
    assert posts(emulator) == 1


async def test_a_job_that_the_service_cancels_is_no_empty_answer(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("cancelled")
    with pytest.raises(StepCancelled, match="at the service"):
        await engine.arun(step())


async def test_a_malformed_body_is_accepted_by_the_service_and_fails_with_its_reason(
    engine: Engine, emulator: Emulator
) -> None:
    bad = {"input": [{"role": "user", "content": [{"type": "text", "text": "chat style"}]}]}
    with pytest.raises(BadRequest, match="invalid OpenAI Responses request"):
        await engine.arun(step(body=bad))
    assert posts(emulator) == 1


# Time limits.


@pytest.fixture
def slow() -> Iterator[Emulator]:
    with Emulator(latency=60.0) as emulator:
        yield emulator


async def test_a_deadline_cancels_the_step_at_the_service(slow: Emulator) -> None:
    with Engine(api_key=slow.api_key, base_url=slow.base_url) as engine:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within timeout=0\.3"):
            await engine.arun(step(timeout=0.3))
        assert time.monotonic() - started < 5
        assert eventually(lambda: not slow.running())
        assert engine.receipt().lines["Qwen/Qwen3.5-35B-A3B-FP8", "flex"].failed == 1


async def test_every_error_of_a_step_names_the_step_and_says_what_to_do(slow: Emulator) -> None:
    with Engine(api_key=slow.api_key, base_url=slow.base_url) as engine:
        ticket = engine.submit(step(label="critic"))
        ticket.cancel()
        with pytest.raises(StepError, match="critic"):
            await ticket


def test_submit_never_waits_for_the_network(slow: Emulator) -> None:
    slow.faults.add("stall", route=SUBMIT)
    with Engine(api_key=slow.api_key, base_url=slow.base_url) as engine:
        tickets = [engine.submit(step(i)) for i in range(1000)]
        assert not any(ticket.done() for ticket in tickets)
        slow.faults.clear()
        engine.close(timeout=0.2)
