"""``POST /batches`` and ``GET /batches/{id}``."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dw_agents.emulator import Account
from tests.emulator.batch_support import GatedBackend, ended, line, lines, look, run, send_batch, start, upload
from tests.emulator.support import MODEL, serving

ALWAYS = {
    "id",
    "object",
    "endpoint",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "expires_at",
    "request_counts",
    "metadata",
}


async def test_a_creation_is_201_validating_with_both_files_and_nothing_null() -> None:
    async with serving() as api:
        answer = await send_batch(api, await upload(api, lines(2)), metadata={"run": "7"})
        counts = api.emulator.counters.snapshot()

    shown = answer.json()
    assert (answer.status, shown["status"], shown["object"]) == (201, "validating", "batch")
    assert set(shown) == ALWAYS
    assert str(uuid.UUID(shown["id"])) == shown["id"]
    assert shown["expires_at"] - shown["created_at"] == 86_400
    assert shown["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert (counts.batches, counts.lines, counts.accepted) == (1, 2, 0)


async def test_a_finished_batch_shows_its_times_and_counts_and_no_nulls() -> None:
    async with serving() as api:
        shown = await run(api, lines(3))
        assert api.emulator.counters.batch == 3
        assert api.emulator.counters.realtime == api.emulator.counters.flex == 0

    assert set(shown) == ALWAYS | {"in_progress_at", "finalizing_at", "completed_at"}
    assert shown["status"] == "completed"
    assert shown["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


async def test_metadata_comes_back_with_what_the_service_adds_and_without_reserved_names() -> None:
    metadata = {"run": "7", "Created-By": "me", "REQUEST_SOURCE": "x", "dw_user_agent": "y"}
    async with serving() as api:
        shown = await look(api, await start(api, lines(1), metadata=metadata))

    assert set(shown["metadata"]) == {
        "run",
        "request_source",
        "created_by_email",
        "context_name",
        "context_type",
    }
    assert (shown["metadata"]["run"], shown["metadata"]["request_source"]) == ("7", "api")


async def test_one_hour_is_a_window_too() -> None:
    async with serving() as api:
        shown = (await send_batch(api, await upload(api, lines(1)), completion_window="1h")).json()

    assert shown["expires_at"] - shown["created_at"] == 3600


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"completion_window": "5m"}, 400, "Unsupported completion_window. Allowed values: 24h, 1h"),
        ({"endpoint": "/v1/images"}, 400, "Unsupported endpoint '/v1/images'. Supported: /v1/chat/completions"),
        ({"input_file_id": "file-1"}, 400, "Invalid input_file_id format"),
        ({"input_file_id": None}, 422, "input_file_id"),
        ({"metadata": {"n": 1}}, 422, "metadata"),
    ],
)
async def test_a_creation_that_breaks_a_rule_is_plain_text(fields: dict[str, Any], status: int, said: str) -> None:
    async with serving() as api:
        answer = await send_batch(api, await upload(api, lines(1)), **fields)

        assert api.emulator.batches == []

    assert answer.status == status
    assert said in answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_a_server_that_knows_one_window_names_it() -> None:
    async with serving(completion_windows=("24h",)) as api:
        answer = await send_batch(api, await upload(api, lines(1)), completion_window="1h")

    assert (answer.status, answer.text) == (400, "Unsupported completion_window. Allowed values: 24h")


async def test_a_body_that_is_no_json_or_does_not_say_so_is_refused() -> None:
    async with serving() as api:
        headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
        async with api.session.post(f"{api.emulator.base_url}/batches", data=b"{", headers=headers) as reply:
            broken = reply.status
        untyped = await api("POST", "/batches", b"{}")

    assert (broken, untyped.status) == (400, 415)


async def test_a_file_that_is_unknown_or_of_someone_else_is_404_or_403() -> None:
    missing = str(uuid.uuid4())
    async with serving(api_keys=["mine", "yours"]) as api:
        ident = await upload(api, lines(1))
        unknown = await send_batch(api, missing)
        api.key = "yours"
        foreign = await send_batch(api, ident)

    assert (unknown.status, unknown.text) == (404, f"File with ID {missing} not found")
    assert foreign.status == 403


async def test_an_empty_balance_may_create_batches_and_a_negative_one_may_not() -> None:
    keys = [Account("zero", has_credits=False), Account("debt", has_credits=False, in_debt=True)]
    async with serving(api_keys=keys) as api:
        shown = await run(api, lines(2))
        api.key = "debt"
        refused = await send_batch(api, await upload(api, lines(1)))

    assert (shown["status"], shown["request_counts"]["failed"]) == ("failed", 2)
    assert (refused.status, refused.text) == (402, "Account balance too low. Please add credits to continue.")


async def test_a_key_without_the_role_is_403() -> None:
    async with serving(api_keys=[Account("k", batch_role=False)]) as api:
        assert (await send_batch(api, await upload(api, lines(1)))).status == 403


async def test_a_model_that_went_away_is_400() -> None:
    async with serving(models=[MODEL]) as api:
        ident = await upload(api, lines(1))
        api.emulator.models = ["other"]
        answer = await send_batch(api, ident)

    assert (answer.status, MODEL in answer.text) == (400, True)


async def test_no_capacity_is_429_with_a_header_that_contradicts_the_body() -> None:
    async with serving(GatedBackend(), batch_capacity=5) as api:
        ident = await upload(api, lines(3))
        assert (await send_batch(api, ident)).status == 201
        answer = await send_batch(api, ident)

        assert len(api.emulator.batches) == 1

    assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
    assert (answer.json()["error"], answer.json()["retry_after_seconds"]) == ("too_many_requests", 30)
    assert f"at capacity: {MODEL}" in answer.json()["message"]


async def test_the_unverified_cap_counts_lines_and_grows_with_the_window() -> None:
    async with serving(api_keys=[Account("k", unverified_limit=3)]) as api:
        ident = await upload(api, lines(2))
        statuses = [(await send_batch(api, ident, completion_window="1h")).status for _ in range(2)]
        longer = await send_batch(api, ident)

    assert (statuses, longer.status) == ([201, 429], 201)


async def test_one_file_serves_several_batches_and_the_endpoint_is_not_held_against_its_lines() -> None:
    async with serving() as api:
        ident = await upload(api, [line("a"), line("b", url="/v1/chat/completions")])
        made = [(await send_batch(api, ident, endpoint="/v1/embeddings")).json()["id"] for _ in range(2)]
        shown = [await ended(api, batch) for batch in made]

    assert [one["request_counts"]["completed"] for one in shown] == [2, 2]


async def test_a_new_batch_may_be_invisible_for_a_while() -> None:
    async with serving(visible_after=1000) as api:
        ident = await start(api, lines(1))
        one = await api("GET", f"/batches/{ident}")
        listed = (await api("GET", "/batches")).json()["data"]
        cancelled = await api("POST", f"/batches/{ident}/cancel")

    assert (one.status, one.text, listed) == (404, f"Batch with ID {ident} not found", [])
    assert cancelled.status == 200


@pytest.mark.parametrize(("ident", "status"), [("batch_1", 400), (str(uuid.UUID(int=1)), 404)])
async def test_bad_and_unknown_ids_differ(ident: str, status: int) -> None:
    async with serving() as api:
        assert (await api("GET", f"/batches/{ident}")).status == status


async def test_the_batch_of_someone_else_is_404() -> None:
    async with serving(api_keys=["mine", "yours"]) as api:
        ident = await start(api, lines(1))

        assert (await api("GET", f"/batches/{ident}", key="yours")).status == 404


async def test_a_batch_past_its_window_shows_when_it_expired_but_never_as_its_status() -> None:
    async with serving(completion_windows=("0s",)) as api:
        shown = await run(api, lines(1), completion_window="0s")

    assert shown["status"] == "completed"
    assert shown["expired_at"] == shown["expires_at"]


@pytest.mark.parametrize("path", ["/batches", "/files", "/batches/x"])
async def test_a_bad_key_is_401_in_plain_text(path: str) -> None:
    async with serving() as api:
        answer = await api("GET", path, key="wrong")

    assert (answer.status, answer.text) == (401, "Invalid API key")


async def test_a_batch_that_is_not_finished_is_what_would_still_be_paid_for() -> None:
    backend = GatedBackend()
    async with serving(backend) as api:
        ident = await start(api, lines(1))
        assert api.emulator.running() == api.emulator.running_batches() == [ident]
        backend.allowed = 1
        await ended(api, ident)

        assert api.emulator.running() == []
        assert api.emulator.batch(ident).completed == 1
        with pytest.raises(KeyError):
            api.emulator.batch("batch_1")
