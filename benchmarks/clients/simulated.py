"""The polling schedule alone, in simulated time: no service, no network.

Asked for: ``calls``, ``sigma``, and ``how``: ``learned`` (ours) or ``fixed`` (an interval that waits 5% on average).
"""

from __future__ import annotations

import math
import random
import time

from benchmarks.clients.measure import Watch, asked

MEDIAN = 90.0


def main() -> None:
    """Play the jobs and report look-ups and waiting."""
    given = asked()
    rng = random.Random(3)
    took = [MEDIAN * math.exp(rng.gauss(0, given["sigma"])) for _ in range(given["calls"])]
    watch = Watch()
    if given["how"] == "fixed":
        every = 0.1 * sum(took) / len(took)
        looks = [math.ceil(seconds / every) for seconds in took]
        late = sum(n * every - seconds for n, seconds in zip(looks, took, strict=True))
        polls, share = sum(looks) / len(looks), late / sum(took)
    else:
        from tests.core.test_polling import simulate

        run = simulate(took)
        polls, share = run.polls_per_job, run.share
    watch.held.append(time.monotonic())
    watch.report(polls=polls, share=share)


if __name__ == "__main__":
    main()
