"""How much memory a large batch takes beside the answers that its callers keep: 50,000 answers of 4 kB."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

STEPS, SIZE = 50_000, 3_700
MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


class Long:
    """A backend that answers four kilobytes to everything."""

    name = "long"
    description = "Answers with 4 kB."

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer with the same text each time."""
        choice = {"index": 0, "message": {"role": "assistant", "content": "y" * SIZE}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 900, "total_tokens": 901}
        return {"id": "c", "object": "chat.completion", "model": request["model"], "choices": [choice], "usage": usage}

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Not asked for here."""
        raise NotImplementedError


def resident() -> float:
    """Megabytes that this process holds in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


async def client(base_url: str, key: str) -> None:
    """Ask, watch the memory, and print what it came to."""
    from dw_agents import Engine, Step

    async with Engine(api_key=key, base_url=base_url) as engine:
        await engine.arun(Step(body={"model": MODEL, "input": "warm-up"}, service_tier="batch"))
        before, peak, done = resident(), 0.0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.005):
                peak = max(peak, resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        tickets = [
            engine.submit(Step(body={"model": MODEL, "input": str(i)}, service_tier="batch")) for i in range(STEPS)
        ]
        submitted = resident()
        for ticket in tickets:
            await ticket
        wall = time.perf_counter() - started
        done.set()
        watcher.join()
        kept = sum(len(ticket.result().raw) for ticket in tickets) / 1e6
    print(f"{STEPS:,} answers, {kept:.0f} MB of text in all, in {wall:.1f} s")
    print(f"a submitted step takes {(submitted - before) * 1e3 / STEPS:.2f} kB, its body included")
    print(f"peak beside the answers: {peak - before - kept:.0f} MB")


def main() -> None:
    """Run the emulator here and the client in a process of its own."""
    from dw_agents.emulator import Emulator

    with Emulator(backend=Long(), batch_latency=1.0, record=0) as emulator:
        subprocess.run([sys.executable, __file__, emulator.base_url, emulator.api_key], check=True, timeout=300)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(client(sys.argv[1], sys.argv[2]))
    else:
        main()
