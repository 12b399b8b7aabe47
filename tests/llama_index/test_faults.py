"""Faults of the service, through the LLM: nothing lost, nothing sent twice that need not be, the core's own errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from llama_index.core.response_synthesizers import Refine

from dw_agents import (
    AuthenticationFailed,
    InsufficientCredits,
    NotFound,
    PermissionDenied,
    ServiceError,
    ServiceFailed,
)
from dw_agents.emulator import Fault
from llama_index.llms.dw_agents import DoublewordLLM
from llama_index.llms.dw_agents.errors import BadRequest, MissingAPIKey, StepCancelled, StepExpired, SubmissionUnknown
from tests.llama_index.wire import MODEL, bodies, llm_for, posts

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator, MakeLLM

SUBMIT = "POST /responses"
POLL = "GET /responses/{id}"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (401, AuthenticationFailed),
        (402, InsufficientCredits),
        (403, PermissionDenied),
        (404, NotFound),
        (422, BadRequest),
    ],
)
async def test_a_refusal_that_stays_is_raised_at_once_with_the_services_words(
    status: int, error: type[ServiceError], make_llm: MakeLLM, emulator: Emulator
) -> None:
    emulator.faults.add("status", route=SUBMIT, status=status, message="because of reasons")
    with pytest.raises(error, match="because of reasons") as caught:
        await make_llm(label="planner").acomplete("Hi.")
    assert posts(emulator) == 1
    assert (caught.value.status, caught.value.retryable) == (status, False)
    assert "planner" in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", route=POLL, status=500, times=1),
        Fault("status", route=POLL, status=429, times=1, retry_after=0.05),
        Fault("lost_reply", route=POLL, times=1),
        Fault("garbage", route=POLL, times=1),
        Fault("status", route=SUBMIT, status=429, times=1, retry_after=0.05),
        Fault("status", route=SUBMIT, status=503, times=1, retry_after=0.05),
        Fault("reset_body", route=SUBMIT, times=1),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.route}",
)
async def test_whatever_passes_is_waited_for_and_paid_once(fault: Fault, make_llm: MakeLLM, emulator: Emulator) -> None:
    emulator.set_faults(fault)
    assert "Hi." in (await make_llm(on_unknown="raise").acomplete("Hi.")).text
    assert emulator.counters.accepted == 1


def test_a_lost_reply_is_sent_once_more_unless_the_user_says_otherwise(emulator: Emulator, llm: DoublewordLLM) -> None:
    emulator.faults.add("lost_reply", route=SUBMIT, times=1)
    assert llm.complete("Hi.").text
    assert posts(emulator) == 2
    assert llm.engine.receipt().possible_duplicates == 1
    emulator.faults.add("lost_reply", route=SUBMIT)
    with pytest.raises(SubmissionUnknown):
        llm.complete("Another.", on_unknown="raise")
    assert posts(emulator) == 3


@pytest.mark.parametrize(
    ("code", "error", "submissions"), [(400, BadRequest, 1), (402, InsufficientCredits, 1), (500, ServiceFailed, 1)]
)
async def test_a_job_that_fails_is_submitted_no_more_often_than_asked(
    code: int, error: type[ServiceError], submissions: int, make_llm: MakeLLM, emulator: Emulator
) -> None:
    """No layer of this package or of LlamaIndex multiplies the engine's retries."""
    emulator.faults.add("fail_job", code=code, message="the model said no")
    with pytest.raises(error, match="the model said no"):
        await make_llm(max_retries=0).achat_with_tools([], "Hi.")
    assert posts(emulator) == submissions


async def test_a_service_that_only_fails_is_asked_as_often_as_the_engine_decides(
    emulator: Emulator, llm: DoublewordLLM
) -> None:
    """Where other integrations retry in three layers, with twelve submissions for one call."""
    emulator.faults.add("status", route=SUBMIT, status=500)
    with pytest.raises(SubmissionUnknown):
        await llm.acomplete("Hi.")
    assert posts(emulator) == 2


async def test_an_expired_batch_is_an_error_and_no_empty_message(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(profile="openai")  # there a batch may expire
    emulator.faults.add("batch_expired", share=0.0)
    with pytest.raises(StepExpired):
        await llm_for(emulator, service_tier="batch", max_retries=0).acomplete("Hi.")


async def test_one_bad_line_of_a_batch_is_one_callers_problem(emulator: Emulator, make_llm: MakeLLM) -> None:
    emulator.faults.add("fail_line", code=400, match="number 7")
    llm = make_llm(service_tier="batch")
    answers = await asyncio.gather(*(llm.acomplete(f"number {n}") for n in range(10)), return_exceptions=True)
    failed = [n for n, answer in enumerate(answers) if isinstance(answer, BadRequest)]
    assert failed == [7]
    assert all(
        f"number {n}" in answer.text for n, answer in enumerate(answers) if not isinstance(answer, BaseException)
    )
    assert emulator.counters.snapshot().batches == 1


async def test_a_job_that_the_service_cancels_is_no_empty_answer(emulator: Emulator, llm: DoublewordLLM) -> None:
    emulator.faults.add("cancelled")
    with pytest.raises(StepCancelled, match="at the service"):
        await llm.acomplete("Hi.")


def test_a_query_engine_does_not_answer_without_a_key(emulator: Emulator) -> None:
    """LlamaIndex takes a ``ValueError`` for a bad answer of the model, and says "Empty Response"."""
    keyless = DoublewordLLM(model=MODEL, base_url=emulator.base_url)
    with pytest.raises(MissingAPIKey):
        Refine(llm=keyless).get_response("Where is Oslo?", ["In Norway."])


async def test_openais_own_api_is_served_as_well(make_emulator: MakeEmulator) -> None:
    """There a cut answer is ``incomplete``."""
    emulator = make_emulator(cancel_route="post")
    with pytest.warns(UserWarning, match="cut"):
        answer = await llm_for(emulator, max_tokens=3).acomplete("A long story about many things.")
    assert answer.additional_kwargs["finish_reason"] == "length"
    assert answer.raw is not None
    assert answer.raw["status"] == "incomplete"
    assert bodies(emulator)[0]["background"] is True
