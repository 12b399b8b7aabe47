"""The fault campaign: every crash matrix, many seeds of many requests, and four processes on one journal.

    python -m tests.faults.campaign --seeds 200 --requests 10000

prints a table and ends with 1 when anything was lost, paid twice without a report, or wrongly counted.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.matrix import MORE, Scenario, table, visit, walk
from tests.faults.nursery import Nursery
from tests.faults.seeds import Account, run_seed
from tests.faults.test_crash_matrix import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterator

_nursery: Nursery | None = None


def _prepare() -> None:
    """Give a worker its zygote."""
    global _nursery  # noqa: PLW0603 - one for each worker process
    # A client that was killed in the middle of a request is no error here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    _nursery = Nursery(Path(tempfile.mkdtemp()))


def _seed(number: int, requests: int) -> Account:
    assert _nursery is not None
    with tempfile.TemporaryDirectory() as folder:
        return run_seed(number, requests, Path(folder), _nursery)


def seeds(first: int, count: int, requests: int, workers: int) -> Iterator[Account]:
    """Run seeds, some at the same time; yields them in their order."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_prepare) as pool:
        numbers = range(first, first + count)
        yield from pool.map(_seed, numbers, [requests] * count)


def matrices() -> None:
    """Walk through every crash matrix; the first cell that is not as it should be raises."""
    with Nursery(Path(tempfile.mkdtemp())) as nursery:
        for tier, names in EVERY.items():
            for run in ("", "named"):
                scenario = Scenario(tier, texts=1, run=run)
                print(table(scenario, visit(scenario, Path(tempfile.mkdtemp()), nursery, names)), flush=True)
        for scenario in MORE:
            print(table(scenario, walk(scenario, Path(tempfile.mkdtemp()), nursery)), flush=True)


def main(given: list[str] | None = None) -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description="Seeded faults and deaths; see tests/faults.")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--requests", type=int, default=10_000, help="of each seed")
    parser.add_argument("--workers", type=int, default=3, help="seeds at the same time")
    parser.add_argument("--no-matrix", action="store_true", help="leave the crash matrices out")
    options = parser.parse_args(given)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    begun = time.monotonic()
    if not options.no_matrix:
        matrices()
    print(f"\n{'seed':>5} {'kind':<24}{'deaths':>7}{'answered':>10}{'errors':>8}{'accepted':>10}{'beyond':>8}"
          f"{'reported':>9}{'faults':>8}{'s':>7}")  # fmt: skip
    total: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    wrong: list[str] = []
    for each in seeds(options.first, options.seeds, options.requests, options.workers):
        counts = (
            each.deaths, each.answered, each.failed, each.accepted, each.duplicates, each.reported, each.faults,
            round(each.seconds),
        )  # fmt: skip
        print(f"{each.seed:>5} {each.kind:<24}" + "".join(f"{count:>10,}" for count in counts), flush=True)
        for complaint in each.wrong:
            print(f"      WRONG: {complaint}", flush=True)
        wrong += [f"seed {each.seed}: {complaint}" for complaint in each.wrong]
        errors += each.errors
        total.update(
            deaths=each.deaths, answered=each.answered, errors=each.failed, accepted=each.accepted,
            beyond=each.duplicates, reported=each.reported, faults=each.faults,
        )  # fmt: skip
    took = time.monotonic() - begun
    sums = ", ".join(f"{count:,} {name}" for name, count in total.items())
    print(f"\n{options.seeds} seeds of {options.requests:,} requests in {took / 60:.1f} min: {sums}")
    print("errors by type: " + (", ".join(f"{count:,} {name}" for name, count in errors.most_common()) or "none"))
    print(f"violations: {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
