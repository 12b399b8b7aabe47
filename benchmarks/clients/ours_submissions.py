"""What a submission waits for, with and without a journal: steps that arrive evenly, and as many as possible at once.

Asked for: ``calls`` at ``per_second``, and after them ``burst`` at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.clients.measure import MODEL, Watch, asked, prompt

from dw_agents import Engine, Step

if TYPE_CHECKING:
    from dw_agents import Ticket


def wait_accepted(tickets: list[Ticket]) -> list[float]:
    """Return when each was accepted, once all are."""
    for ticket in tickets:
        while ticket.accepted_at is None:
            if ticket.done():
                ticket.result()
            time.sleep(0.005)
    return [ticket.accepted_at or 0.0 for ticket in tickets]


def main() -> None:
    """Submit, and report from the call of ``submit`` to the service's id."""
    given = asked()
    with Engine(api_key=given["api_key"], base_url=given["base_url"]) as engine:
        engine.run(Step(body={"model": MODEL, "input": "warm-up"}))
        watch, tickets, calls = Watch(), [], []
        for number in range(given["calls"]):
            time.sleep(max(0.0, watch.started + number / given["per_second"] - time.monotonic()))
            began = time.perf_counter()
            tickets.append(engine.submit(Step(body={"model": MODEL, "input": prompt(number)})))
            calls.append(time.perf_counter() - began)
        accepted = wait_accepted(tickets)
        took = sorted(at - ticket.submitted_at for at, ticket in zip(accepted, tickets, strict=True))
        for ticket in tickets:
            ticket.result()
            watch.hold()
        began_burst = time.monotonic()
        burst = [
            engine.submit(Step(body={"model": MODEL, "input": prompt(number)}))
            for number in range(given["calls"], given["calls"] + given["burst"])
        ]
        last = max(wait_accepted(burst))
        for ticket in burst:
            ticket.result()
            watch.hold()
        watch.report(
            accepted_p50_ms=took[len(took) // 2] * 1e3,
            accepted_p99_ms=took[len(took) * 99 // 100] * 1e3,
            submit_p99_us=sorted(calls)[len(calls) * 99 // 100] * 1e6,
            accepted_per_second=given["burst"] / (last - began_burst),
        )


if __name__ == "__main__":
    main()
