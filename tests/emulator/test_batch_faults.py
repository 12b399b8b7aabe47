"""The unhappy ends of lines, batches and downloads."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec
import pytest

from dw_agents.emulator import Fault, Faults
from tests.emulator.batch_support import (
    CHAT,
    content,
    line,
    lines,
    look,
    named,
    run,
    send_batch,
    send_file,
    start,
    upload,
)
from tests.emulator.support import Api, serving

CREATE, POLL, DOWNLOAD = "POST /batches", "GET /batches/{id}", "GET /files/{id}/content"


def _on(custom_id: str, kind: str, **rule: Any) -> Faults:
    return Faults(Fault(kind, match=f'"custom_id":"{custom_id}"', **rule))


async def _raw(api: Api, file: str) -> list[bytes]:
    return (await api("GET", f"/files/{file}/content")).body.splitlines()


@pytest.mark.parametrize(
    ("code", "kind"), [(400, "NonRetriableHttpStatus"), (429, "RetriableHttpStatus"), (None, "NetworkError")]
)
async def test_a_line_fails_with_the_code_that_it_is_told(code: int | None, kind: str) -> None:
    async with serving(faults=_on("1", "fail_line", code=code)) as api:
        shown = await run(api, lines(3))
        (failed,) = await content(api, shown["error_file_id"])

        assert api.emulator.counters.faults == {"fail_line": 1}

    reason = msgspec.json.decode(failed["error"]["message"])
    assert (failed["custom_id"], reason["type"], reason["details"].get("status")) == ("1", kind, code)
    assert shown["request_counts"] == {"total": 3, "completed": 2, "failed": 1}


async def test_a_line_fails_inline_in_the_output_file() -> None:
    async with serving(faults=_on("1", "inline_error", message="too rude")) as api:
        shown = await run(api, lines(3))
        told = {one["custom_id"]: one["response"] for one in await content(api, shown["output_file_id"])}

    assert [told[name]["status_code"] for name in ("0", "1", "2")] == [200, 400, 200]
    assert told["1"]["body"]["error"]["message"] == "too rude"


async def test_a_malformed_line_stands_between_good_ones() -> None:
    async with serving(faults=_on("1", "malformed_line")) as api:
        raw = await _raw(api, (await run(api, lines(3)))["output_file_id"])

    assert len(raw) == 3
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(raw[1])
    assert [msgspec.json.decode(raw[at])["custom_id"] for at in (0, 2)] == ["0", "2"]


async def test_an_ending_that_nobody_has_heard_of() -> None:
    async with serving(faults=Faults(Fault("unknown_finish_reason"))) as api:
        shown = await run(api, [line("r"), line("c", url=CHAT)])
        response, chat = (one["response"]["body"] for one in await content(api, shown["output_file_id"]))

    assert response["status"] == chat["choices"][0]["finish_reason"] == "out_of_this_world"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("missing_line", ["0", "2"]),
        ("duplicate_line", ["0", "1", "1", "2"]),
        ("unknown_custom_id", ["0", "unknown-1", "2"]),
    ],
)
async def test_lines_are_lost_doubled_or_renamed_while_the_counts_look_right(kind: str, wanted: list[str]) -> None:
    async with serving(faults=_on("1", kind)) as api:
        shown = await run(api, lines(3))
        assert await named(api, shown["output_file_id"]) == wanted

    assert shown["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


async def test_the_faults_of_flex_jobs_strike_lines_too() -> None:
    async with serving(faults=Faults(Fault("refuse", match='"custom_id":"0"'), Fault("omit_usage"))) as api:
        shown = await run(api, lines(2))
        refused, fine = (one["response"]["body"] for one in await content(api, shown["output_file_id"]))

    assert refused["output"][0]["content"][0]["type"] == "refusal"
    assert fine["output"][0]["content"][0]["type"] == "output_text"
    assert refused["usage"] is None


async def test_faults_of_other_routes_leave_lines_alone() -> None:
    async with serving(faults=Faults(Fault("fail_job", route="POST /responses"))) as api:
        assert (await run(api, lines(2)))["request_counts"]["completed"] == 2


async def test_a_batch_fails_half_way_and_keeps_what_is_done() -> None:
    async with serving(faults=Faults(Fault("batch_failed", message="out of luck"))) as api:
        shown = await run(api, lines(10))
        assert len(await named(api, shown["output_file_id"])) == 5
        assert await named(api, shown["error_file_id"]) == []
        assert api.emulator.running() == []

    assert (shown["status"], shown["request_counts"]["completed"]) == ("failed", 5)
    assert shown["errors"]["data"][0]["message"] == "out of luck"


async def test_a_batch_expires_half_way_and_the_rest_is_in_the_error_file() -> None:
    async with serving(faults=Faults(Fault("batch_expired", share=0.3))) as api:
        shown = await run(api, lines(10))
        done = await named(api, shown["output_file_id"])
        left = await content(api, shown["error_file_id"])

    assert (shown["status"], "expired_at" in shown) == ("completed", True)
    assert sorted(done + [one["custom_id"] for one in left]) == [str(number) for number in range(10)]
    assert {msgspec.json.decode(one["error"]["message"])["type"] for one in left} == {"Timeout"}


async def test_a_batch_is_cancelled_half_way_and_the_rest_is_nowhere() -> None:
    async with serving(faults=Faults(Fault("batch_cancelled"))) as api:
        shown = await run(api, lines(10))
        assert len(await named(api, shown["output_file_id"])) == 5
        assert await named(api, shown["error_file_id"]) == []

    assert (shown["status"], shown["request_counts"]) == ("cancelled", {"total": 10, "completed": 5, "failed": 0})


@pytest.mark.parametrize(("share", "done"), [(0, 0), (1, 4)])
async def test_a_share_may_be_nothing_or_everything(share: float, done: int) -> None:
    async with serving(faults=Faults(Fault("batch_cancelled", share=share))) as api:
        assert (await run(api, lines(4)))["request_counts"]["completed"] == done


async def test_a_batch_completes_without_an_output_file() -> None:
    async with serving(faults=Faults(Fault("no_output_file"))) as api:
        shown = await run(api, lines(2))

    assert (shown["status"], "output_file_id" in shown, "error_file_id" in shown) == ("completed", False, True)


async def test_a_batch_fault_picks_its_batch_by_what_created_it() -> None:
    async with serving(faults=Faults(Fault("batch_failed", match="second", share=0))) as api:
        first = await run(api, lines(1), metadata={"name": "first"})
        second = await run(api, lines(1), metadata={"name": "second"})

        assert api.emulator.counters.faults == {"batch_failed": 1}

    assert (first["status"], second["status"]) == ("completed", "failed")


async def test_a_retry_after_an_injected_end_runs_to_the_real_one() -> None:
    async with serving(faults=Faults(Fault("batch_cancelled"))) as api:
        ident = (await run(api, lines(4)))["id"]
        await api("POST", f"/batches/{ident}/retry")
        while (shown := await look(api, ident))["status"] == "in_progress":
            pass

    assert (shown["status"], shown["request_counts"]["completed"]) == ("completed", 4)


@pytest.mark.parametrize("route", [CREATE, POLL, DOWNLOAD, "POST /batches/{id}/cancel", "GET /batches", "GET /files"])
@pytest.mark.parametrize(("status", "word"), [(401, "Invalid API key"), (429, "too_many_requests"), (500, "injected")])
async def test_every_route_can_refuse_in_the_family_of_files(route: str, status: int, word: str) -> None:
    async with serving() as api:
        shown = await run(api, lines(1))
        api.emulator.faults.add("status", route=route, status=status, retry_after=2)
        method, _, template = route.partition(" ")
        ident = shown["output_file_id"] if "files" in template else shown["id"]
        answer = await api(method, template.replace("{id}", ident), {} if method == "POST" else None)

    assert (answer.status, answer.headers["Retry-After"]) == (status, "2")
    assert word in answer.text
    assert answer.headers["Content-Type"].startswith("text/plain" if status != 429 else "application/json")


async def test_an_injected_402_has_the_text_of_an_empty_account() -> None:
    async with serving(faults=Faults(Fault("status", status=402, route=CREATE))) as api:
        answer = await send_batch(api, await upload(api, lines(1)))

        assert api.emulator.batches == []

    assert answer.text == "Account balance too low. Please add credits to continue."


async def test_a_lost_reply_to_a_creation_leaves_one_batch_that_can_be_found() -> None:
    async with serving(faults=Faults(Fault("lost_reply", route=CREATE))) as api:
        file = await upload(api, lines(1))
        with pytest.raises(aiohttp.ClientConnectionError):
            await send_batch(api, file, metadata={"token": "t-1"})
        found = (await api("GET", "/batches?search=t-1")).json()["data"]

        assert [one["id"] for one in found] == [api.emulator.batches[0].id]
        assert api.emulator.counters.batches == 1


async def test_a_lost_request_creates_nothing() -> None:
    async with serving(faults=Faults(Fault("lost_request", route=CREATE))) as api:
        file = await upload(api, lines(1))
        with pytest.raises(aiohttp.ClientConnectionError):
            await send_batch(api, file)

        assert api.emulator.counters.batches == 0


async def test_a_lost_cancel_reply_has_cancelled_all_the_same() -> None:
    async with serving(faults=Faults(Fault("lost_reply", route="POST /batches/{id}/cancel")), batch_latency=60) as api:
        ident = await start(api, lines(1))
        with pytest.raises(aiohttp.ClientConnectionError):
            await api("POST", f"/batches/{ident}/cancel")

        assert (await look(api, ident))["status"] == "cancelled"


async def test_garbage_in_place_of_an_upload_stores_nothing() -> None:
    async with serving(faults=Faults(Fault("garbage", route="POST /files"))) as api:
        answer = await send_file(api, lines(1))

        assert api.emulator.files == []

    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


async def test_the_same_seed_spoils_the_same_lines() -> None:
    async def spoiled(seed: int) -> list[str]:
        async with serving(faults=Faults(Fault("fail_line", rate=0.3)), seed=seed) as api:
            return await named(api, (await run(api, lines(40)))["error_file_id"])

    first = await spoiled(1)
    assert 0 < len(first) < 40
    assert first == await spoiled(1) != await spoiled(2)
