"""Listing, reading, deleting and estimating files."""

from __future__ import annotations

import uuid

import pytest

from dw_agents.emulator import Account
from tests.emulator.batch_support import (
    GatedBackend,
    encode,
    line,
    lines,
    look,
    run,
    send_batch,
    send_form,
    start,
    upload,
)
from tests.emulator.support import MODEL, serving


async def test_a_file_reads_back_as_it_was_answered() -> None:
    async with serving() as api:
        ident = await upload(api, lines(2))
        shown = await api("GET", f"/files/{ident}")
        shouted = await api("GET", f"/files/{ident.upper()}")

    assert (shown.status, shown.json()["id"]) == (200, ident)
    assert shouted.json() == shown.json()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_bad_and_unknown_ids_differ(method: str) -> None:
    other = str(uuid.uuid4())
    async with serving() as api:
        bad = await api(method, "/files/file-123")
        unknown = await api(method, f"/files/{other}")

    assert (bad.status, bad.text) == (400, "Invalid file ID format")
    assert (unknown.status, unknown.text) == (404, f"File with ID {other} not found")


async def test_files_belong_to_their_owner() -> None:
    keys = [Account("one", owner="us"), Account("two", owner="us"), Account("other")]
    async with serving(api_keys=keys) as api:
        ident = await upload(api, lines(1))
        statuses = [(await api("GET", f"/files/{ident}", key=key)).status for key in ("one", "two", "other")]
        seen = (await api("GET", "/files", key="other")).json()["data"]

    assert (statuses, seen) == ([200, 200, 404], [])


async def test_a_file_past_its_time_shows_as_expired_and_is_still_served() -> None:
    async with serving() as api:
        ident = (await send_form(api, {"expires_after[seconds]": "0"}, encode(lines(1)))).json()["id"]
        shown = (await api("GET", f"/files/{ident}")).json()
        served = await api("GET", f"/files/{ident}/content")

    assert (shown["status"], served.status) == ("expired", 200)


async def test_the_list_is_newest_first_in_pages() -> None:
    async with serving() as api:
        idents = [await upload(api, lines(1), f"{number}.jsonl") for number in range(5)]
        first = (await api("GET", "/files?limit=2")).json()
        second = (await api("GET", f"/files?limit=3&after={first['last_id']}")).json()
        oldest = (await api("GET", "/files?order=asc&limit=1")).json()

    assert first["object"] == "list"
    assert [file["id"] for file in first["data"] + second["data"]] == idents[::-1]
    assert (first["first_id"], first["last_id"]) == (idents[4], idents[3])
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert oldest["data"][0]["id"] == idents[0]


async def test_an_upload_can_be_found_by_its_filename() -> None:
    async with serving() as api:
        await upload(api, lines(1), "other.jsonl")
        ident = await upload(api, lines(1), "run-TOKEN-7.jsonl")
        found = (await api("GET", "/files?search=token-7")).json()["data"]

    assert [file["id"] for file in found] == [ident]


async def test_a_batch_adds_its_two_files_to_the_list_from_the_start() -> None:
    async with serving(batch_latency=60) as api:
        await start(api, lines(1))
        purposes = [file["purpose"] for file in (await api("GET", "/files")).json()["data"]]
        outputs = (await api("GET", "/files?purpose=batch_output")).json()["data"]

    assert purposes == ["batch_error", "batch_output", "batch"]
    assert len(outputs) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=-5", "limit=9999"])
async def test_a_limit_out_of_range_is_clamped(query: str) -> None:
    async with serving() as api:
        await upload(api, lines(1))

        assert len((await api("GET", f"/files?{query}")).json()["data"]) == 1


@pytest.mark.parametrize("query", ["limit=many", "order=sideways"])
async def test_a_query_that_does_not_parse_is_400(query: str) -> None:
    async with serving() as api:
        assert (await api("GET", f"/files?{query}")).status == 400


async def test_deleting_an_input_cancels_its_batch_and_leaves_it_without_one() -> None:
    async with serving(GatedBackend()) as api:
        ident = await upload(api, lines(3))
        batch = (await send_batch(api, ident)).json()["id"]
        deleted = await api("DELETE", f"/files/{ident}")
        shown = await look(api, batch)

        assert api.emulator.running() == []
        assert (await api("GET", f"/files/{ident}")).status == 404

    assert deleted.json() == {"id": ident, "object": "file", "deleted": True}
    assert (shown["status"], shown["input_file_id"]) == ("cancelled", "")


async def test_deleting_an_input_leaves_a_finished_batch_as_it_is() -> None:
    async with serving() as api:
        done = await run(api, lines(2))
        await api("DELETE", f"/files/{done['input_file_id']}")
        shown = await look(api, done["id"])

    assert (shown["status"], shown["input_file_id"]) == ("completed", "")


async def test_an_estimate_counts_a_token_for_four_bytes() -> None:
    async with serving() as api:
        ident = await upload(api, [line(), line(), line(model="other")])
        shown = (await api("GET", f"/files/{ident}/cost-estimate?completion_window=24h")).json()
        size = api.emulator.files[0].spool.size

    assert (shown["file_id"], shown["total_requests"]) == (ident, 3)
    assert shown["total_estimated_input_tokens"] == size // 4
    assert {model["model"]: model["request_count"] for model in shown["models"]} == {MODEL: 2, "other": 1}
