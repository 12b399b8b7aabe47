"""Reading, deleting and cancelling stored responses."""

from __future__ import annotations

import asyncio

import pytest

from dw_agents.emulator import Account, Fault, Faults
from tests.emulator.support import ScriptedBackend, serving, until


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_a_good_key_it_is_401_in_plain_text(method: str, key: str | None) -> None:
    async with serving() as api:
        answer = await api(method, f"/responses/{await api.submit()}", key=key)

    assert (answer.status, answer.text) == (401, "Authentication required")
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("ident", ["resp_nonsense", "resp_00000000-0000-4000-8000-000000000000", "1"])
async def test_a_bad_or_unknown_id_is_404_in_plain_text(method: str, ident: str) -> None:
    async with serving() as api:
        answer = await api(method, f"/responses/{ident}")

    assert (answer.status, answer.text) == (404, f"response with ID {ident} not found")
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_an_id_works_without_its_prefix() -> None:
    async with serving() as api:
        ident = await api.submit()

        assert (await api.get(ident.removeprefix("resp_")))["id"] == ident


async def test_keys_of_one_owner_read_each_other_and_strangers_do_not() -> None:
    keys = [Account("a", owner="org"), Account("b", owner="org"), "c"]
    async with serving(api_keys=keys) as api:
        ident = await api.submit()
        statuses = [(await api("GET", f"/responses/{ident}", key=key)).status for key in "abc"]

    assert statuses == [200, 200, 404]


async def test_query_parameters_are_ignored() -> None:
    async with serving() as api:
        answer = await api("GET", f"/responses/{await api.submit()}?stream=true&include=x&starting_after=3")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"


async def test_a_new_response_is_404_until_it_becomes_visible() -> None:
    async with serving(visible_after=0.15) as api:
        ident = await api.submit()
        early = [(await api(method, f"/responses/{ident}")).status for method in ("GET", "DELETE")]
        await until(lambda: api.emulator.job(ident).terminal)
        still = (await api("GET", f"/responses/{ident}")).status
        api.emulator.visible_after = 0
        late = (await api("GET", f"/responses/{ident}")).status

    assert (early, still, late) == ([404, 404], 404, 200)


async def test_delete_stops_a_queued_job_and_forgets_it() -> None:
    backend = ScriptedBackend()
    async with serving(backend, pickup=60) as api:
        ident = await api.submit()
        assert api.emulator.running() == [ident]
        answer = await api("DELETE", f"/responses/{ident}")
        again = await api("DELETE", f"/responses/{ident}")
        gone = await api("GET", f"/responses/{ident}")

        assert api.emulator.running() == []
        assert api.emulator.job(ident).state == "deleted"

    assert (answer.status, answer.json()) == (200, {"id": ident, "object": "response", "deleted": True})
    assert (again.status, gone.status) == (404, 404)
    assert backend.chats == []


async def test_delete_stops_a_job_in_progress() -> None:
    backend = ScriptedBackend()
    async with serving(backend, latency=60) as api:
        ident = await api.submit()
        await api("DELETE", f"/responses/{ident}")

        assert api.emulator.running() == []

    assert backend.chats == []


@pytest.mark.parametrize(("path", "status"), [("/responses", 500), ("/chat/completions", 499)])
async def test_delete_ends_a_blocking_call_as_cancelled(path: str, status: int) -> None:
    async with serving(latency=60) as api:
        body = {"model": "m", "input": "x", "messages": [], "service_tier": "flex"}
        blocked = asyncio.create_task(api("POST", path, body))
        await until(lambda: api.emulator.jobs)
        await api("DELETE", f"/responses/{api.emulator.jobs[0].id}")
        answer = await blocked

    assert answer.status == status
    assert "cancel" in answer.text
    assert "deleted" not in answer.text


async def test_delete_echoes_the_id_as_it_was_sent() -> None:
    async with serving() as api:
        bare = (await api.submit()).removeprefix("resp_")

        assert (await api("DELETE", f"/responses/{bare}")).json()["id"] == bare


async def test_there_is_no_cancel_and_no_list() -> None:
    async with serving(pickup=60) as api:
        ident = await api.submit()
        cancel = await api("POST", f"/responses/{ident}/cancel")
        listing = await api("GET", "/responses")
        items = await api("GET", f"/responses/{ident}/input_items")

        assert api.emulator.running() == [ident]

    assert (cancel.status, items.status, listing.status) == (404, 404, 405)
    assert set(cancel.json()["error"]) == {"message", "type", "param", "code"}


# cancel_route="post": as OpenAI


async def test_like_openai_cancel_stops_a_job_and_returns_it() -> None:
    async with serving(pickup=60, cancel_route="post") as api:
        ident = await api.submit()
        answer = await api("POST", f"/responses/{ident}/cancel")
        again = await api("POST", f"/responses/{ident}/cancel")

        assert api.emulator.running() == []
        assert (await api.get(ident))["status"] == "cancelled"

    assert (answer.status, answer.json()["status"], again.status) == (200, "cancelled", 200)


async def test_like_openai_a_finished_response_is_not_cancelled() -> None:
    async with serving(cancel_route="post") as api:
        ident = await api.submit()
        await api.finished(ident)

        assert (await api("POST", f"/responses/{ident}/cancel")).json()["status"] == "completed"


async def test_like_openai_a_running_response_cannot_be_deleted() -> None:
    async with serving(pickup=60, cancel_route="post") as api:
        ident = await api.submit()
        refused = await api("DELETE", f"/responses/{ident}")

        assert api.emulator.running() == [ident]

        await api("POST", f"/responses/{ident}/cancel")
        deleted = await api("DELETE", f"/responses/{ident}")

    assert (refused.status, deleted.status) == (400, 200)


async def test_like_openai_objects_are_full_and_may_be_incomplete() -> None:
    async with serving(cancel_route="post", faults=Faults(Fault("truncate"))) as api:
        shown = await api.finished(await api.submit(metadata={"a": "b"}))

    assert (shown["status"], shown["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (shown["background"], shown["metadata"], shown["service_tier"]) == (True, {"a": "b"}, "flex")
