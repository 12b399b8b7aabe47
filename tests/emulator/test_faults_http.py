"""Faults as a client meets them, over HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import msgspec
import pytest

from dw_agents.emulator import Fault, Faults
from tests.emulator.support import MODEL, serving, until

POST = "POST /responses"
GET = "GET /responses/{id}"
BODY = {"model": MODEL, "input": "ping", "service_tier": "flex", "background": True}


def _status(status: int, **rule: Any) -> Faults:
    return Faults(Fault("status", status=status, **rule))


# Faults before the handling


async def test_a_lost_request_is_reset_and_accepts_nothing() -> None:
    async with serving(faults=Faults(Fault("lost_request", times=1))) as api:
        with pytest.raises(aiohttp.ClientConnectionError):
            await api("POST", "/responses", BODY)

        assert api.emulator.jobs == []
        assert (api.emulator.counters[POST], dict(api.emulator.counters.statuses)) == (1, {})
        await api.submit()


async def test_a_stalled_request_is_never_answered_and_accepts_nothing() -> None:
    async with serving(faults=Faults(Fault("stall"))) as api:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await api("POST", "/responses", BODY)

        assert api.emulator.jobs == []


async def test_a_slow_request_is_handled_after_its_delay() -> None:
    async with serving(faults=Faults(Fault("slow", delay=10, times=1)), speed=100) as api:
        started = time.monotonic()
        sending = asyncio.create_task(api("POST", "/responses", BODY))
        await until(lambda: api.emulator.counters[POST])
        assert api.emulator.jobs == []
        assert (await sending).status == 202

    assert time.monotonic() - started >= 0.1


async def test_garbage_is_200_without_json_and_accepts_nothing() -> None:
    async with serving(faults=Faults(Fault("garbage"))) as api:
        answer = await api("POST", "/responses", BODY)

        assert api.emulator.jobs == []

    assert answer.status == 200
    with pytest.raises(msgspec.DecodeError):
        answer.json()


async def test_a_redirect_points_where_the_test_says() -> None:
    async with serving(faults=Faults(Fault("redirect", location="http://other.invalid/v1"))) as api:
        answer = await api("GET", "/models")

    assert (answer.status, answer.headers["Location"]) == (302, "http://other.invalid/v1")


async def test_a_rate_limit_answers_429_and_counts_what_it_refused() -> None:
    faults = Faults()
    faults.rate_limit(2, retry_after=1)
    async with serving(faults=faults, speed=0.001) as api:
        answers = [await api("POST", "/responses", BODY) for _ in range(5)]

        assert api.emulator.counters.accepted == 2
        assert api.emulator.counters.faults == {"rate_limit": 3}

    assert [answer.status for answer in answers] == [202, 202, 429, 429, 429]
    assert answers[2].headers["Retry-After"] == "1"


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 409, 429, 500, 502, 503, 504])
async def test_an_injected_status_on_a_submission_accepts_nothing(status: int) -> None:
    async with serving(faults=_status(status)) as api:
        answer = await api("POST", "/responses", BODY)

        assert api.emulator.jobs == []

    assert answer.status == status
    assert "Retry-After" not in answer.headers
    if status == 402:
        assert answer.text == "Account balance too low. Please add credits to continue."
    else:
        assert set(answer.json()["error"]) >= {"message", "type"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthenticated"),
        (404, "model_not_found"),
        (429, "rate_limit"),
        (400, "bad_request"),
        (500, "internal_error"),
    ],
)
async def test_an_injected_status_on_realtime_has_the_proxys_envelope(status: int, code: str) -> None:
    async with serving(faults=_status(status)) as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping"})

    assert answer.json()["error"]["code"] == code
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_an_injected_403_is_text_on_realtime_and_json_on_flex() -> None:
    async with serving(faults=_status(403)) as api:
        realtime = await api("POST", "/responses", {"model": MODEL, "input": "ping"})
        flex = await api("POST", "/responses", BODY)

    assert realtime.text == flex.json()["error"]["message"]
    assert MODEL in realtime.text


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 500, 502, 504])
async def test_an_injected_status_on_a_stored_object_is_plain_text(status: int) -> None:
    async with serving(faults=_status(status, route=GET)) as api:
        answer = await api("GET", f"/responses/{await api.submit()}")

    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(("status", "word"), [(429, "too_many_requests"), (503, "service_unavailable")])
async def test_an_injected_throttle_on_a_stored_object_is_json_whose_error_is_a_word(status: int, word: str) -> None:
    async with serving(faults=_status(status, route=GET, retry_after=60)) as api:
        answer = await api("GET", f"/responses/{await api.submit()}")

    assert answer.json()["error"] == word
    assert (answer.json()["retry_after_seconds"], answer.headers["Retry-After"]) == (30, "60")


async def test_an_injected_error_can_have_its_own_text() -> None:
    async with serving(faults=_status(404, message="no such model here")) as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping"})

    assert answer.json()["error"]["message"] == "no such model here"


# Faults after the handling


async def test_a_lost_reply_is_reset_after_the_job_was_accepted() -> None:
    async with serving(faults=Faults(Fault("lost_reply", times=1, route=POST))) as api:
        with pytest.raises(aiohttp.ClientConnectionError):
            await api("POST", "/responses", BODY)

        assert len(api.emulator.jobs) == api.emulator.counters.accepted == 1


async def test_a_body_is_cut_in_the_middle() -> None:
    async with serving(faults=Faults(Fault("reset_body", route=GET))) as api:
        ident = await api.submit()
        with pytest.raises(aiohttp.ClientError):
            await api("GET", f"/responses/{ident}")


async def test_a_cut_reply_has_sent_its_head_and_half_its_body() -> None:
    async with serving(faults=Faults(Fault("reset_body", route=GET))) as api:
        url = f"{api.emulator.base_url}/responses/{await api.submit()}"
        headers = {"Authorization": f"Bearer {api.key}"}
        async with api.session.get(url, headers=headers) as reply:
            received = await reply.content.readany()
            with pytest.raises(aiohttp.ClientError):
                await reply.content.readany()

    assert reply.status == 200
    assert len(received) == int(reply.headers["Content-Length"]) // 2


async def test_a_stream_is_cut_in_the_middle() -> None:
    async with serving(faults=Faults(Fault("reset_body"))) as api:
        with pytest.raises(aiohttp.ClientError):
            await api("POST", "/responses", {"model": MODEL, "input": "ping", "stream": True})


async def test_a_slow_reply_comes_late_for_a_job_accepted_at_once() -> None:
    async with serving(faults=Faults(Fault("slow_reply", delay=20)), speed=100) as api:
        sending = asyncio.create_task(api("POST", "/responses", BODY))
        await until(lambda: api.emulator.jobs)
        assert not sending.done()
        assert (await sending).status == 202


async def test_a_stalled_reply_never_comes_for_a_job_accepted() -> None:
    async with serving(faults=Faults(Fault("stall_reply"))) as api:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await api("POST", "/responses", BODY)

        assert len(api.emulator.jobs) == 1


# Faults in the model call, over the wire


async def test_job_faults_strike_in_the_order_of_acceptance_and_are_counted() -> None:
    async with serving(faults=Faults(Fault("fail_job", after=1, times=1)), latency=0.05) as api:
        idents = [await api.submit() for _ in range(3)]
        statuses = [(await api.finished(ident))["status"] for ident in idents]

        assert api.emulator.counters.faults == {"fail_job": 1}

    assert statuses == ["completed", "failed", "completed"]


async def test_a_job_fault_can_pick_its_job_by_text() -> None:
    async with serving(faults=Faults(Fault("refuse", match="bomb"))) as api:
        refused = await api.finished(await api.submit("a bomb"))
        fine = await api.finished(await api.submit("a cake"))

    assert refused["output"][0]["content"][0]["type"] == "refusal"
    assert fine["output"][0]["content"][0]["type"] == "output_text"


async def test_reasoning_and_parallel_calls_come_as_items() -> None:
    tools = [{"type": "function", "name": n, "description": n, "parameters": {"type": "object"}} for n in "fg"]
    async with serving(faults=Faults(Fault("parallel_calls"), Fault("reasoning"))) as api:
        shown = await api.finished(await api.submit(tools=tools))

    assert [item["type"] for item in shown["output"]] == ["reasoning", "function_call", "function_call"]
    assert [item["name"] for item in shown["output"][1:]] == ["f", "g"]


async def test_faults_can_be_changed_while_running() -> None:
    async with serving() as api:
        api.emulator.set_faults(Fault("status", status=500))
        assert (await api("POST", "/responses", BODY)).status == 500
        api.emulator.faults.clear()
        assert (await api("POST", "/responses", BODY)).status == 202
        api.emulator.faults.add("status", status=503, times=1)
        assert (await api("POST", "/responses", BODY)).status == 503


async def test_the_same_seed_gives_the_same_faults_over_the_wire() -> None:
    async def run(seed: int) -> list[int]:
        async with serving(faults=Faults(Fault("status", rate=0.5)), seed=seed) as api:
            return [(await api("GET", "/models")).status for _ in range(24)]

    assert await run(1) == await run(1) != await run(2)
