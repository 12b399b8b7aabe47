"""Calls on autobatcher, in its own environment: ``calls`` at once, or ``agents`` that take ``steps``.

Asked for also: ``settings`` of its client, and ``quiet`` (its log is written to standard error unless turned off).
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from autobatcher import BatchOpenAI
from benchmarks.clients.measure import MODEL, Watch, asked, prompt


async def main(given: dict[str, Any]) -> None:
    """Ask, and report."""
    if given.get("quiet"):
        importlib.import_module("loguru").logger.disable("autobatcher")
    async with BatchOpenAI(base_url=given["base_url"], api_key=given["api_key"], **given["settings"]) as client:
        await client.models.list()
        watch = Watch()

        async def one(text: str) -> None:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
            watch.hold()

        async def agent(name: int) -> None:
            for turn in range(given["steps"]):
                await one(f"agent {name}, step {turn}")

        if "agents" in given:
            await asyncio.gather(*[agent(name) for name in range(given["agents"])])
        else:
            await asyncio.gather(*[one(prompt(number)) for number in range(given["calls"])])
        watch.report()


if __name__ == "__main__":
    asyncio.run(main(asked()))
