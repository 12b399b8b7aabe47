"""What a flex step takes in memory while it is outstanding, beside its body.

Asked for: ``calls``. Everything the caller made (the bodies) is there before the first look at the memory, and what is
kept of the encoded bodies is subtracted. It leaves without waiting for the answers, which take an hour.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from benchmarks.clients.measure import MODEL, Watch, asked, prompt, resident

from dw_agents import Engine, Step


def main() -> None:
    """Submit, wait until the service has accepted everything, and look."""
    given = asked()
    engine = Engine(api_key=given["api_key"], base_url=given["base_url"], max_polls_per_second=100)
    engine.run(Step(body={"model": MODEL, "input": "warm-up"}, service_tier="priority"))
    bodies = [{"model": MODEL, "input": prompt(number)} for number in range(given["calls"])]
    gc.collect()
    before, watch = resident(), Watch()
    tickets = [engine.submit(Step(body=body)) for body in bodies]
    submitted = time.monotonic() - watch.started
    counts = engine.snapshot()
    while counts["waiting"] + counts["submitting"]:
        time.sleep(0.5)
        counts = engine.snapshot()
    gc.collect()
    taken = resident() - before - sum(len(ticket.body) for ticket in tickets)
    watch.report(bytes_per_step=taken / len(tickets), submitted_in=submitted)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
