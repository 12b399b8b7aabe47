"""The upstream backend against a small HTTP server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from dw_agents.emulator.backends import UpstreamError
from dw_agents.emulator.backends.upstream import UpstreamBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def serving(handler: Any, **options: Any) -> AsyncIterator[UpstreamBackend]:
    """Start a server with one handler for every path, and a backend in front of it."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(application) as server:
        backend = UpstreamBackend(str(server.make_url("/v1")), **options)
        await backend.start()
        try:
            yield backend
        finally:
            await backend.close()


async def test_a_request_goes_on_with_the_key_and_without_the_fields_of_the_tiers() -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("Authorization"), await request.json()))
        return web.json_response({"ok": True})

    async with serving(handler, api_key="secret", model="other") as backend:
        assert await backend.chat({**CHAT, "service_tier": "flex", "stream": True}) == {"ok": True}
        assert await backend.embed({"model": "e", "input": "x"}) == {"ok": True}
    assert seen == [
        ("/v1/chat/completions", "Bearer secret", {**CHAT, "model": "other"}),
        ("/v1/embeddings", "Bearer secret", {"model": "other", "input": "x"}),
    ]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (429, '{"error": {"message": "slow down"}}', "slow down"),
        (404, '{"error": "no such model"}', "no such model"),
        (500, "plain words", "plain words"),
        (503, "", "HTTP 503"),
    ],
)
async def test_an_error_keeps_its_status_and_message(status: int, body: str, message: str) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with serving(handler) as backend:
        with pytest.raises(UpstreamError) as caught:
            await backend.chat(CHAT)
    assert (caught.value.status, caught.value.message) == (status, message)


async def test_a_redirect_is_an_error_and_the_key_does_not_follow_it() -> None:
    calls: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(handler, api_key="secret") as backend:
        with pytest.raises(UpstreamError, match="redirects") as caught:
            await backend.chat(CHAT)
    assert caught.value.status == 502
    assert calls == ["/v1/chat/completions"]


async def test_a_reply_that_is_no_json_object_is_a_bad_gateway() -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with serving(handler) as backend:
        with pytest.raises(UpstreamError) as caught:
            await backend.chat(CHAT)
    assert caught.value.status == 502


async def test_a_server_that_does_not_answer_in_time_is_a_gateway_time_out() -> None:
    release = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with serving(handler, timeout=0.05) as backend:
        with pytest.raises(UpstreamError) as caught:
            await backend.chat(CHAT)
        release.set()
    assert caught.value.status == 504


async def test_a_server_that_is_not_there_is_a_bad_gateway() -> None:
    backend = UpstreamBackend(f"http://127.0.0.1:{unused_port()}/v1")
    await backend.start()
    with pytest.raises(UpstreamError, match="cannot be reached") as caught:
        await backend.chat(CHAT)
    await backend.close()
    assert caught.value.status == 502


async def test_a_backend_that_is_not_started_says_so() -> None:
    with pytest.raises(UpstreamError, match="not started"):
        await UpstreamBackend("http://127.0.0.1:1/v1").chat(CHAT)


def test_an_address_that_is_no_http_address_is_refused() -> None:
    with pytest.raises(ValueError, match="base_url"):
        UpstreamBackend("localhost:8000")


def test_the_description_does_not_repeat_a_password_in_the_address() -> None:
    assert "pw" not in UpstreamBackend("http://user:pw@127.0.0.1:8000/v1").description
