"""What goes wrong: the service's own reasons pass, and no client of OpenAI's sends a call twice because of one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import openai
import pytest

from dw_agents import errors as core
from dw_agents.emulator import Fault
from dw_agents.proxy.errors import problem_of
from tests.proxy.support import MODEL, ask, chat

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from dw_agents.proxy import Proxy
    from tests.proxy.conftest import MakeProxy


@pytest.mark.parametrize("tier", ["flex", "priority"])
@pytest.mark.parametrize("status", [400, 402, 403, 404, 413, 422, 429, 503])
async def test_a_refusal_of_the_service_keeps_its_status_and_its_words(
    emulator: Emulator, proxy: Proxy, http: ClientSession, status: int, tier: str
) -> None:
    emulator.set_faults(Fault("status", route="POST /responses", status=status, message="for a reason of its own"))
    async with http.post(f"{proxy.base_url}/responses", json=ask(service_tier=tier)) as reply:
        error = (await reply.json())["error"]
    assert (reply.status, error["message"]) == (status, "for a reason of its own")
    assert reply.headers["X-Should-Retry"] == "false"


@pytest.mark.parametrize(("code", "status"), [(400, 400), (402, 402), (404, 404), (429, 429), (500, 500), (None, 502)])
async def test_a_failed_job_has_the_status_that_its_code_stands_for(
    emulator: Emulator, proxy: Proxy, http: ClientSession, code: int | None, status: int
) -> None:
    emulator.set_faults(Fault("fail_job", code=code, message="it broke"))
    async with http.post(f"{proxy.base_url}/chat/completions", json=chat()) as reply:
        error = (await reply.json())["error"]
    assert (reply.status, "it broke" in error["message"]) == (status, True)
    assert reply.headers["X-Should-Retry"] == "false"
    assert reply.headers["X-DW-Agents-Ticket"] == emulator.jobs[-1].id


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_the_sdk_does_not_repeat_what_the_engine_has_given_up(
    emulator: Emulator, make_proxy: MakeProxy, status: int
) -> None:
    proxy = await make_proxy()
    emulator.set_faults(Fault("fail_job", code=status))
    async with openai.AsyncOpenAI(api_key="any", base_url=proxy.base_url, max_retries=3) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model=MODEL, input="hi")
    assert caught.value.status_code == status
    assert len(emulator.jobs) == 1


async def test_a_job_submitted_without_a_reply_is_not_submitted_again_where_that_was_asked(
    emulator: Emulator, make_proxy: MakeProxy
) -> None:
    proxy = await make_proxy(engine={"on_unknown": "raise"})
    emulator.set_faults(Fault("lost_reply", route="POST /responses"))
    async with openai.AsyncOpenAI(api_key="any", base_url=proxy.base_url, max_retries=3) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.responses.create(model=MODEL, input="hi")
    assert caught.value.code == "submission_unknown"
    assert len(emulator.jobs) == 1


@pytest.mark.parametrize("tier", ["flex", "priority"])
async def test_a_service_that_is_away_is_named(make_proxy: MakeProxy, http: ClientSession, tier: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    proxy = await make_proxy(base_url=away)
    async with http.post(f"{proxy.base_url}/responses", json=ask(service_tier=tier, stream=True)) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (502, "service_unreachable")


async def test_a_service_that_redirects_is_not_followed(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    emulator.set_faults(Fault("redirect", location="http://127.0.0.1:9/elsewhere"))
    async with http.post(f"{proxy.base_url}/responses", json=ask()) as reply:
        assert (reply.status, "base_url" in (await reply.json())["error"]["message"]) == (502, True)
    async with http.get(f"{proxy.base_url}/models", allow_redirects=False) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (502, "redirected")


async def test_an_internal_error_is_logged_and_tells_the_client_nothing_of_its_text(
    proxy: Proxy, http: ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("something secret")

    monkeypatch.setattr("dw_agents.proxy.calls.plan", broken)
    async with http.post(f"{proxy.base_url}/responses", json=ask()) as reply:
        text = await reply.text()
    assert reply.status == 500
    assert "secret" not in text
    assert "RuntimeError" in text
    assert reply.headers["X-Request-Id"] in caplog.text
    assert "something secret" in caplog.text


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        ('{"error": {"message": "m", "type": "t", "param": "p", "code": "c", "more": 1}}', "m", "t"),
        ('{"error": "too_many_requests", "message": "m", "retry_after_seconds": 30}', "m", "too_many_requests"),
        ('{"message": "m", "resource": "r"}', "m", "rate_limit_error"),
        ("plain text", "plain text", "rate_limit_error"),
        ("", "words of ours", "rate_limit_error"),
        ("[1]", "words of ours", "rate_limit_error"),
    ],
)
def test_every_shape_of_the_service_s_errors_is_told_in_one(body: str, message: str, kind: str) -> None:
    problem = problem_of(core.RateLimited("words of ours", status=429, body=body))
    error = problem.body["error"]
    assert (problem.status, error["message"], error["type"]) == (429, message, kind)
    assert ("more" in error) == ("more" in body)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (core.MissingAPIKey("m"), 401),
        (core.InvalidStep("m", field="f"), 400),
        (core.ServiceUnreachable("m"), 502),
        (core.SubmissionUnknown("m"), 502),
        (core.DeadlineExceeded("m"), 504),
        (core.StepExpired("m"), 504),
        (core.StepCancelled("m"), 409),
        (core.StepLost("m"), 502),
        (core.MalformedAnswer("m"), 502),
        (core.StepNotRecorded("m"), 500),
        (core.JournalError("m"), 500),
        (core.EngineClosed("m"), 503),
        (core.ServiceFailed("m", status=None), 502),
        (core.BadRequest("m", status=307), 502),
        (ValueError("m"), 500),
    ],
)
def test_each_error_has_its_status_and_is_not_retried_by_itself(error: Exception, status: int) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert problem.headers["X-Should-Retry"] == "false"
    assert set(problem.body["error"]) == {"message", "type", "param", "code"}
