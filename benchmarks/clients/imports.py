"""What a statement costs in a fresh interpreter: milliseconds and megabytes. Asked for: ``statement``."""

from __future__ import annotations

import time

from benchmarks.clients.measure import Watch, asked, resident


def main() -> None:
    """Execute the statement and report."""
    given = asked()
    watch, memory = Watch(), resident()
    began = time.perf_counter()
    exec(given["statement"], {})
    took = time.perf_counter() - began
    watch.report(import_ms=took * 1e3, import_mb=(resident() - memory) / 1e6)


if __name__ == "__main__":
    main()
