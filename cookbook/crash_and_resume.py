"""A hundred agents are killed in the middle of their work, and the same command is run again: each step is paid once.

Run it with ``python cookbook/crash_and_resume.py``. An emulator stands in for the service, and nothing is paid. The
program starts itself as a worker, kills it (``kill -9``) when two thirds of the work have been accepted, and starts it
again. It waits for a moment in which nothing is being sent: a step whose submission is under way when its process is
killed may or may not have been accepted, so it is sent again, and the receipt counts it as a possible duplicate.

With ``--live`` there is only the worker, on the real service (that needs ``DOUBLEWORD_API_KEY``): kill it yourself
whenever you like, and run the same command again. All that makes it work is ``run=``: under the same name, in whatever
process, a step that was answered is read again and not paid again, and one that is still running is waited for.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_dw_agents import ChatDoubleword

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator import Emulator

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"
STEPS = 3
"""Of each agent, one after the other."""


async def agent(llm: ChatDoubleword, number: int) -> str:
    """Take the steps of one agent: each builds on the answer before it."""
    text = f"the harbour town number {number}"
    for task in ("Name what is worth seeing in", "Choose the best of", "Write one sentence about")[:STEPS]:
        answer = await llm.ainvoke(f"{task}: {text}")
        text = answer.text
    return text


async def fleet(llm: ChatDoubleword, agents: int) -> list[str]:
    """Run all agents at the same time."""
    return await asyncio.gather(*[agent(llm, number) for number in range(agents)])


def worker(run: str, agents: int) -> int:
    """Do the work, from the beginning or from wherever an earlier process got to."""
    llm = ChatDoubleword(model=MODEL, run=run)
    with llm.engine as engine:
        findings = asyncio.run(fleet(llm, agents))
        print(f"{len(findings)} agents are done.\n{engine.receipt()}")
    return 0


def kill_and_resume(agents: int) -> int:
    """Kill a worker on its way, start it again, and compare what was asked with what was accepted."""
    from dw_agents.emulator import Emulator

    with (
        Emulator(latency="lognormal:median=90,sigma=0.1", speed=60) as emulator,
        tempfile.TemporaryDirectory() as folder,
    ):
        print(f"A local emulator stands in for the service. {emulator.description}\n")
        command = [sys.executable, __file__, "--worker", "--agents", str(agents)]
        surroundings = {
            **os.environ,
            "DOUBLEWORD_API_KEY": emulator.api_key,
            "DOUBLEWORD_BASE_URL": emulator.base_url,
            "DW_AGENTS_JOURNAL": str(Path(folder) / "journal.db"),
        }
        with subprocess.Popen(command, env=surroundings) as first:
            wait_for_a_quiet_moment(emulator, first, accepted=agents * STEPS * 2 // 3)
            first.kill()
        print(f"kill -9, after {emulator.counters.accepted} of {agents * STEPS} steps had been accepted.")
        print("The same command once more:\n", flush=True)
        status = subprocess.run(command, env=surroundings, check=False).returncode
        return status or report(emulator, agents)


def wait_for_a_quiet_moment(emulator: Emulator, process: subprocess.Popen[bytes], accepted: int) -> None:
    """Return once so many steps have been accepted and no further one within a tenth of a second."""
    before, since = 0, time.monotonic()
    while process.poll() is None and (before < accepted or time.monotonic() - since < 0.1):
        time.sleep(0.01)
        now = emulator.counters.accepted
        if now != before:
            before, since = now, time.monotonic()


def report(emulator: Emulator, agents: int) -> int:
    """Say what the service was asked for in both lives together."""
    asked = [str(job.body["input"]) for job in emulator.jobs]
    print(
        f"\nSeen from the service: {len(asked)} submissions of {len(set(asked))} steps, from both processes together."
    )
    return 0 if len(set(asked)) == agents * STEPS else 1


def main(given: Sequence[str] | None = None) -> int:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--run", default="harbour-towns", help="the name under which the work is found again")
    parser.add_argument("--live", action="store_true", help="ask the real service (needs DOUBLEWORD_API_KEY)")
    parser.add_argument("--worker", action="store_true", help="do the work without killing anything")
    options = parser.parse_args(given)
    if options.live or options.worker:
        return worker(options.run, options.agents)
    return kill_and_resume(options.agents)


if __name__ == "__main__":
    sys.exit(main())
