"""``POST /responses`` over HTTP at once, and what becomes of ``previous_response_id``."""

from __future__ import annotations

from typing import Any

import pytest

from dw_agents.emulator import Account, Fault, Faults, UpstreamError
from tests.emulator.support import MODEL, Api, ScriptedBackend, serving

FLEX = {"model": MODEL, "input": "ping", "service_tier": "flex"}
BACKGROUND = {**FLEX, "background": True}
BLOCKING_SPEED = 100.0


@pytest.mark.parametrize("tier", [None, "auto", "default", "priority", "foo", 7])
async def test_every_other_tier_is_realtime_without_an_error(tier: Any) -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping", "service_tier": tier})

        assert (api.emulator.counters.realtime, api.emulator.counters.flex) == (1, 0)

    assert answer.status == 200
    assert answer.json()["service_tier"] == "default"
    assert answer.json()["incomplete_details"] is None


async def test_a_realtime_call_says_when_it_was_cut_off_but_not_why() -> None:
    async with serving(faults=Faults(Fault("truncate"))) as api:
        body = (await api("POST", "/responses", {"model": MODEL, "input": "ping"})).json()

    assert (body["status"], body["incomplete_details"]) == ("incomplete", None)
    assert body["output"][0]["status"] == "incomplete"


async def test_the_usage_of_a_realtime_call_has_its_details_unless_a_fault_takes_them() -> None:
    async with serving(faults=Faults(Fault("omit_usage_details", after=1))) as api:
        usages = [(await api("POST", "/responses", {"model": MODEL, "input": "p"})).json()["usage"] for _ in "ab"]

    assert [set(usage) & {"input_tokens_details", "output_tokens_details"} for usage in usages] == [
        {"input_tokens_details", "output_tokens_details"},
        set(),
    ]
    assert usages[1]["total_tokens"] == 12


async def test_a_realtime_call_that_wants_tools_requires_action() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    async with serving(ScriptedBackend(tool_calls=[call])) as api:
        body = (await api("POST", "/responses", {"model": MODEL, "input": "ping"})).json()

    assert body["status"] == "requires_action"


async def test_a_realtime_stream_is_live() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping", "stream": True})

    names = [name for name, _ in answer.events()]
    assert (names[0], names[-1]) == ("response.created", "response.completed")
    assert "response.in_progress" not in names
    assert "response.output_text.done" not in names


async def test_a_finished_realtime_response_can_be_read_as_priority() -> None:
    async with serving() as api:
        made = (await api("POST", "/responses", {"model": MODEL, "input": "ping"})).json()
        shown = await api.get(made["id"])

        assert api.emulator.counters.accepted == 0

    assert (shown["service_tier"], shown["output"]) == ("priority", made["output"])


async def test_a_streamed_realtime_response_reads_back_without_output() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping", "stream": True})
        shown = await api.get(answer.events()[0][1]["response"]["id"])

    assert (shown["status"], shown["output"]) == ("completed", [])


async def test_a_malformed_realtime_body_is_refused_at_once() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": 3})

    assert answer.status == 400
    assert answer.json()["error"]["message"].startswith("invalid OpenAI Responses request: ")


@pytest.mark.parametrize(
    ("key", "model", "status", "code"),
    [
        (None, MODEL, 401, "unauthenticated"),
        ("wrong", MODEL, 403, "forbidden"),
        ("wrong", "unknown", 404, "model_not_found"),
        (None, "unknown", 404, "model_not_found"),
    ],
)
async def test_realtime_looks_at_the_model_before_the_key(key: str | None, model: str, status: int, code: str) -> None:
    async with serving(models=[MODEL]) as api:
        answer = await api("POST", "/responses", {"model": model, "input": "ping"}, key=key)

    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_an_empty_account_gets_402_in_plain_text_on_realtime() -> None:
    async with serving(api_keys=[Account("k", has_credits=False)]) as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping"})

    assert (answer.status, answer.text) == (402, "Account balance too low. Please add credits to continue.")
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_a_model_that_the_key_may_not_use_is_403_in_plain_text_on_realtime() -> None:
    async with serving(api_keys=[Account("k", models=frozenset({"other"}))]) as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping"})

    assert answer.status == 403
    assert answer.text.startswith(f"You do not have access to '{MODEL}'")


async def test_a_realtime_upstream_failure_keeps_its_status() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(503, "overloaded")]
    async with serving(backend) as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping"})

    assert (answer.status, answer.json()["error"]["message"]) == (503, "overloaded")


async def test_a_realtime_stream_that_breaks_ends_with_an_error_event() -> None:
    async with serving(faults=Faults(Fault("fail_job", code=None))) as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping", "stream": True})

    assert [name for name, _ in answer.events()] == ["response.created", "error"]
    assert answer.events()[1][1]["error"]["type"] == "server_error"


async def test_realtime_in_the_background_is_in_progress_without_a_tier() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "ping", "background": True})
        shown = await api.finished(answer.json()["id"])

        assert (api.emulator.counters.realtime, api.emulator.counters.accepted) == (1, 1)

    assert (answer.status, answer.json()["status"]) == (202, "in_progress")
    assert "service_tier" not in answer.json()
    assert (shown["service_tier"], shown["background"]) == ("priority", False)


async def test_realtime_in_the_background_accepts_a_bad_key_and_then_knows_nothing() -> None:
    async with serving() as api:
        answer = await api("POST", "/responses", {"model": MODEL, "input": "p", "background": True}, key="bad")
        missing = await api("GET", f"/responses/{answer.json()['id']}")

        assert api.emulator.counters.realtime == 0

    assert (answer.status, missing.status) == (202, 404)


# previous_response_id


async def _previous(api: Api, previous: Any, **fields: Any) -> tuple[int, str]:
    answer = await api("POST", "/responses", {**BACKGROUND, "previous_response_id": previous, **fields})
    return answer.status, answer.json().get("error", {}).get("message", "")


async def test_an_unknown_previous_response_is_400_and_a_known_one_500() -> None:
    async with serving() as api:
        known = await api.submit()

        assert await _previous(api, "resp_x") == (400, "previous response not found: resp_x")
        assert await _previous(api, known) == (500, "failed to load previous response")
        assert await _previous(api, None, input=3) == (500, "failed to load previous response")
        assert (await _previous(api, None))[0] == 202
