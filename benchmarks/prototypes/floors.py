"""How low the floor could be: a flex call's two requests with one client and another, on the same emulator.

Run alone: ``python -m benchmarks.prototypes.floors [--calls 2000] [--repeat 3]``; prints a table. What it found is
written in ``README.md`` beside it. As a client of the harness it is told ``how``: ``aiohttp``, ``own``, ``pipelined``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from benchmarks.clients.measure import MODEL, Watch, asked, prompt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[str, str, bytes], Awaitable[bytes]]

SENDING, LOOKING = 64, 128
WAYS = ("aiohttp", "own", "pipelined")


class Job(msgspec.Struct):
    """What is read of a reply."""

    id: str
    status: str


read = msgspec.json.Decoder(Job).decode


async def through_aiohttp(given: dict[str, Any], stack: AsyncExitStack) -> tuple[Send, Send]:
    """As the engine does today."""
    headers = {"Authorization": f"Bearer {given['api_key']}", "Content-Type": "application/json"}
    session = await stack.enter_async_context(
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0))
    )

    async def send(method: str, path: str, body: bytes) -> bytes:
        async with session.request(method, given["base_url"] + path, data=body or None) as reply:
            return await reply.read()

    return send, send


async def through_own(given: dict[str, Any], stack: AsyncExitStack) -> tuple[Send, Send]:
    """By the prototype; one client for each kind, as each has its own allowance."""
    from benchmarks.prototypes.http1 import Client

    parts = urlsplit(given["base_url"])
    headers = [f"Authorization: Bearer {given['api_key']}", "Content-Type: application/json"]
    depth = 16 if given["how"] == "pipelined" else 1

    def make(most: int) -> Send:
        client = Client(parts.hostname or "", parts.port or 80, headers, connections=most // depth, depth=depth)
        stack.push_async_callback(client.close)

        async def send(method: str, path: str, body: bytes) -> bytes:
            return (await client.request(method.encode(), (parts.path + path).encode(), body))[1]

        return send

    return make(SENDING), make(LOOKING)


async def client(given: dict[str, Any]) -> None:
    """Submit each call, wait, and look once the job should be done."""
    loop = asyncio.get_running_loop()
    sending, looking = asyncio.Semaphore(SENDING), asyncio.Semaphore(LOOKING)
    async with AsyncExitStack() as stack:
        make = through_aiohttp if given["how"] == "aiohttp" else through_own
        post, get = await make(given, stack)
        await get("GET", "/models", b"")
        watch, looks = Watch(), 0

        async def one(number: int) -> None:
            nonlocal looks
            body = {"model": MODEL, "input": prompt(number), "service_tier": "flex", "background": True}
            async with sending:
                job = read(await post("POST", "/responses", msgspec.json.encode(body))).id
            due = loop.time() + given["seconds"] + 0.01
            while True:
                await asyncio.sleep(due - loop.time())
                looks += 1
                async with looking:
                    if read(await get("GET", f"/responses/{job}", b"")).status == "completed":
                        break
                due = loop.time() + 0.05
            watch.hold()

        await asyncio.gather(*[one(number) for number in range(given["calls"])])
        watch.report(looks=looks)


def compare(calls: int, repeat: int) -> None:
    """Run each way in turn and print medians."""
    from benchmarks.figures import derive, spread
    from benchmarks.harness import run_client, serving

    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        for way in WAYS:
            with serving({"latency": 2.0}) as server:
                told = {"how": way, "calls": calls, "seconds": 2}
                found = run_client("prototypes.floors", told, python=sys.executable, server=server, limit=120)
                runs[way].append(derive(found, server.stats(), 2.0))
    print(f"{calls} calls, uvloop\n{'':12}{'CPU ms per call':>18}{'wall s':>10}{'looks per job':>15}")
    for way, found_runs in runs.items():
        cpu, wall, looks = (spread([run[key] for run in found_runs]).median for key in ("cpu_ms", "wall", "polls"))
        print(f"{way:12}{cpu:18.3f}{wall:10.2f}{looks:15.2f}")


def main() -> None:
    """Compare, or be the client that is asked for."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        import uvloop

        uvloop.run(client(asked()))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    compare(options.calls, options.repeat)


if __name__ == "__main__":
    main()
