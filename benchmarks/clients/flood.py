"""The emulator's own ceiling: as many submissions and then look-ups as it takes, from a client that costs little.

Asked for: ``calls``. Each is submitted once and, finished by then, looked at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop
from benchmarks.clients.measure import MODEL, Watch, asked, prompt
from benchmarks.prototypes.http1 import Client

CONNECTIONS = 64


async def main(given: dict[str, Any]) -> None:
    """Flood, and report requests per second."""
    parts = urlsplit(given["base_url"])
    headers = [f"Authorization: Bearer {given['api_key']}", "Content-Type: application/json"]
    client = Client(parts.hostname or "", parts.port or 80, headers, connections=CONNECTIONS)
    path = f"{parts.path}/responses".encode()
    numbers, jobs = iter(range(given["calls"])), list[bytes]()

    async def submit() -> None:
        for number in numbers:
            body = {"model": MODEL, "input": prompt(number), "service_tier": "flex", "background": True}
            _, reply = await client.request(b"POST", path, msgspec.json.encode(body))
            jobs.append(msgspec.json.decode(reply)["id"].encode())

    async def look() -> None:
        while jobs:
            status, _ = await client.request(b"GET", path + b"/" + jobs.pop())
            if status != 200:
                raise RuntimeError(f"a look-up was answered with {status}")
            watch.hold()

    watch = Watch()
    await asyncio.gather(*[submit() for _ in range(CONNECTIONS)])
    submitted = time.monotonic()
    await asyncio.gather(*[look() for _ in range(CONNECTIONS)])
    looked = time.monotonic() - submitted
    await client.close()
    watch.report(posts_per_second=given["calls"] / (submitted - watch.started), gets_per_second=given["calls"] / looked)


if __name__ == "__main__":
    uvloop.run(main(asked()))
