"""How much memory a large batch takes beside the answers that its callers keep.

Asked for: ``calls``; the server's ``answer_bytes`` says how long an answer is.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from benchmarks.clients.measure import MODEL, Watch, asked, resident

from dw_agents import Engine, Step


async def main(given: dict[str, Any]) -> None:
    """Ask, watch the memory, and report."""
    async with Engine(api_key=given["api_key"], base_url=given["base_url"]) as engine:
        await engine.arun(Step(body={"model": MODEL, "input": "warm-up"}, service_tier="batch"))
        before, peak, done = resident(), 0, threading.Event()

        def look() -> None:
            nonlocal peak
            while not done.wait(0.005):
                peak = max(peak, resident())

        watch, looker = Watch(), threading.Thread(target=look)
        looker.start()
        tickets = [
            engine.submit(Step(body={"model": MODEL, "input": str(number)}, service_tier="batch"))
            for number in range(given["calls"])
        ]
        submitted = resident()
        for ticket in tickets:
            await ticket
            watch.hold()
        done.set()
        looker.join()
        kept = sum(len(ticket.result().raw) for ticket in tickets)
        watch.report(
            submitted_bytes=(submitted - before) / len(tickets),
            answers_mb=kept / 1e6,
            beside_mb=(peak - before - kept) / 1e6,
        )


if __name__ == "__main__":
    asyncio.run(main(asked()))
