"""Where a call's CPU goes: the callers' thread and the engine's, function by function.

Usage: ``python -m benchmarks.profiling [engine|langchain|llama_index|batch|server] [--calls N] [--journal] [--top N]``.
A profiler makes everything slower and calls dearest, so that its figures tell shares, not costs.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import io
import json
import os
import pstats
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.harness import HERE, cores, serving

SERVED: dict[str, Any] = {"latency": 2.0, "batch_latency": 2.0}


def table(profile: cProfile.Profile, calls: int, top: int) -> str:
    """Lay out the functions that took the most time of their own, per call."""
    stats: Any = pstats.Stats(profile, stream=io.StringIO())
    rows = sorted(stats.stats.items(), key=lambda item: item[1][2], reverse=True)
    total = sum(row[2] for _, row in rows)
    lines = [
        f"total {total / calls * 1e6:.0f} µs per call (profiled)",
        f"{'own µs':>8} {'share':>6} {'times':>7}  function",
    ]
    lines[1:1] = [" + ".join(f"{name} {own / total:.0%}" for name, own in owners(stats.stats)[:9])]
    for (file, line, name), (_, times, own, _, _) in rows[:top]:
        where = name if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} {name}"
        lines.append(f"{own / calls * 1e6:8.1f} {own / total:6.1%} {times / calls:7.2f}  {where}")
    return "\n".join(lines)


def owners(stats: dict[Any, Any]) -> list[tuple[str, float]]:
    """Sum own time by package; what is built in counts for the package that called it."""
    sums: defaultdict[str, float] = defaultdict(float)
    for (file, _, _), (_, _, own, _, callers) in stats.items():
        if file not in {"~", "<string>"}:
            sums[owner(file)] += own
        elif not callers:
            sums["python"] += own
        for (caller, _, _), (_, _, part, _) in callers.items() if file in {"~", "<string>"} else ():
            sums[owner(caller)] += part
    return sorted(sums.items(), key=lambda item: item[1], reverse=True)


def owner(file: str) -> str:
    """Name the package that a file belongs to."""
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "src" in parts:
        inside = parts[parts.index("src") + 1 :]
        return f"{inside[0]}.{inside[1]}" if len(inside) > 2 else inside[0]
    if file.startswith(str(HERE)):
        return "benchmarks"
    return "asyncio" if "asyncio" in parts else "python"


def watch_threads(name: str) -> list[cProfile.Profile]:
    """Profile each thread of that name which starts from now on."""
    found: list[cProfile.Profile] = []
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        if not thread.name.startswith(name):
            run(thread)
            return
        profile = cProfile.Profile(time.thread_time)
        found.append(profile)
        profile.runcall(run, thread)

    threading.Thread.run = profiled  # type: ignore[method-assign, assignment]
    return found


def client(what: str, given: dict[str, Any], top: int) -> None:
    """Ask as the clients do, watched."""
    if given["core"] is not None:
        os.sched_setaffinity(0, {given["core"]})
    found = watch_threads("dw-agents")
    from benchmarks.clients import ours_flex

    calls = given["calls"]
    asked = {**given, "via": "engine" if what == "batch" else what, **({"tier": "batch"} if what == "batch" else {})}
    ask = ours_flex.WAYS[asked["via"]](asked)
    asyncio.run(_ask_all(ask, 0))
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(asyncio.run, _ask_all(ask, calls))
    _close_engines()
    print(f"== {what}, {calls} calls: the callers' thread\n{table(profile, calls, top)}")
    for thread in found:
        print(f"\n== {what}, {calls} calls: a thread of the engine\n{table(thread, calls, top)}")


def _close_engines() -> None:
    from dw_agents import Engine

    for engine in [item for item in gc.get_objects() if isinstance(item, Engine)]:
        engine.close()


async def _ask_all(ask: Any, calls: int) -> None:
    await (asyncio.gather(*[ask(number) for number in range(calls)]) if calls else ask(-1))


def server(given: dict[str, Any], calls: int, top: int) -> None:
    """Watch the emulator while a bare client, in a process of its own, asks it."""
    if cores()[1] is not None:
        os.sched_setaffinity(0, {cores()[1] or 0})
    import uvloop
    from benchmarks.server import Constant

    from dw_agents.emulator import Emulator

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    found = watch_threads("dw-agents-emulator")
    with Emulator(Constant(20), record=0, **SERVED) as emulator:
        asked = {"base_url": emulator.base_url, "api_key": emulator.api_key, "calls": calls, "seconds": 2, **given}
        subprocess.run(
            [sys.executable, "-m", "benchmarks.clients.bare", json.dumps(asked)],
            check=True,
            timeout=120,
            cwd=HERE.parent,
        )
    for thread in found:
        print(f"== the emulator, {calls} flex calls: two requests each\n{table(thread, calls, top)}")


def main() -> None:
    """Profile what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", choices=("engine", "langchain", "llama_index", "batch", "server"), nargs="?", default="engine"
    )
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--top", type=int, default=30)
    parser.add_argument("--journal", action="store_true")
    options = parser.parse_args()
    given: dict[str, Any] = {"core": cores()[0], "calls": options.calls}
    if options.what == "server":
        server(given, options.calls, options.top)
        return
    with serving(SERVED) as running, tempfile.TemporaryDirectory() as folder:
        os.environ["DW_AGENTS_JOURNAL"] = str(Path(folder) / "journal.db") if options.journal else "off"
        client(options.what, {**given, "base_url": running.base_url, "api_key": running.api_key}, options.top)


if __name__ == "__main__":
    main()
