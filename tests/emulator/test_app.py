"""Dispatch, counting, recording, and faults as a client meets them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.emulator.support import MODEL, ScriptedBackend, serving, until

POST = "POST /responses"
GET = "GET /responses/{id}"
BODY = {"model": MODEL, "input": "ping", "service_tier": "flex", "background": True}


async def test_the_same_routes_are_served_under_both_roots() -> None:
    async with serving() as api:
        other = api.emulator.base_url.replace("/v1", "/ai/v1")
        ident = (await api("POST", "/responses", BODY, root=other)).json()["id"]

        assert (await api("GET", f"/responses/{ident}", root=other)).status == 200
        assert (await api("GET", f"/responses/{ident}")).status == 200
        assert api.emulator.counters[GET] == 2


@pytest.mark.parametrize("path", ["/nothing", "/responses/", "/responses/a/b/c", "/assistants"])
async def test_what_nobody_serves_is_404_as_the_proxy_says_it(path: str) -> None:
    async with serving() as api:
        answer = await api("GET", path)

    assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_wrong_method_is_405_with_the_right_ones() -> None:
    async with serving() as api:
        answer = await api("PATCH", "/responses/resp_1")

    assert (answer.status, answer.headers["Allow"], answer.body) == (405, "DELETE,GET", b"")


async def test_a_body_over_the_limit_is_413() -> None:
    async with serving(body_limit=1000) as api:
        fits = await api("POST", "/responses", {**BODY, "input": "x" * 800})
        large = await api("POST", "/responses", {**BODY, "input": "x" * 1000})

        assert api.emulator.counters.accepted == 1

    assert (fits.status, large.status) == (202, 413)
    assert large.json()["error"]["code"] == "payload_too_large"


async def test_every_request_is_counted_by_route_and_status() -> None:
    async with serving() as api:
        ident = await api.submit()
        await api("GET", f"/responses/{ident}")
        await api("GET", "/responses/unknown")
        await api("DELETE", f"/responses/{ident}")
        counts = api.emulator.counters.snapshot()

    assert counts.routes == {POST: 1, GET: 2, "DELETE /responses/{id}": 1}
    assert counts.statuses == {202: 1, 200: 2, 404: 1}
    assert counts.replies[GET, 404] == 1


async def test_the_last_requests_are_recorded_as_they_came() -> None:
    async with serving(record=2) as api:
        for text in "abc":
            await api.submit(text)
        recorded = api.emulator.requests

    assert [request.json()["input"] for request in recorded] == ["b", "c"]
    assert recorded[0].headers["authorization"] == f"Bearer {api.key}"
    assert (recorded[0].route, recorded[0].method, recorded[0].path) == (POST, "POST", "/v1/responses")


async def test_recording_can_be_switched_off() -> None:
    async with serving(record=0) as api:
        await api.submit()

        assert api.emulator.requests == []


class _Endless(ScriptedBackend):
    asked = stopped = False

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked = True
        try:
            await asyncio.sleep(60)
        finally:
            self.stopped = True
        return await super().chat(request)


async def test_a_client_that_leaves_a_realtime_call_stops_it() -> None:
    backend = _Endless()
    async with serving(backend) as api:
        calling = asyncio.create_task(api("POST", "/responses", {"model": MODEL, "input": "ping"}))
        await until(lambda: backend.asked)
        assert not backend.stopped
        calling.cancel()
        await until(lambda: backend.stopped)
