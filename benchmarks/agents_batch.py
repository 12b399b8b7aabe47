"""Agents on the batch tier: ours beside autobatcher, on the same emulator, one after the other.

A hundred agents take five dependent steps each, and the service needs one second for a step: five seconds are the
floor. Everything above is what the client adds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENTS, STEPS, SECONDS = 100, 5, 1.0
HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"
ROWS = [
    ("dw-agents, defaults", sys.executable, "ours_batch.py", []),
    ("autobatcher 0.12, defaults", str(PEERS), "autobatcher_batch.py", ["completion_window=24h"]),
    (
        "autobatcher 0.12, window 1 s, poll 1 s",
        str(PEERS),
        "autobatcher_batch.py",
        ["completion_window=24h", "batch_window_seconds=1", "poll_interval_seconds=1"],
    ),
]


@contextmanager
def emulator() -> Iterator[tuple[str, str]]:
    """Run the emulator in a process of its own; yields its base URL and key."""
    command = [sys.executable, "-m", "dw_agents.emulator", "--port", "0", "--batch-latency", str(SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = ""
        while "http://" not in said:
            said = server.stdout.readline()
        yield next(word for word in said.split() if word.startswith("http://")).rstrip(".,"), "dw-test-key"
        server.terminate()
        server.communicate()


def main() -> None:
    """Run each row and print wall, CPU and what it adds to the service's own time."""
    floor = STEPS * SECONDS
    print(f"{AGENTS} agents x {STEPS} dependent steps, {SECONDS:g} s each at the service: at least {floor:g} s\n")
    print(f"{'':42}{'wall s':>8}{'added s':>9}{'CPU s':>8}")
    for name, python, script, settings in ROWS:
        if not Path(python).exists():
            print(f"{name:42}  not installed: make bench installs it")
            continue
        with emulator() as (url, key):
            time.sleep(0.2)
            command = [python, str(HERE / "clients" / script), url, key, str(AGENTS), str(STEPS), *settings]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        wall, cpu = map(float, done.stdout.split()[-2:])
        print(f"{name:42}{wall:8.1f}{wall - floor:9.1f}{cpu:8.2f}")


if __name__ == "__main__":
    main()
