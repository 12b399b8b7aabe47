"""What importing dw_agents costs beside importing openai: time and memory, each in fresh interpreters, side by side."""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 9
STATEMENTS = ["import dw_agents", "from dw_agents import Engine, Step, StepError", "import openai"]
PROGRAM = """
import resource, sys, time
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
{statement}
print((time.perf_counter() - start) * 1e3, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024)
"""


def measure(statement: str) -> tuple[float, float]:
    """Return milliseconds and megabytes of one import in a new interpreter."""
    program = PROGRAM.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    milliseconds, megabytes = map(float, done.stdout.split())
    return milliseconds, megabytes


def main() -> None:
    """Measure the statements in turn, so that a busy moment hits them alike, and print medians and ratios."""
    runs: dict[str, list[tuple[float, float]]] = {statement: [] for statement in STATEMENTS}
    for _ in range(RUNS):
        for statement in STATEMENTS:
            runs[statement].append(measure(statement))
    medians = {s: tuple(statistics.median(column) for column in zip(*found, strict=True)) for s, found in runs.items()}
    base = medians["import openai"]
    print(f"{'':44}{'ms':>9}{'MB':>8}{'of openai':>22}")
    for statement, (milliseconds, megabytes) in medians.items():
        share = f"{milliseconds / base[0]:.1%} / {megabytes / base[1]:.1%}"
        print(f"{statement:44}{milliseconds:9.1f}{megabytes:8.1f}{share:>22}")


if __name__ == "__main__":
    main()
