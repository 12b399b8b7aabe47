"""What every client of the benchmarks shares, in either environment: standard library only.

Owns: the stop-watch, and how a client is told what to do and says what came of it (JSON both ways).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


class Watch:
    """Wall and CPU seconds between its making and ``report``, and when the caller held which result."""

    def __init__(self) -> None:
        self.held: list[float] = []
        self.started = time.monotonic()
        self._cpu = time.process_time()

    def hold(self) -> None:
        """Note that a caller has a result in its hands now."""
        self.held.append(time.monotonic())

    def report(self, **more: Any) -> None:
        """Print the figures: monotonic seconds, CPU seconds of all threads, megabytes."""
        ended, cpu = time.monotonic(), time.process_time()
        print(
            json.dumps(
                {
                    "started": self.started,
                    "wall": ended - self.started,
                    "cpu": cpu - self._cpu,
                    "calls": len(self.held),
                    "held_mean": sum(self.held) / len(self.held) if self.held else None,
                    "held_first": min(self.held, default=None),
                    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                    **more,
                }
            ),
            flush=True,
        )


def asked() -> dict[str, Any]:
    """Read what the harness asks for, and go to the core that it names."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    if given.get("core") is not None:
        os.sched_setaffinity(0, {given["core"]})
    if not given.get("uvloop", True):
        # As where it is not installed.
        sys.modules["uvloop"] = None  # type: ignore[assignment]
    return given


def prompt(number: int) -> str:
    """A question of some length, of which no two are equal."""
    return f"Question {number}: which fjord is the longest, which the deepest, and which one is worth the journey?"


def resident() -> int:
    """Bytes that this process holds in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
