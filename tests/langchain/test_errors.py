"""Errors: LangChain's classes and ours in one, and retry layers above the engine that multiply nothing."""

from __future__ import annotations

import inspect
import operator
import pickle
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core import exceptions as langchain
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from dw_agents import errors as core
from langchain_dw_agents import errors
from langchain_dw_agents.errors import in_langchain_terms
from tests.langchain.wire import Says, model_for, posts

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeEmulator, MakeModel

CORE_ERRORS = [
    value
    for value in vars(core).values()
    if inspect.isclass(value)
    and issubclass(value, core.StepError | core.ConfigurationError)
    and value not in {core.StepError, core.ServiceError}
]


@pytest.mark.parametrize("core_class", CORE_ERRORS)
def test_every_error_of_the_core_has_its_langchain_class(core_class: type[Exception]) -> None:
    translated = in_langchain_terms(core_class("what happened"))
    assert type(translated).__name__ == core_class.__name__
    assert isinstance(translated, core_class)
    assert isinstance(translated, langchain.ModelError)
    assert str(translated) == "what happened"


@pytest.mark.parametrize("core_class", CORE_ERRORS)
def test_both_words_for_retryable_agree(core_class: type[Exception]) -> None:
    translated: Any = in_langchain_terms(core_class("what happened"))
    retryable = getattr(core_class, "retryable", False)
    assert translated.is_retryable is retryable
    assert isinstance(translated, errors.RETRYABLE) is retryable


@pytest.mark.parametrize(
    ("core_error", "langchain_class"),
    [
        (core.MissingAPIKey("x", field="api_key"), langchain.ModelAuthenticationError),
        (core.InvalidStep("x", field="n"), langchain.ModelInvalidRequestError),
        (core.ServiceUnreachable("x"), langchain.ModelConnectionError),
        (core.DeadlineExceeded("x"), langchain.ModelTimeoutError),
        (core.BadRequest("x", status=400), langchain.ModelInvalidRequestError),
        (core.AuthenticationFailed("x", status=401), langchain.ModelAuthenticationError),
        (core.PermissionDenied("x", status=403), langchain.ModelPermissionDeniedError),
        (core.NotFound("x", status=404), langchain.ModelNotFoundError),
        (core.RateLimited("x", status=429), langchain.ModelRateLimitError),
        (core.ServiceFailed("x", status=500), langchain.ModelAPIError),
        (core.BadRequest("maximum context length is 10 tokens", status=400), langchain.ContextOverflowError),
    ],
)
def test_each_condition_has_langchains_word_for_it(
    core_error: core.DwAgentsError, langchain_class: type[Exception]
) -> None:
    translated = in_langchain_terms(core_error)
    assert isinstance(translated, langchain_class)
    assert translated.__dict__ == core_error.__dict__


def test_other_errors_stay_what_they_are() -> None:
    for error in (ValueError("x"), core.EngineClosed("x")):
        assert in_langchain_terms(error) is error
    once = in_langchain_terms(core.RateLimited("x"))
    assert in_langchain_terms(once) is once


def test_an_error_survives_pickling() -> None:
    error = in_langchain_terms(core.InvalidStep("no such tier", field="service_tier"))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.field) == (errors.InvalidStep, "no such tier", "service_tier")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, errors.AuthenticationFailed), (402, errors.InsufficientCredits), (403, errors.PermissionDenied)],
)
async def test_what_only_a_human_can_mend_is_asked_once(
    emulator: Emulator, make_model: MakeModel, status: int, expected: type[Exception]
) -> None:
    """Neither the engine, nor ``with_retry``, nor LangGraph's policy asks again."""
    emulator.faults.add("status", status=status, route="POST /responses")
    llm = make_model()
    with pytest.raises(expected):
        llm.invoke("Hi.")
    assert posts(emulator) == 1
    with pytest.raises(expected):
        await llm.with_retry().ainvoke("Hi.")
    assert posts(emulator) == 2
    with pytest.raises(expected):
        await retried_graph(llm).ainvoke({"said": []})
    assert posts(emulator) == 3


@pytest.mark.parametrize(
    ("code", "expected"),
    [(400, errors.BadRequest), (402, errors.InsufficientCredits)],
)
def test_a_job_that_failed_for_good_is_one_submission(
    emulator: Emulator, llm: ChatDoubleword, code: int, expected: type[Exception]
) -> None:
    emulator.faults.add("fail_job", code=code)
    with pytest.raises(expected) as caught:
        llm.with_retry().invoke("Hi.")
    assert caught.value.ticket.response_id == emulator.jobs[0].id  # type: ignore[attr-defined]
    assert posts(emulator) == 1


def test_retries_above_the_engine_add_to_its_own_and_do_not_multiply_them(
    emulator: Emulator, make_model: MakeModel
) -> None:
    emulator.faults.add("fail_job", code=500)
    with pytest.raises(errors.ServiceFailed):
        make_model().invoke("Hi.")
    alone = posts(emulator)
    with pytest.raises(errors.ServiceFailed):
        make_model().with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke("Hi.")
    assert posts(emulator) - alone <= alone + 2


def test_a_service_that_cannot_be_reached_is_a_connection_error() -> None:
    from langchain_dw_agents import ChatDoubleword

    llm = ChatDoubleword(model="m", api_key="k", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(errors.ServiceUnreachable) as caught:
        llm.invoke("Hi.")
    assert isinstance(caught.value, ConnectionError)
    llm.engine.close()


@pytest.mark.parametrize("on_unknown", ["raise", "resend"])
def test_a_lost_reply_is_sent_again_once_or_never(emulator: Emulator, make_model: MakeModel, on_unknown: Any) -> None:
    emulator.faults.add("lost_reply", route="POST /responses", times=1)
    llm = make_model(on_unknown=on_unknown)
    if on_unknown == "raise":
        with pytest.raises(errors.SubmissionUnknown):
            llm.with_retry().invoke("Hi.")
    else:
        assert llm.with_retry().invoke("Hi.").text
    assert posts(emulator) == {"raise": 1, "resend": 2}[on_unknown]


def test_with_retry_asks_again_after_a_passing_error(emulator: Emulator, make_model: MakeModel) -> None:
    emulator.faults.add("status", status=429, route="POST /responses", times=1)
    llm = make_model(max_retries=0)
    patient = llm.with_retry(wait_exponential_jitter=False)
    assert patient.invoke("Hi.").text
    assert posts(emulator) == 2
    assert emulator.counters.snapshot().accepted == 1


def test_with_retry_on_a_bound_model_has_the_same_default(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.faults.add("status", status=403, route="POST /responses")
    with pytest.raises(errors.PermissionDenied):
        llm.bind(max_tokens=5).with_retry(wait_exponential_jitter=False).invoke("Hi.")
    assert posts(emulator) == 1


def test_with_retry_does_what_it_is_told(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.faults.add("status", status=403, route="POST /responses")
    stubborn = llm.with_retry(
        retry_if_exception_type=(PermissionError,), stop_after_attempt=2, wait_exponential_jitter=False
    )
    with pytest.raises(PermissionError):
        stubborn.invoke("Hi.")
    assert posts(emulator) == 2


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def retried_graph(llm: ChatDoubleword) -> Any:
    async def say(_: State) -> dict[str, list[str]]:
        return {"said": [str((await llm.ainvoke("Hi.")).text)]}

    graph = StateGraph(State)
    graph.add_node(
        "say", cast("Any", say), retry_policy=RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=3)
    )
    graph.add_edge(START, "say")
    graph.add_edge("say", END)
    return graph.compile()


async def test_langgraphs_retry_policy_retries_what_may_pass(emulator: Emulator, make_model: MakeModel) -> None:
    emulator.faults.add("status", status=429, route="POST /responses", times=2)
    state = await retried_graph(make_model(max_retries=0)).ainvoke({"said": []})
    assert state["said"][0]
    assert posts(emulator) == 3
    assert emulator.counters.snapshot().accepted == 1


def test_the_retry_middleware_of_agents_retries_what_may_pass_only(emulator: Emulator, make_model: MakeModel) -> None:
    middleware: Any = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="error")
    agent: Any = create_agent(make_model(max_retries=0), [], middleware=[middleware])
    emulator.faults.add("status", status=403, route="POST /responses", times=1)
    with pytest.raises(errors.PermissionDenied):
        agent.invoke({"messages": [("user", "Hi.")]})
    assert posts(emulator) == 1
    emulator.faults.add("status", status=429, route="POST /responses", times=1)
    agent.invoke({"messages": [("user", "Hi.")]})
    assert posts(emulator) == 3


def test_fallbacks_take_over(emulator: Emulator, make_model: MakeModel) -> None:
    emulator.faults.add("status", status=404, route="POST /responses", match="no-such-model")
    answer = make_model(model="no-such-model").with_fallbacks([make_model()]).invoke("Hi.")
    assert answer.response_metadata["model_name"] == "Qwen/Qwen3.5-9B"


def test_a_prompt_longer_than_the_window_is_told_apart(emulator: Emulator, llm: ChatDoubleword) -> None:
    """Summarising middlewares wait for this very error."""
    from dw_agents.emulator import UpstreamError

    class Narrow(Says):
        async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
            raise UpstreamError(400, "This model's maximum context length is 8 tokens.")

    from dw_agents import Engine
    from dw_agents.emulator import Emulator

    with Emulator(backend=Narrow({"content": ""})) as narrow:
        with pytest.raises(langchain.ContextOverflowError):
            model_for(narrow).invoke("Hi.")
        Engine.shared(api_key=narrow.api_key, base_url=narrow.base_url).close()


def test_an_answer_that_cannot_be_read_says_so(make_emulator: MakeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    from dw_agents import Answer

    llm = model_for(make_emulator())
    monkeypatch.setattr(Answer, "body", {"id": "resp_1", "object": "response", "output": None})
    with pytest.raises(errors.MalformedAnswer, match="resp_1"):
        llm.invoke("Hi.")
    monkeypatch.setattr(Answer, "body", {"id": "resp_1", "output": [{"type": "function_call", "call_id": "c"}]})
    with pytest.raises(errors.MalformedAnswer, match="resp_1") as caught:
        llm.invoke("Hi.")
    assert caught.value.ticket is not None
