"""What is passed on to the service, untouched but for what belongs to one hop."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING

import aiohttp
import openai
import pytest
from aiohttp import web
from yarl import URL

from dw_agents.emulator import Fault
from tests.proxy.support import MODEL, chat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from dw_agents.proxy import Proxy
    from tests.proxy.conftest import MakeProxy, MakeService


async def test_the_models_are_the_service_s(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    async with http.get(f"{proxy.base_url}/models?include_reasoning_capabilities=true") as reply:
        listed = await reply.json()
    assert MODEL in [model["id"] for model in listed["data"]]
    assert emulator.requests[0].path == "/v1/models?include_reasoning_capabilities=true"


async def test_files_and_batches_of_the_sdk_work_through_the_proxy(
    proxy: Proxy, http: ClientSession, tmp_path: Path
) -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"model": MODEL, "input": "hi"}}
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps(line) + "\n")
    async with openai.AsyncOpenAI(api_key="any", base_url=proxy.base_url) as client:
        with path.open("rb") as opened:
            stored = await client.files.create(file=opened, purpose="batch")
        batch = await client.batches.create(input_file_id=stored.id, endpoint="/v1/responses", completion_window="24h")
        while batch.status != "completed":
            await asyncio.sleep(0.02)
            batch = await client.batches.retrieve(batch.id)
        assert batch.output_file_id is not None
        content = await client.files.content(batch.output_file_id)
        assert json.loads(content.text)["custom_id"] == "1"
        await client.files.delete(stored.id)
    async with http.delete(f"{proxy.base_url}/batches/{batch.id}") as reply:
        assert (reply.status, await reply.read()) == (204, b"")


async def test_the_query_of_a_call_passes_with_it(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    url = URL(f"{proxy.base_url}/chat/completions?x=a%26b&y=%3D", encoded=True)
    async with http.post(url, json=chat(service_tier="priority")) as reply:
        assert reply.status == 200
    assert emulator.requests[0].path == "/v1/chat/completions?x=a%26b&y=%3D"
    async with http.post(url, json=chat()) as reply:
        assert (reply.status, (await reply.json())["error"]["param"]) == (400, "extra_query")


async def test_the_service_s_own_errors_pass_as_they_are(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    direct = {"Authorization": f"Bearer {emulator.api_key}"}
    for path in ("/nothing/here", "/files/7d9a0f6e-0000-4000-8000-000000000000", "/responses/resp_unknown"):
        async with http.get(proxy.base_url + path) as reply, http.get(emulator.base_url + path, headers=direct) as own:
            assert (reply.status, await reply.read()) == (own.status, await own.read())
            assert reply.headers["Content-Type"] == own.headers["Content-Type"]


@pytest.mark.parametrize(
    "path", ["/admin/api/v1/models", "/v1", "/v1beta/models", "/v1/../admin", "/v1/x/%2e%2e/y", "/v1/%252e%252e/y", "/"]
)
async def test_nothing_outside_the_api_is_reached(emulator: Emulator, proxy: Proxy, path: str) -> None:
    host, port = proxy.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    said = (await reader.read()).decode()
    writer.close()
    assert said.startswith("HTTP/1.1 404 ")
    assert "the client's base URL must be" in said
    assert emulator.requests == []


async def test_secrets_and_marks_of_the_client_do_not_reach_the_service(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    sent = {
        "Authorization": "Bearer of-the-client",
        "X-Api-Key": "of-the-client",
        "Cookie": "session=of-the-client",
        "Proxy-Authorization": "Basic of-the-client",
        "X-Fusillade-Request-Id": "1",
        "X-DW-Agents-Run": "nightly",
        "Connection": "keep-alive, X-Of-This-Hop",
        "X-Of-This-Hop": "1",
        "X-Kept": "yes",
        "OpenAI-Beta": "assistants=v2",
    }
    async with http.get(f"{proxy.base_url}/models", headers=sent) as reply:
        assert reply.status == 200
    got = {name.lower(): value for name, value in emulator.requests[0].headers.items()}
    assert got["authorization"] == f"Bearer {emulator.api_key}"
    assert (got["x-kept"], got["openai-beta"]) == ("yes", "assistants=v2")
    assert not [
        name for name in got if name.startswith(("x-fusillade", "x-dw-agents", "x-api-key", "cookie", "proxy-"))
    ]
    assert "x-of-this-hop" not in got
    assert "of-the-client" not in str(got)


async def test_bodies_pass_in_the_encoding_that_both_ends_agree_on(
    make_service: MakeService, make_proxy: MakeProxy
) -> None:
    packed = gzip.compress(b"many words " * 1000)

    async def answer(request: web.Request) -> web.StreamResponse:
        if "gzip" not in request.headers["Accept-Encoding"]:
            return web.Response(body=b"plain")
        return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Set-Cookie": "a=b", "X-Own": "1"})

    proxy = await make_proxy(base_url=await make_service(answer))
    async with aiohttp.ClientSession(auto_decompress=False) as raw:
        async with raw.get(f"{proxy.base_url}/x", headers={"Accept-Encoding": "gzip"}) as reply:
            assert (await reply.read(), reply.headers["Content-Encoding"]) == (packed, "gzip")
            assert (reply.headers["X-Own"], "Set-Cookie" in reply.headers) == ("1", False)
        async with raw.get(f"{proxy.base_url}/x", skip_auto_headers={"Accept-Encoding"}) as reply:
            assert await reply.read() == b"plain"


async def test_a_packed_upload_arrives_unpacked_and_whole(
    make_service: MakeService, make_proxy: MakeProxy, http: ClientSession
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    proxy = await make_proxy(base_url=await make_service(answer))
    packed = gzip.compress(b"many words")
    async with http.post(f"{proxy.base_url}/files", data=packed, headers={"Content-Encoding": "gzip"}) as reply:
        assert await reply.read() == b"many words"


@pytest.mark.parametrize("path", ["/responses", "/files"])
async def test_a_body_that_is_not_packed_as_it_says_is_the_client_s_error(
    emulator: Emulator, proxy: Proxy, http: ClientSession, path: str
) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with http.post(proxy.base_url + path, data=b'{"model": "m"}', headers=headers) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (400, "invalid_body")
    assert [job.id for job in emulator.jobs] == []


async def test_a_reply_passes_while_it_comes(make_service: MakeService, make_proxy: MakeProxy) -> None:
    seen = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"first")
        await seen.wait()
        await reply.write(b"second")
        return reply

    proxy = await make_proxy(base_url=await make_service(answer))
    async with aiohttp.ClientSession() as client, client.get(f"{proxy.base_url}/x") as reply:
        assert await reply.content.readexactly(5) == b"first"
        seen.set()
        assert await reply.read() == b"second"


async def test_a_reply_that_breaks_off_does_not_look_whole_to_the_client(
    emulator: Emulator, proxy: Proxy, http: ClientSession
) -> None:
    emulator.set_faults(Fault("reset_body", route="GET /models"))
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
        async with http.get(f"{proxy.base_url}/models") as reply:
            await reply.read()


async def test_a_request_without_a_reply_is_told_as_that(emulator: Emulator, proxy: Proxy, http: ClientSession) -> None:
    emulator.set_faults(Fault("lost_reply"))
    async with http.get(f"{proxy.base_url}/models") as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (502, "no_reply")
        assert "X-Should-Retry" not in reply.headers
    async with http.post(f"{proxy.base_url}/batches", json={}) as reply:
        assert (reply.status, reply.headers["X-Should-Retry"]) == (502, "false")


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_above_the_limit_is_refused(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession, chunked: bool
) -> None:
    proxy = await make_proxy(upload_limit=100_000)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 50_000

    data = body() if chunked else b"x" * 200_000
    async with http.post(f"{proxy.base_url}/files", data=data) as reply:
        assert (reply.status, "100,000 bytes" in await reply.text()) == (413, True)
    assert emulator.files == []


async def test_an_upload_passes_while_it_comes_and_keeps_its_length(
    make_service: MakeService, make_proxy: MakeProxy, http: ClientSession
) -> None:
    came: list[object] = []
    begun = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        came.append(request.headers.get("Content-Length"))
        came.append(await request.content.readexactly(5))
        begun.set()
        return web.Response(body=await request.read())

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await begun.wait()
        yield b"second"

    proxy = await make_proxy(base_url=await make_service(answer))
    async with http.post(f"{proxy.base_url}/files", data=body(), headers={"Content-Length": "11"}) as reply:
        assert await reply.read() == b"second"
    assert came == ["11", b"first"]
