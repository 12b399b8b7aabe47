"""``make bench``: ours beside autobatcher on the same emulator, in turn; prints a table and stores it.

Owns: the order of the runs, and the file. Usage: ``python -m benchmarks.run [--repeat 3] [--only NAME ...] [--quick]``.
Every client has a time limit, so it always ends. Results of a part or of a quick try are printed only.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import platform
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.figures import derive
from benchmarks.harness import HERE, PEERS, DidNotEnd, cores, run_client, serving
from benchmarks.table import Outcome, missed, work_table
from benchmarks.works import WORKS, Side, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = ("dw-agents", "langchain-dw-agents", "llama-index-dw-agents", "aiohttp", "msgspec", "uvloop", "openai",
          "langchain-core", "llama-index-core")  # fmt: skip


def run_once(work: Work, side: Side, *, quick: bool) -> Outcome:
    """Run one side of one work; returns its figures, or why there are none."""
    python = PEERS if side.peers else sys.executable
    if side.peers and not PEERS.exists():
        return "not installed: make bench installs it"
    asked = {**work.asked, **(work.quick if quick else {}), **side.asked}
    if quick and "calls" in side.asked:
        asked["calls"] = max(100, side.asked["calls"] // 20)
    try:
        if work.server is None:
            return derive(run_client(side.script, asked, python=python, server=None, limit=work.limit), {}, 0.0)
        with serving(work.server) as server:
            before = server.stats()["cpu"]
            reported = run_client(side.script, asked, python=python, server=server, limit=work.limit)
            stats = server.stats()
        return derive(reported, {**stats, "cpu": stats["cpu"] - before}, work.service)
    except DidNotEnd as error:
        return str(error)


def run_all(works: Sequence[Work], repeat: int, *, quick: bool) -> dict[str, dict[str, list[Outcome]]]:
    """Run everything, the sides of a work in turn, so that a busy moment hits them alike."""
    results: dict[str, dict[str, list[Outcome]]] = {}
    for work in works:
        found: defaultdict[str, list[Outcome]] = defaultdict(list)
        for number in range(min(repeat, work.repeats)):
            for side in work.sides:
                began = time.perf_counter()
                outcome = run_once(work, side, quick=quick)
                found[side.name].append(outcome)
                how = outcome if isinstance(outcome, str) else f"{time.perf_counter() - began:.1f} s"
                print(f"{work.name} {number + 1}: {side.name}: {how}", file=sys.stderr, flush=True)
        results[work.name] = found
        print(
            *(["A small try, with fewer calls than the titles say:"] if quick else []),
            *work_table(work, found),
            sep="\n",
            flush=True,
        )
    return results


def versions() -> str:
    """Say what was measured, and on what, without naming the machine."""
    own = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _SHOWN)
    theirs = ""
    if PEERS.exists():
        listed = subprocess.run(
            [PEERS, "-c", "from importlib.metadata import version as v; print(v('autobatcher'), v('openai'))"],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.split()  # fmt: skip
        theirs = f" Beside it: autobatcher {listed[0]} with openai {listed[1]}."
    pinned = "the emulator on a core of its own" if cores()[1] is not None else "client and emulator on one core"
    return (
        f"{dt.datetime.now(tz=dt.UTC).date()}, {platform.system()}, Python {platform.python_version()}, "
        f"{pinned}. {own}.{theirs}"
    )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--only", nargs="+", choices=[work.name for work in WORKS], help="these works alone")
    parser.add_argument("--side", help="only the rows whose name holds this text")
    parser.add_argument("--quick", action="store_true", help="small sizes, one run")
    options = parser.parse_args()
    works: list[Work] = [work for work in WORKS if options.only is None or work.name in options.only]
    if options.side is not None:
        works = [_part(work, options.side) for work in works]
    results = run_all(works, 1 if options.quick else options.repeat, quick=options.quick)
    lacking = [line for work in works for line in missed(work, results[work.name])]
    verdict = ["Missed:", *lacking] if lacking else ["Everything that must be reached was reached."]
    print("\n".join(verdict))
    if options.only is None and options.side is None and not options.quick:
        text = ["# Results", "", versions(), ""]
        text += ["Medians (least to most), ratios to the first row of ours; ✓ and ✗: the bounds of `works.py`.", ""]
        for work in works:
            text += work_table(work, results[work.name])
        text += [
            "## What must be reached",
            "",
            *(f"- {line}" if lacking else line for line in (lacking or verdict)),
            "",
        ]
        (HERE / "results.md").write_text("\n".join(text), encoding="utf-8")


def _part(work: Work, text: str) -> Work:
    from dataclasses import replace

    return replace(work, sides=tuple(side for side in work.sides if text in side.name))


if __name__ == "__main__":
    main()
