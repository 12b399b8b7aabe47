"""The emulator in a process of its own, that tells when it finished what.

Owns: the process. Times are handed out as ``time.monotonic()`` of this machine, which clients share. It stops when its
standard input closes, so that it never outlives who started it. Must not import the clients.

Reads one JSON object from its command line (``Emulator``'s settings, ``core``, ``answer_bytes``); writes its address as
one JSON line; then answers each line of its input with a JSON line of counts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any

from dw_agents.emulator import Emulator


class Constant:
    """A backend that answers the same at once, so that what is measured is the client.

    Args:
        size: bytes of the answer's text.
    """

    name = "constant"
    description = "Answers always the same."

    def __init__(self, size: int) -> None:
        self._text = "y" * size

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer with the same text each time."""
        choice = {"index": 0, "message": {"role": "assistant", "content": self._text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [choice],
            "usage": usage,
        }

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Not asked for here."""
        raise NotImplementedError


def counts(emulator: Emulator) -> dict[str, Any]:
    """What the clients' figures are held against.

    Returns:
        ``jobs`` finished, the mean of their ends and the last of their beginnings (monotonic seconds), ``batches`` and
        the last of their ends, ``routes`` (requests by label), and ``cpu`` seconds of this process.
    """
    # The emulator keeps Unix time; its distance from the monotonic clock is the same now as it was then.
    shift = time.monotonic() - time.time()
    jobs = [job for job in emulator.jobs if job.tier == "flex"]
    ends = [job.finished + shift for job in jobs if job.finished is not None]
    took = [job.finished - job.created for job in jobs if job.finished is not None]
    return {
        "jobs": len(ends),
        "finished_mean": sum(ends) / len(ends) if ends else None,
        "finished_last": max(ends, default=None),
        "took_mean": sum(took) / len(took) if took else None,
        "created_last": max((job.created + shift for job in jobs), default=None),
        "batches": len(emulator.batches),
        "routes": dict(emulator.counters.snapshot().routes),
        "cpu": time.process_time(),
    }


def main(settings: dict[str, Any]) -> None:
    """Serve until the input closes."""
    core = settings.pop("core", None)
    if core is not None:
        os.sched_setaffinity(0, {core})
    answer = Constant(settings.pop("answer_bytes", 20))
    try:
        import uvloop
    except ImportError:
        print("uvloop is not installed: the emulator is slower", file=sys.stderr)
    else:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # The jobs of a run are kept to its end anyway; looking through them again and again only makes the server slower.
    gc.disable()
    with Emulator(answer, record=0, max_file_size=2**30, **settings) as emulator:
        print(json.dumps({"base_url": emulator.base_url, "api_key": emulator.api_key}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(counts(emulator)), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
