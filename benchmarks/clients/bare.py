"""The floor: what two HTTP requests per call cost in bare aiohttp, when somebody says when the job is done.

Asked for: ``calls``, ``seconds`` (of the job: it is looked at once, that long after it was accepted), ``uvloop``.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from benchmarks.clients.measure import MODEL, Watch, asked, prompt

SENDING, LOOKING = 64, 128


async def main(given: dict[str, Any]) -> None:
    """Submit each call, wait, and look once."""
    base, loop = given["base_url"], asyncio.get_running_loop()
    sending, looking = asyncio.Semaphore(SENDING), asyncio.Semaphore(LOOKING)
    headers = {"Authorization": f"Bearer {given['api_key']}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        async with session.get(f"{base}/models") as reply:
            await reply.read()
        watch = Watch()
        looks = 0

        async def one(number: int) -> None:
            nonlocal looks
            body = {"model": MODEL, "input": prompt(number), "service_tier": "flex", "background": True}
            async with sending, session.post(f"{base}/responses", data=json.dumps(body).encode()) as reply:
                job = json.loads(await reply.read())["id"]
            done = loop.time() + given["seconds"] + 0.01
            while True:
                await asyncio.sleep(done - loop.time())
                looks += 1
                async with looking, session.get(f"{base}/responses/{job}") as reply:
                    if json.loads(await reply.read())["status"] == "completed":
                        break
                done = loop.time() + 0.05
            watch.hold()

        await asyncio.gather(*[one(number) for number in range(given["calls"])])
        watch.report(looks=looks)


def run() -> None:
    """Run on uvloop where that is asked for."""
    given = asked()
    if given.get("uvloop", True):
        import uvloop

        uvloop.run(main(given))
    else:
        asyncio.run(main(given))


if __name__ == "__main__":
    run()
