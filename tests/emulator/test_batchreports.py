"""The list of batches, results in input order, and analytics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from dw_agents.emulator import Fault, Faults, UpstreamError
from tests.emulator.batch_support import GatedBackend, lines, run, send_batch, start, upload
from tests.emulator.support import MODEL, Api, ScriptedBackend, serving, until


async def _listed(api: Api, query: str = "") -> list[str]:
    answer = await api("GET", f"/batches{query}")
    assert answer.status == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


async def test_the_list_is_newest_first_in_pages() -> None:
    async with serving() as api:
        made = [await start(api, lines(1)) for _ in range(4)]
        page = (await api("GET", "/batches?limit=3")).json()
        rest = await _listed(api, f"?after={page['last_id']}")

    assert [one["id"] for one in page["data"]] == made[:0:-1]
    assert (page["object"], page["first_id"], page["has_more"]) == ("list", made[3], True)
    assert rest == [made[0]]


async def test_a_batch_is_found_by_its_metadata_its_filename_or_its_id() -> None:
    async with serving() as api:
        await start(api, lines(1))
        by_token = await start(api, lines(1), metadata={"dw-token": "abc-123"})
        file = await upload(api, lines(1), "run-xyz.jsonl")
        by_name = (await send_batch(api, file)).json()["id"]

        assert await _listed(api, "?search=abc-123") == [by_token]
        assert await _listed(api, "?search=RUN-XYZ") == [by_name]
        assert await _listed(api, f"?search={by_token}") == [by_token]
        assert await _listed(api, "?search=nothing-like-it") == []


async def test_the_list_is_filtered_by_status_window_and_time() -> None:
    backend = GatedBackend()
    async with serving(backend) as api:
        backend.allowed = 1
        done = (await run(api, lines(1)))["id"]
        file = await upload(api, lines(1))
        active = (await send_batch(api, file, completion_window="1h")).json()["id"]
        stopped = await start(api, lines(1))
        await api("POST", f"/batches/{stopped}/cancel")
        now = datetime.now(UTC)
        later = (now + timedelta(hours=1)).isoformat()
        earlier = (now - timedelta(hours=1)).isoformat()

        assert await _listed(api, "?status=completed") == [done]
        assert await _listed(api, "?status=in_progress") == [active]
        assert await _listed(api, "?status=cancelled") == [stopped]
        assert await _listed(api, "?status=expired") == await _listed(api, "?status=failed") == []
        assert await _listed(api, "?completion_window=1h") == [active]
        assert await _listed(api, "?completion_window=1h,24h") == [stopped, active, done]
        assert await _listed(api, "?active_first=true") == [active, stopped, done]
        assert await _listed(api, f"?created_after={later}") == []
        assert len(await _listed(api, f"?created_after={earlier}&created_before={later}")) == 3


@pytest.mark.parametrize("query", ["status=sleeping", "created_after=soon", "limit=x"])
async def test_a_query_that_does_not_parse_is_400(query: str) -> None:
    async with serving() as api:
        assert (await api("GET", f"/batches?{query}")).status == 400


async def test_batches_belong_to_their_owner() -> None:
    async with serving(api_keys=["mine", "yours"]) as api:
        await start(api, lines(1))
        api.key = "yours"

        assert await _listed(api) == []


async def test_results_come_in_input_order_with_what_became_of_each() -> None:
    backend = GatedBackend()
    faults = Faults(Fault("fail_line", code=400, match='"custom_id":"1"'), Fault("cancelled", match='"custom_id":"2"'))
    async with serving(backend, faults=faults) as api:
        ident = await start(api, lines(5))
        backend.allowed = 2
        await until(lambda: api.emulator.batch(ident).completed == 2 and backend.waiting == 1)
        answer = await api("GET", f"/batches/{ident}/results")
        page = await api("GET", f"/batches/{ident}/results?skip=1&limit=2")
        failed = await api("GET", f"/batches/{ident}/results?status=failed")
        third = await api("GET", f"/batches/{ident}/results?search=3")

    told = [msgspec.json.decode(one) for one in answer.body.splitlines()]
    assert [one["custom_id"] for one in told] == ["0", "1", "2", "3", "4"]
    assert [one["status"] for one in told] == ["completed", "failed", "pending", "completed", "in_progress"]
    assert told[0]["response_body"]["object"] == "response"
    assert (told[0]["model"], told[0]["input_body"]) == (MODEL, {"model": MODEL, "input": "0"})
    assert "NonRetriable" in told[1]["error"]
    assert (told[2]["response_body"], told[2]["error"]) == (None, None)
    assert (answer.headers["X-Incomplete"], page.headers["X-Last-Line"]) == ("true", "3")
    assert [msgspec.json.decode(one)["custom_id"] for one in page.body.splitlines()] == ["1", "2"]
    assert (failed.body.count(b"\n"), third.body.count(b"\n")) == (1, 1)


async def test_results_need_the_input_file_and_a_status_that_exists() -> None:
    async with serving() as api:
        done = await run(api, lines(1))
        wrong = await api("GET", f"/batches/{done['id']}/results?status=cancelled")
        await api("DELETE", f"/files/{done['input_file_id']}")
        gone = await api("GET", f"/batches/{done['id']}/results")

    assert (wrong.status, gone.status) == (400, 404)


async def test_a_malformed_output_line_has_no_result() -> None:
    async with serving(faults=Faults(Fault("malformed_line"))) as api:
        done = await run(api, lines(1))
        answer = await api("GET", f"/batches/{done['id']}/results")

    assert answer.json()["response_body"] is None


async def test_analytics_add_the_tokens_up() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(400, "no")]
    async with serving(backend) as api:
        done = await run(api, lines(4))
        shown = (await api("GET", f"/batches/{done['id']}/analytics")).json()
        listed = (await api("GET", "/batches?include=analytics")).json()["data"][0]

    assert (shown["total_requests"], shown["total_prompt_tokens"], shown["total_completion_tokens"]) == (4, 15, 21)
    assert shown["total_tokens"] == 36
    assert shown["avg_duration_ms"] >= 0
    assert listed["analytics"] == shown
