"""The agents of ``agents_batch.py`` on dw-agents, with its default settings. Prints wall and CPU seconds."""

from __future__ import annotations

import asyncio
import sys
import time

from dw_agents import Engine, Step

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


async def main(base_url: str, key: str, agents: int, steps: int) -> None:
    """Run the agents, each of whose steps needs the answer of the one before."""
    with Engine(api_key=key, base_url=base_url) as engine:

        async def agent(name: int) -> None:
            for turn in range(steps):
                body = {"model": MODEL, "messages": [{"role": "user", "content": f"agent {name}, step {turn}"}]}
                await engine.arun(Step(endpoint="/chat/completions", body=body, service_tier="batch"))

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*[agent(name) for name in range(agents)])
        print(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
