"""Cancel, retry and delete."""

from __future__ import annotations

import asyncio

from dw_agents.emulator import UpstreamError
from tests.emulator.batch_support import GatedBackend, content, ended, lines, look, named, run, send_batch, start
from tests.emulator.support import ScriptedBackend, serving, until


async def test_cancel_stops_what_runs_and_keeps_what_is_done() -> None:
    backend = GatedBackend()
    async with serving(backend) as api:
        ident = await start(api, lines(8))
        backend.allowed = 3
        await until(lambda: api.emulator.batch(ident).completed == 3)
        cancelled = (await api("POST", f"/batches/{ident}/cancel")).json()
        await until(lambda: backend.waiting == 0)
        shown = await look(api, ident)
        done = await named(api, shown["output_file_id"])
        failed = await named(api, shown["error_file_id"])

        assert api.emulator.running() == []

    assert cancelled["status"] == shown["status"] == "cancelled"
    assert cancelled["cancelling_at"] == cancelled["cancelled_at"]
    assert shown["request_counts"] == {"total": 8, "completed": 3, "failed": 0}
    assert (len(done), failed) == (3, [])


async def test_a_batch_can_be_cancelled_before_its_lines_are_read() -> None:
    async with serving(batch_validation=60) as api:
        ident = await start(api, lines(3))
        await api("POST", f"/batches/{ident}/cancel")

        assert (await look(api, ident))["status"] == "cancelled"
        assert api.emulator.counters.batch == 0
        assert api.emulator.running() == []


async def test_cancelling_a_completed_batch_turns_it_to_cancelled_too() -> None:
    async with serving() as api:
        done = await run(api, lines(2))
        cancelled = (await api("POST", f"/batches/{done['id']}/cancel")).json()
        again = await api("POST", f"/batches/{done['id']}/cancel")

        assert len(await named(api, done["output_file_id"])) == 2

    assert (cancelled["status"], "completed_at" in cancelled) == ("cancelled", True)
    assert (again.status, again.json()) == (200, cancelled)


async def test_retry_runs_the_failed_lines_again_and_empties_the_error_file() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(400, "no")] * 3
    async with serving(backend) as api:
        first = await run(api, lines(5))
        failures = await named(api, first["error_file_id"])
        answer = await api("POST", f"/batches/{first['id']}/retry")
        second = await ended(api, first["id"])
        left = await named(api, first["error_file_id"])
        done = await named(api, first["output_file_id"])

        assert api.emulator.counters.batch == 8

    assert (answer.status, answer.json()["status"]) == (200, "in_progress")
    assert (failures, left) == (["0", "1", "2"], [])
    assert done == ["3", "4", "0", "1", "2"]
    assert second["request_counts"] == {"total": 5, "completed": 5, "failed": 0}


async def test_retry_brings_a_cancelled_batch_back() -> None:
    backend = GatedBackend()
    async with serving(backend) as api:
        ident = await start(api, lines(4))
        backend.allowed = 1
        await until(lambda: api.emulator.batch(ident).completed == 1)
        await api("POST", f"/batches/{ident}/cancel")
        backend.allowed = 4
        await api("POST", f"/batches/{ident}/retry")
        shown = await ended(api, ident)

    assert (shown["status"], shown["request_counts"]["completed"]) == ("completed", 4)
    assert "cancelled_at" not in shown


async def test_chosen_lines_are_retried_by_their_ids_with_or_without_the_prefix() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(400, "no")] * 4
    async with serving(backend) as api:
        first = await run(api, lines(4))
        failures = await content(api, first["error_file_id"])
        chosen = [failures[1]["id"].removeprefix("batch_req_"), failures[3]["id"]]
        await api("POST", f"/batches/{first['id']}/retry-requests", {"request_ids": chosen})
        second = await ended(api, first["id"])
        done = await content(api, first["output_file_id"])
        left = await named(api, first["error_file_id"])

    assert first["status"] == "failed"
    assert [one["custom_id"] for one in done] == ["1", "3"]
    assert [one["id"] for one in done] == [failures[1]["id"], failures[3]["id"]]
    assert left == ["0", "2"]
    assert (second["status"], second["request_counts"]["failed"]) == ("completed", 2)


async def test_nothing_to_retry_is_400() -> None:
    async with serving() as api:
        done = await run(api, lines(1))
        every = await api("POST", f"/batches/{done['id']}/retry")
        some = await api("POST", f"/batches/{done['id']}/retry-requests", {"request_ids": ["nonsense"]})
        broken = await api("POST", f"/batches/{done['id']}/retry-requests", {})

    assert (every.status, every.text[:16]) == (400, "Nothing to retry")
    assert (some.status, broken.status) == (400, 422)


async def test_a_deleted_batch_is_gone_and_stopped() -> None:
    backend = GatedBackend()
    async with serving(backend) as api:
        ident = await start(api, lines(2))
        deleted = await api("DELETE", f"/batches/{ident}")
        await until(lambda: backend.waiting == 0)
        gone = await api("GET", f"/batches/{ident}")
        listed = (await api("GET", "/batches")).json()["data"]

        assert api.emulator.running() == []
        assert api.emulator.batch(ident).deleted

    assert (deleted.status, deleted.body) == (204, b"")
    assert (gone.status, listed) == (404, [])


async def test_two_retries_at_once_do_not_run_a_line_twice() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(400, "no")] * 3
    async with serving(backend) as api:
        first = await run(api, lines(3))
        path = f"/batches/{first['id']}/retry"
        answers = await asyncio.gather(api("POST", path), api("POST", path))
        await ended(api, first["id"])

        assert api.emulator.counters.batch == 6
        assert len(await named(api, first["output_file_id"])) == 3

    assert sorted(answer.status for answer in answers) == [200, 400]


async def test_one_file_is_run_again_by_another_batch() -> None:
    async with serving() as api:
        first = await run(api, lines(2))
        second = (await send_batch(api, first["input_file_id"])).json()
        shown = await ended(api, second["id"])

    assert shown["output_file_id"] != first["output_file_id"]
    assert shown["request_counts"]["completed"] == 2
