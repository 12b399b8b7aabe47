"""Files and batches in the OpenAI profile."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator import Emulator, Fault, Faults
from tests.emulator.batch_support import (
    CHAT,
    GatedBackend,
    content,
    encode,
    ended,
    line,
    lines,
    look,
    named,
    run,
    send_batch,
    send_file,
    send_form,
    start,
    upload,
)
from tests.emulator.support import MODEL, Api, ScriptedBackend, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ALWAYS = {
    "id",
    "object",
    "endpoint",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "request_counts",
    "metadata",
}


@asynccontextmanager
async def openai(backend: Any = None, **settings: Any) -> AsyncIterator[Api]:
    async with serving(backend, profile="openai", **settings) as api:
        yield api


def _error(answer: Any) -> Any:
    assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}
    return answer.json()["error"]


async def test_ids_have_prefixes_and_creations_are_200() -> None:
    async with openai() as api:
        file = await send_file(api, lines(2))
        batch = await send_batch(api, file.json()["id"], metadata={"a": "b"})

    assert (file.status, batch.status) == (200, 200)
    assert file.json()["id"].startswith("file-")
    assert batch.json()["id"].startswith("batch_")
    assert (file.json()["status"], file.json()["status_details"]) == ("processed", None)
    assert (batch.json()["status"], batch.json()["metadata"]) == ("validating", {"a": "b"})


async def test_what_has_no_value_is_null_and_there_is_no_output_before_the_end() -> None:
    backend = GatedBackend()
    async with openai(backend) as api:
        ident = await start(api, lines(3))
        backend.allowed = 2
        await until(lambda: api.emulator.batch(ident).completed == 2)
        running = await look(api, ident)
        unseen = await api("GET", f"/files/{api.emulator.batch(ident).output.id}/content")
        backend.allowed = 1
        done = await ended(api, ident)
        found = await named(api, done["output_file_id"])

    assert set(running) == ALWAYS
    assert (running["status"], running["output_file_id"], running["error_file_id"]) == ("in_progress", None, None)
    assert running["request_counts"] == {"total": 3, "completed": 2, "failed": 0}
    assert (unseen.status, _error(unseen)["type"]) == (404, "invalid_request_error")
    assert (done["status"], done["error_file_id"], sorted(found)) == ("completed", None, ["0", "1", "2"])


async def test_failures_are_responses_in_an_error_file_that_exists_only_for_them() -> None:
    async with openai(faults=Faults(Fault("fail_line", code=429, match='"custom_id":"1"'))) as api:
        shown = await run(api, lines(2))
        (failed,) = await content(api, shown["error_file_id"])
        (done,) = await content(api, shown["output_file_id"])

    assert (failed["custom_id"], failed["response"]["status_code"], failed["error"]) == ("1", 429, None)
    assert failed["response"]["body"]["error"]["message"]
    assert done["response"]["request_id"].startswith("req_")


async def test_a_batch_whose_lines_all_failed_is_completed_without_an_output_file() -> None:
    async with openai(faults=Faults(Fault("fail_line"))) as api:
        shown = await run(api, lines(2))

    assert (shown["status"], shown["output_file_id"]) == ("completed", None)
    assert shown["request_counts"] == {"total": 2, "completed": 0, "failed": 2}


async def test_a_truncated_response_is_incomplete_with_its_reason() -> None:
    backend = ScriptedBackend()
    backend.finish_reason = "length"
    async with openai(backend) as api:
        (told,) = await content(api, (await run(api, lines(1)))["output_file_id"])

    body = told["response"]["body"]
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


@pytest.mark.parametrize(
    ("requests", "code", "number"),
    [
        ([line("a"), b"{"], "invalid_json_line", 2),
        ([line("a"), line("b"), line("a")], "duplicate_custom_id", 3),
        ([line("a"), line("b", url=CHAT)], "url_mismatch", 2),
        ([line("a"), line("b", model="another")], "model_mismatch", 2),
        ([line("a", model="unheard-of")], "model_not_found", 1),
        ([{"custom_id": "a"}], "missing_required_parameter", 1),
        ([{**line("a"), "body": {}}], "missing_required_parameter", 1),
        ([{**line("a"), "method": "GET"}], "invalid_method", 1),
        ([], "empty_file", None),
        (lines(5), "too_many_tasks", None),
    ],
)
async def test_a_file_that_breaks_a_rule_fails_the_whole_batch(requests: Any, code: str, number: int | None) -> None:
    async with openai(max_requests_per_file=4, models=[MODEL, "another"]) as api:
        shown = await run(api, requests)
        assert api.emulator.counters.batch == 0

    assert (shown["status"], shown["output_file_id"], shown["request_counts"]["total"]) == ("failed", None, 0)
    (problem,) = shown["errors"]["data"]
    assert (problem["code"], problem["line"], shown["errors"]["object"]) == (code, number, "list")


async def test_every_bad_line_is_listed_up_to_fifty() -> None:
    async with openai() as api:
        shown = await run(api, [b"{"] * 60)

    assert [problem["line"] for problem in shown["errors"]["data"]] == list(range(1, 51))


async def test_the_token_limit_fails_a_batch_until_the_others_are_done() -> None:
    backend = GatedBackend()
    limit = 2 * len(encode(lines(4))) // 4 - 1
    async with openai(backend, enqueued_token_limit=limit) as api:
        file = await upload(api, lines(4))
        first = (await send_batch(api, file)).json()["id"]
        await until(lambda: api.emulator.batch(first).total)
        refused = await ended(api, (await send_batch(api, file)).json()["id"])
        backend.allowed = 8
        await ended(api, first)
        second = await ended(api, (await send_batch(api, file)).json()["id"])

    assert (refused["status"], refused["errors"]["data"][0]["code"]) == ("failed", "token_limit_exceeded")
    assert second["status"] == "completed"


async def test_an_expired_batch_says_so_and_its_rest_is_in_the_error_file() -> None:
    async with openai(faults=Faults(Fault("batch_expired"))) as api:
        shown = await run(api, lines(6))
        done = await named(api, shown["output_file_id"])
        left = await content(api, shown["error_file_id"])

    assert (shown["status"], shown["expired_at"] is not None) == ("expired", True)
    assert (len(done), len(left)) == (3, 3)
    assert {(one["error"]["code"], one["response"]) for one in left} == {("batch_expired", None)}


async def test_lines_that_do_not_fit_into_the_window_expire_with_it_and_not_later() -> None:
    async with openai(line_latency=(0, 40 * 86_400), speed=1_000_000, seed=3) as api:
        shown = await run(api, lines(300))

    assert shown["status"] == "expired"
    assert 0 < shown["request_counts"]["completed"] < 300
    assert shown["expires_at"] <= shown["expired_at"] < shown["expires_at"] + 20 * 86_400


async def test_lines_that_a_slow_backend_leaves_behind_expire_too() -> None:
    backend = GatedBackend()
    async with openai(backend, speed=1_000_000, batch_concurrency=1) as api:
        ident = await start(api, lines(5))
        backend.allowed = 1
        await until(lambda: backend.waiting and api.emulator.batch(ident).completed == 1)
        # The whole window lasts 86 milliseconds here.
        await asyncio.sleep(0.1)
        backend.allowed = 9
        shown = await ended(api, ident)

    assert (shown["status"], shown["request_counts"]) == ("expired", {"total": 5, "completed": 2, "failed": 3})


async def test_a_file_that_holds_nothing_is_not_there() -> None:
    async with openai() as api:
        await run(api, lines(1))
        purposes = [file["purpose"] for file in (await api("GET", "/files")).json()["data"]]

    assert purposes == ["batch_output", "batch"]


async def test_a_cancelled_batch_is_cancelling_first_and_keeps_what_is_done() -> None:
    backend = GatedBackend()
    async with openai(backend) as api:
        ident = await start(api, lines(4))
        backend.allowed = 1
        await until(lambda: api.emulator.batch(ident).completed == 1)
        answer = (await api("POST", f"/batches/{ident}/cancel")).json()
        shown = await ended(api, ident)
        done = await named(api, shown["output_file_id"])
        again = await api("POST", f"/batches/{ident}/cancel")

    assert (answer["status"], shown["status"], len(done)) == ("cancelling", "cancelled", 1)
    assert (again.status, "cancelled" in _error(again)["message"]) == (409, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"completion_window": "1h"},
        {"endpoint": "/v1/messages"},
        {"input_file_id": None},
        {"metadata": {str(number): "x" for number in range(17)}},
        {"metadata": {"k" * 65: "x"}},
        {"metadata": {"k": "x" * 513}},
    ],
)
async def test_a_creation_that_breaks_a_rule_is_400_in_json(fields: dict[str, Any]) -> None:
    async with openai() as api:
        answer = await send_batch(api, await upload(api, lines(1)), **fields)

        assert api.emulator.batches == []

    assert (answer.status, _error(answer)["type"]) == (400, "invalid_request_error")


async def test_an_unknown_file_is_404_in_json() -> None:
    async with openai() as api:
        answer = await send_batch(api, "file-nope")

    assert (answer.status, "file-nope" in _error(answer)["message"]) == (404, True)


async def test_search_is_no_parameter_here_and_is_ignored() -> None:
    async with openai() as api:
        ident = await start(api, lines(1), metadata={"token": "t"})
        batches = (await api("GET", "/batches?search=nothing&status=odd")).json()["data"]
        files = (await api("GET", "/files?search=nothing&purpose=batch")).json()["data"]

    assert ([one["id"] for one in batches], len(files)) == ([ident], 1)


async def test_a_download_has_no_pages_and_no_headers_of_its_own() -> None:
    async with openai() as api:
        file = (await run(api, lines(3)))["output_file_id"]
        answer = await api("GET", f"/files/{file}/content?skip=2&limit=1")

    assert answer.body.count(b"\n") == 3
    assert not {"X-Incomplete", "X-Last-Line"} & set(answer.headers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/batches/b"),
        ("POST", "/batches/b/retry"),
        ("GET", "/batches/b/results"),
        ("GET", "/files/f/cost-estimate"),
    ],
)
async def test_what_only_doubleword_has_is_not_there(method: str, path: str) -> None:
    async with openai() as api:
        assert (await api(method, path)).status in (404, 405)


async def test_every_error_is_json_with_all_its_keys() -> None:
    async with openai() as api:
        file = (await run(api, lines(1)))["output_file_id"]
        api.emulator.faults.add("status", status=429, retry_after=1, route="GET /batches")
        api.emulator.faults.add("status", status=503, route="GET /files")
        answers = [
            await api("GET", f"/files/{file}/content", key="wrong"),
            await api("GET", "/responses/resp_1"),
            await api("GET", "/batches"),
            await api("GET", "/files"),
            await api("POST", "/responses", b"{"),
        ]

    assert [answer.status for answer in answers] == [401, 404, 429, 503, 400]
    assert all(_error(answer)["message"] for answer in answers)
    assert answers[2].headers["Retry-After"] == "1"


async def test_an_upload_must_name_its_purpose_and_its_lines_are_not_looked_at() -> None:
    async with openai() as api:
        silent = await send_form(api, {}, b"{}")
        anything = await send_form(api, {"purpose": "batch"}, b"not json\n")

    assert (silent.status, "purpose" in _error(silent)["message"]) == (400, True)
    assert anything.status == 200


async def test_the_profile_brings_openais_way_to_cancel_a_response_unless_told_otherwise() -> None:
    async with openai(latency=60) as api:
        ident = await api.submit()
        assert (await api("POST", f"/responses/{ident}/cancel")).json()["status"] == "cancelled"
    assert Emulator(profile="openai", cancel_route="delete").cancel_route == "delete"
    assert Emulator().cancel_route == "delete"


async def test_a_batch_is_validated_before_any_of_it_runs() -> None:
    async with openai(batch_validation=60) as api:
        ident = await start(api, lines(2))
        await asyncio.sleep(0.01)

        assert (await look(api, ident))["status"] == "validating"
        assert api.emulator.counters.batch == 0
