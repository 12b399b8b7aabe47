"""What goes wrong is raised as the SDK's own classes with our ticket on them; the SDK never submits a call again."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import openai
import pytest

import dw_agents
from dw_agents import errors
from dw_agents.openai import DoublewordWarning
from dw_agents.openai.errors import InternalError, in_openai_terms
from dw_agents.openai.family import family
from tests.openai_clients.support import EMBEDDING_MODEL, HELLO, KINDS, MODEL, Kind, result

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents import Engine
    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeClient

CREATE: dict[str, Callable[..., Any]] = {
    "chat": lambda client, **said: client.chat.completions.create(model=MODEL, messages=HELLO, **said),
    "responses": lambda client, **said: client.responses.create(model=MODEL, input="hello", **said),
    "responses, streamed": lambda client, **said: client.responses.create(
        model=MODEL, input="hello", stream=True, **said
    ),
}
STATUSES = [
    (400, openai.BadRequestError, errors.BadRequest),
    (401, openai.AuthenticationError, errors.AuthenticationFailed),
    (402, openai.APIStatusError, errors.InsufficientCredits),
    (403, openai.PermissionDeniedError, errors.PermissionDenied),
    (404, openai.NotFoundError, errors.NotFound),
    (413, openai.APIStatusError, errors.BadRequest),
    (422, openai.UnprocessableEntityError, errors.BadRequest),
]


def is_one(error: BaseException, own_class: type[BaseException]) -> bool:
    """Ask at run time: type checkers hold a class that is both for impossible, for the sake of ``body``."""
    return isinstance(error, own_class)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("create", CREATE)
@pytest.mark.parametrize(("status", "sdk_class", "own_class"), STATUSES[:1] + STATUSES[2:3])
async def test_a_refused_submission_is_raised_as_both_classes_after_one_post(
    emulator: Emulator,
    ours: MakeClient,
    *,
    kind: Kind,
    create: str,
    status: int,
    sdk_class: type[openai.APIStatusError],
    own_class: type[errors.ServiceError],
) -> None:
    emulator.faults.add("status", route="POST /responses", status=status, message="so it is")
    with pytest.raises(sdk_class) as caught:
        await result(CREATE[create](ours(kind)))
    assert is_one(caught.value, own_class)
    error: Any = caught.value
    assert error.ticket.step.model == MODEL
    assert error.status_code == error.response.status_code == error.status == status
    assert error.request.url.path.startswith("/v1/")
    assert error.body["message"] == str(error)
    assert "so it is" in str(error)
    assert "so it is" in error.response.text
    assert emulator.counters["POST /responses"] == 1


@pytest.mark.parametrize(("status", "sdk_class", "own_class"), STATUSES)
async def test_a_failed_job_is_raised_as_both_classes_after_one_post(
    emulator: Emulator,
    ours: MakeClient,
    *,
    status: int,
    sdk_class: type[openai.APIStatusError],
    own_class: type[errors.ServiceError],
) -> None:
    emulator.faults.add("fail_job", code=status, message="so it is")
    with pytest.raises(sdk_class, match="so it is") as caught:
        ours().chat.completions.create(model=MODEL, messages=HELLO)
    assert is_one(caught.value, own_class)
    assert vars(caught.value)["ticket"].response_id == emulator.jobs[0].id
    assert emulator.counters["POST /responses"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("code", "sdk_class", "own_class"),
    [
        (429, openai.RateLimitError, errors.RateLimited),
        (409, openai.ConflictError, errors.ServiceFailed),
        (503, openai.InternalServerError, errors.ServiceFailed),
        (None, openai.InternalServerError, errors.ServiceFailed),
    ],
)
async def test_the_engines_retries_are_the_only_ones(
    emulator: Emulator,
    ours: MakeClient,
    quick: Engine,
    *,
    kind: Kind,
    code: int | None,
    sdk_class: type[openai.APIStatusError],
    own_class: type[errors.ServiceError],
) -> None:
    emulator.faults.add("fail_job", code=code)
    with pytest.raises(sdk_class) as caught:
        await result(ours(kind, engine=quick).chat.completions.create(model=MODEL, messages=HELLO))
    assert is_one(caught.value, own_class)
    assert emulator.counters["POST /responses"] == 3  # the first and the engine's two


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("create", CREATE)
async def test_a_lost_reply_is_never_answered_by_a_submission_of_the_sdks(
    emulator: Emulator, ours: MakeClient, quick: Engine, kind: Kind, create: str
) -> None:
    emulator.faults.add("lost_reply", route="POST /responses")
    client = ours(kind, engine=quick)
    with pytest.raises(openai.APIConnectionError) as caught:
        await result(CREATE[create](client, extra_body={"on_unknown": "raise"}))
    assert isinstance(caught.value, errors.SubmissionUnknown)
    assert caught.value.ticket is not None
    assert caught.value.ticket.possible_duplicates == 1
    assert emulator.counters["POST /responses"] == emulator.counters.accepted == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_no_connection_is_a_connection_error_of_both(ours: MakeClient, quick: Engine, kind: Kind) -> None:
    with dw_agents.Engine(api_key="k", base_url="http://127.0.0.1:9/v1", retries=_retries(quick)) as nowhere:
        client = ours(kind, engine=nowhere)
        with pytest.raises(openai.APIConnectionError) as caught:
            await result(client.responses.create(model=MODEL, input="hello"))
    assert isinstance(caught.value, errors.ServiceUnreachable)
    assert isinstance(caught.value, ConnectionError)


def _retries(_: Engine) -> dw_agents.Retries:
    import tenacity

    return dw_agents.Retries(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(2))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_users_time_limit_is_a_timeout_of_both_and_cancels_the_job(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    emulator.faults.add("slow", route="GET /responses/{id}", delay=30)
    with pytest.raises(openai.APITimeoutError, match=r"timeout=0\.3 s") as caught:
        await result(ours(kind).responses.create(model=MODEL, input="hello", timeout=0.3))
    assert isinstance(caught.value, errors.DeadlineExceeded)
    assert emulator.counters["POST /responses"] == 1


async def test_a_job_that_the_service_cancels_is_an_api_error(emulator: Emulator, ours: MakeClient) -> None:
    emulator.faults.add("cancelled")
    with pytest.raises(openai.APIError) as caught:
        ours().responses.create(model=MODEL, input="hello")
    assert isinstance(caught.value, errors.StepCancelled)
    assert emulator.counters["POST /responses"] == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failed_line_of_a_batch_is_raised_in_the_sdks_terms(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    emulator.faults.add("fail_line", code=400, message="no such form")
    client = ours(kind, service_tier="batch")
    with pytest.raises(openai.BadRequestError, match="no such form"):
        await result(client.chat.completions.create(model=MODEL, messages=HELLO))
    with pytest.raises(openai.BadRequestError, match="no such form"):
        await result(client.embeddings.create(model=EMBEDDING_MODEL, input="a"))
    assert emulator.counters.batches == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_realtime_answer_that_is_lost_is_not_asked_again_by_the_sdk(
    emulator: Emulator, ours: MakeClient, quick: Engine, kind: Kind
) -> None:
    emulator.faults.add("lost_reply", route="POST /chat/completions")
    client = ours(kind, engine=quick, service_tier="priority", on_unknown="raise")
    with pytest.raises(openai.APIConnectionError):
        await result(client.chat.completions.create(model=MODEL, messages=HELLO))
    with pytest.raises(openai.APIConnectionError) as caught:
        await result(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert isinstance(caught.value, errors.SubmissionUnknown)
    assert emulator.counters["POST /chat/completions"] == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("status", "sent"), [(500, 1), (502, 1), (429, 3), (503, 3)])
async def test_the_sdk_repeats_a_realtime_stream_only_where_it_was_surely_not_accepted(
    emulator: Emulator, ours: MakeClient, kind: Kind, status: int, sent: int
) -> None:
    emulator.faults.add("status", status=status, retry_after=0)
    client = ours(kind, service_tier="priority")
    with pytest.raises(openai.APIStatusError):
        await result(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert emulator.counters["POST /chat/completions"] == sent


@pytest.mark.parametrize("kind", KINDS)
async def test_a_defect_of_ours_is_no_reason_for_the_sdk_to_submit_again(
    emulator: Emulator, ours: MakeClient, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr("dw_agents.translate.call.completed_response", lambda *_, **__: 1 / 0)
    with pytest.raises(openai.APIError, match="ZeroDivisionError") as caught:
        await result(ours(kind).responses.create(model=MODEL, input="hello"))
    assert isinstance(caught.value, InternalError)
    assert emulator.counters["POST /responses"] == 1


def _without_output(*_: object, **__: object) -> dict[str, Any]:
    raise KeyError("output")


async def test_a_warning_that_is_an_error_is_the_sdks_too_so_that_it_does_not_send_what_was_stopped(
    emulator: Emulator, ours: MakeClient
) -> None:
    with pytest.raises(DoublewordWarning, match=r"^seed") as caught:  # warnings are errors here
        ours().chat.completions.create(model=MODEL, messages=HELLO, seed=1)
    assert isinstance(caught.value, openai.OpenAIError)
    assert emulator.counters.requests == 0


async def test_an_answer_without_the_promised_shape_is_named_and_not_asked_again(
    emulator: Emulator, ours: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw_agents.translate.call.completed_response", _without_output)
    with pytest.raises(openai.APIError, match="cannot be read") as caught:
        ours().responses.create(model=MODEL, input="hello")
    assert isinstance(caught.value, errors.MalformedAnswer)
    assert emulator.counters["POST /responses"] == 1


@pytest.mark.parametrize("said", [{"seed": 1, "logprobs": True}, {}])
async def test_an_error_reaches_another_process_as_both_without_its_ticket(
    emulator: Emulator, ours: MakeClient, said: dict[str, Any]
) -> None:
    emulator.faults.add("fail_job", code=429, message="so it is")
    with pytest.raises(openai.APIStatusError) as caught:
        ours(max_retries=0).chat.completions.create(model=MODEL, messages=HELLO, **said)
    assert "ticket" in vars(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.status_code) == (
        type(caught.value), str(caught.value), caught.value.status_code,
    )  # fmt: skip
    assert again.body == caught.value.body
    assert again.ticket is None


def test_every_error_of_the_core_is_one_of_the_sdks_too_and_keeps_what_it_says() -> None:
    hx = family()
    request = hx.Request("POST", "http://localhost/v1/responses")
    for name in errors.__all__:
        own_class = getattr(errors, name)
        error = own_class("so it is")
        translated: Any = in_openai_terms(error, request, hx.Response)
        assert isinstance(translated, own_class)
        assert isinstance(translated, openai.APIError)
        assert str(translated) == translated.message == "so it is"
        assert translated.request is request
        assert {name: getattr(translated, name) for name in error.__dict__ if name not in {"body", "code"}} == {
            name: value for name, value in error.__dict__.items() if name not in {"body", "code"}
        }
        if hasattr(translated, "status_code"):
            assert is_one(translated, openai.APIStatusError)
            reply: Any = vars(translated)["response"]
            assert reply.headers["x-should-retry"] == "false"
        assert in_openai_terms(translated, request, hx.Response) is translated
        assert type(in_openai_terms(own_class("again"), request, hx.Response)) is type(translated)
