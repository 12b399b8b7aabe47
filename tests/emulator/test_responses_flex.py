"""``POST /responses`` over HTTP on the flex and background tiers: background, blocking, streamed."""

from __future__ import annotations

import asyncio
import time

import pytest

from dw_agents.emulator import Account, Fault, Faults
from tests.emulator.support import MODEL, ScriptedBackend, serving, until

FLEX = {"model": MODEL, "input": "ping", "service_tier": "flex"}
BACKGROUND = {**FLEX, "background": True}
BLOCKING_SPEED = 100.0


# Background flex


async def test_a_background_flex_submission_gets_202_without_created_at() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", BACKGROUND)

    body = answer.json()
    assert answer.status == 202
    assert set(body) == {"id", "object", "status", "model", "background", "service_tier", "output"}
    assert (body["status"], body["background"], body["service_tier"]) == ("queued", True, "flex")


async def test_a_flex_response_reads_back_completed_with_background_false() -> None:
    async with serving() as api:
        shown = await api.finished(await api.submit())

    assert shown["status"] == "completed"
    assert shown["background"] is False
    assert shown["output"][0]["content"][0]["text"] == "pong"
    assert shown["usage"]["output_tokens"] == 7
    assert not {"metadata", "incomplete_details", "tools", "error"} & set(shown)


async def test_a_flex_response_passes_through_its_states() -> None:
    async with serving(pickup=0.1, latency=0.1) as api:
        ident = await api.submit()
        seen = [(await api.get(ident))["status"]]
        while seen[-1] != "completed":
            status = (await api.get(ident))["status"]
            seen += [status] if status != seen[-1] else []
            await asyncio.sleep(0.005)

    assert seen == ["queued", "in_progress", "completed"]


async def test_truncation_is_lost_on_flex() -> None:
    async with serving(faults=Faults(Fault("truncate"))) as api:
        shown = await api.finished(await api.submit(max_output_tokens=9))

    assert shown["status"] == "completed"
    assert shown["output"][0]["status"] == "completed"
    assert shown["usage"]["output_tokens"] == 9


async def test_a_malformed_flex_body_is_accepted_and_fails_later() -> None:
    async with serving() as api:
        shown = await api.finished(await api.submit(tools=[{"type": "function", "name": "f", "parameters": {}}]))

    assert shown["status"] == "failed"
    assert shown["error"]["code"] == 400
    assert shown["error"]["type"] == "invalid_request_error"
    assert "missing field `description`" in shown["error"]["message"]


async def test_what_the_service_drops_never_reaches_the_model() -> None:
    backend = ScriptedBackend()
    async with serving(backend) as api:
        await api.finished(await api.submit(seed=1, metadata={"a": "b"}, top_logprobs=2, instructions="Be brief."))

    assert backend.chats == [
        {
            "model": MODEL,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ping"}],
        }
    ]


@pytest.mark.parametrize("name", ["id", "completion_id", "completionId", "response_id", "responseId"])
async def test_client_ids_are_scrubbed(name: str) -> None:
    async with serving() as api:
        ident = await api.submit(**{name: "resp_mine"})

        assert ident != "resp_mine"
        assert name not in api.emulator.job(ident).body


async def test_the_stored_request_forgets_how_it_travelled() -> None:
    async with serving() as api:
        ident = await api.submit(stream=True)

        assert api.emulator.job(ident).body == {"model": MODEL, "input": "ping"}


async def test_background_must_be_true_itself() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {**FLEX, "background": "true"})

    assert answer.status == 200
    assert answer.json()["status"] == "completed"


@pytest.mark.parametrize("body", [b"not json", b"", b"[1]", b'"text"'])
async def test_a_body_that_is_no_json_object_gets_400_and_nothing_else(body: bytes) -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", body)

    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize(
    ("key", "status", "message"),
    [(None, 401, "API key required"), ("wrong", 403, "Invalid API key")],
)
async def test_a_flex_submission_without_a_good_key_is_refused(key: str | None, status: int, message: str) -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", BACKGROUND, key=key)

        assert (answer.status, answer.json()) == (
            status,
            {"error": {"message": message, "type": "invalid_request_error"}},
        )
        assert api.emulator.jobs == []


async def test_a_flex_submission_for_an_unknown_model_is_403() -> None:
    async with serving(models=["other"]) as api:
        answer = await api("POST", "/responses", BACKGROUND)

    assert answer.status == 403
    assert f"You do not have access to '{MODEL}'" in answer.json()["error"]["message"]


async def test_an_unverified_account_gets_429_without_retry_after() -> None:
    async with serving(api_keys=[Account("k", unverified_limit=1)]) as api:
        await api.submit()
        answer = await api("POST", "/responses", BACKGROUND)

    assert answer.status == 429
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "Retry-After" not in answer.headers


async def test_an_empty_account_is_accepted_on_flex_and_fails_later() -> None:
    async with serving(api_keys=[Account("k", has_credits=False)]) as api:
        shown = await api.finished(await api.submit())

    assert (shown["status"], shown["error"]["type"], shown["error"]["code"]) == (
        "failed",
        "insufficient_credits",
        402,
    )


async def test_an_unknown_effort_is_accepted_on_flex_and_fails_later() -> None:
    async with serving() as api:
        shown = await api.finished(await api.submit(reasoning={"effort": "huge"}))

    assert shown["error"]["code"] == 400
    assert "reasoning_effort" in shown["error"]["message"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, "invalid_request_error"), (402, "insufficient_credits"), (429, "rate_limit_error"), (500, "server_error")],
)
async def test_an_upstream_failure_becomes_an_integer_code(code: int, kind: str) -> None:
    async with serving(faults=Faults(Fault("fail_job", code=code, message="why"))) as api:
        shown = await api.finished(await api.submit())

    assert shown["error"] == {"type": kind, "message": "why", "code": code}


async def test_a_network_failure_has_no_code() -> None:
    async with serving(faults=Faults(Fault("fail_job", code=None))) as api:
        shown = await api.finished(await api.submit())

    assert set(shown["error"]) == {"type", "message"}
    assert '"type":"NetworkError"' in shown["error"]["message"]


async def test_a_job_that_the_service_cancels_reads_cancelled() -> None:
    async with serving(faults=Faults(Fault("cancelled"))) as api:
        shown = await api.finished(await api.submit())

    assert (shown["status"], shown["output"]) == ("cancelled", [])


async def test_a_backend_that_breaks_fails_the_job_and_not_the_server() -> None:
    backend = ScriptedBackend()
    backend.errors = [RuntimeError("broken")]
    async with serving(backend) as api:
        broken = await api.finished(await api.submit())
        fine = await api.finished(await api.submit())

    assert (broken["error"]["code"], "broken" in broken["error"]["message"]) == (500, True)
    assert fine["status"] == "completed"


async def test_usage_details_can_be_left_out() -> None:
    async with serving(faults=Faults(Fault("omit_usage_details", times=1), Fault("omit_usage", after=1))) as api:
        without = await api.finished(await api.submit())
        nothing = await api.finished(await api.submit())

    assert set(without["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}
    assert "usage" not in nothing


# The background tier


async def test_the_background_tier_needs_background_true() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {**FLEX, "service_tier": "background"})

    assert answer.status == 400
    assert "requires background: true" in answer.json()["error"]["message"]


async def test_the_background_tier_needs_a_role() -> None:
    body = {**BACKGROUND, "service_tier": "background"}
    async with serving(api_keys=["plain", Account("favoured", background_role=True)]) as api:
        refused = await api("POST", "/responses", body)
        accepted = await api("POST", "/responses", body, key="favoured")
        read = await api("GET", f"/responses/{accepted.json()['id']}", key="favoured")

        assert api.emulator.counters.background == 1

    assert (refused.status, accepted.status) == (403, 202)
    assert accepted.json()["service_tier"] == "background"
    assert read.json()["background"] is True


# Blocking flex


async def test_a_blocking_flex_call_sends_nothing_until_it_is_done() -> None:
    async with serving(latency=0.2) as api:
        started = time.monotonic()
        answer = await api("POST", "/responses", FLEX)

    assert time.monotonic() - started >= 0.2
    assert (answer.status, answer.json()["status"], answer.json()["service_tier"]) == (200, "completed", "flex")


@pytest.mark.parametrize(("code", "status"), [(429, 429), (400, 400), (None, 500)])
async def test_a_failed_blocking_call_is_the_response_object_with_its_code_as_status(
    code: int | None, status: int
) -> None:
    async with serving(faults=Faults(Fault("fail_job", code=code))) as api:
        answer = await api("POST", "/responses", FLEX)

    assert answer.status == status
    assert answer.json()["object"] == "response"
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"]["message"]


async def test_a_blocking_call_that_takes_too_long_gets_504_with_the_id_in_its_text() -> None:
    async with serving(latency=60, speed=BLOCKING_SPEED, blocking_timeout=5) as api:
        answer = await api("POST", "/responses", FLEX)
        job = api.emulator.jobs[0]
        assert not job.terminal
        await until(lambda: api.emulator.running() == [])

    assert answer.status == 504
    assert set(answer.json()["error"]) == {"message", "type"}
    assert job.id.removeprefix("resp_") in answer.json()["error"]["message"]
    assert job.state == "completed"


async def test_a_client_that_leaves_a_blocking_call_pays_all_the_same() -> None:
    async with serving(latency=0.1) as api:
        calling = asyncio.create_task(api("POST", "/responses", FLEX))
        await until(lambda: api.emulator.jobs)
        calling.cancel()
        job = api.emulator.jobs[0]
        await until(lambda: job.terminal)

    assert job.state == "completed"


async def test_a_blocking_call_looks_for_its_answer_in_steps() -> None:
    async with serving(speed=BLOCKING_SPEED, blocking_step=20) as api:
        started = time.monotonic()
        await api("POST", "/responses", FLEX)

    assert time.monotonic() - started >= 0.19


# Streamed flex


async def test_a_streamed_flex_call_comments_while_it_waits_and_replays_at_the_end() -> None:
    async with serving(latency=0.3, keepalive_every=0.1) as api:
        answer = await api("POST", "/responses", {**FLEX, "stream": True})

    names = [name for name, _ in answer.events()]
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert names[:2] == [":", ":"]
    assert [name for name in names if name != ":"] == [
        "response.created",
        "response.output_item.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert b"[DONE]" not in answer.body


async def test_a_failed_streamed_flex_call_has_bare_events_without_a_type() -> None:
    async with serving(faults=Faults(Fault("fail_job", code=429))) as api:
        answer = await api("POST", "/responses", {**FLEX, "stream": True})

    (first, stub), (second, failed) = answer.events()
    assert (first, set(stub)) == ("response.created", {"id", "object", "status"})
    assert (second, failed["status"], failed["error"]["code"]) == ("response.failed", "failed", 429)


async def test_a_streamed_flex_call_that_takes_too_long_has_no_id() -> None:
    async with serving(latency=60, speed=BLOCKING_SPEED, blocking_timeout=5) as api:
        answer = await api("POST", "/responses", {**FLEX, "stream": True})

    (_, stub), (second, failed) = [each for each in answer.events() if each[0] != ":"]
    assert stub["id"] is None
    assert (second, failed["error"]["code"]) == ("response.failed", 504)
