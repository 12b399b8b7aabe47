"""The agents of ``agents_batch.py`` on autobatcher; runs in the peers' environment. Prints wall and CPU seconds."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from autobatcher import BatchOpenAI

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


async def main(base_url: str, key: str, agents: int, steps: int, settings: dict[str, Any]) -> None:
    """Run the agents, each of whose steps needs the answer of the one before."""
    async with BatchOpenAI(base_url=base_url, api_key=key, **settings) as client:

        async def agent(name: int) -> None:
            for turn in range(steps):
                await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": f"agent {name}, step {turn}"}]
                )

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*[agent(name) for name in range(agents)])
        print(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    given = dict(pair.split("=") for pair in sys.argv[5:])
    asyncio.run(
        main(
            sys.argv[1],
            sys.argv[2],
            int(sys.argv[3]),
            int(sys.argv[4]),
            {name: value if name == "completion_window" else float(value) for name, value in given.items()},
        )
    )
