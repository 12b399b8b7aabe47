"""Agents on dw-agents: each takes some steps, every one of which needs the answer before.

Asked for: ``agents``, ``steps``, ``tier``, and ``options`` of the engine.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.clients.measure import MODEL, Watch, asked

from dw_agents import Engine, Step


async def main(given: dict[str, Any]) -> None:
    """Run the agents side by side."""
    with Engine(api_key=given["api_key"], base_url=given["base_url"], **given.get("options", {})) as engine:
        await engine.arun(Step(body={"model": MODEL, "input": "warm-up"}, service_tier="priority"))
        watch = Watch()

        async def agent(name: int) -> None:
            for turn in range(given["steps"]):
                body = {"model": MODEL, "messages": [{"role": "user", "content": f"agent {name}, step {turn}"}]}
                await engine.arun(Step(endpoint="/chat/completions", body=body, service_tier=given["tier"]))
                watch.hold()

        await asyncio.gather(*[agent(name) for name in range(given["agents"])])
        watch.report()


if __name__ == "__main__":
    asyncio.run(main(asked()))
