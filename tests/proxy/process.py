"""`dw-agents serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator

__all__ = ["Served", "serving"]


class Served:
    """A running command.

    Attributes:
        process: it.
        base_url: where it listens.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.base_url = ""
        for line in process.stdout or ():
            if "base URL:" in line:
                self.base_url = line.partition("base URL:")[2].strip()
            if line.startswith("Stop it"):
                return
        raise AssertionError(f"it did not start: {process.stderr.read() if process.stderr else ''}")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal and wait; returns the exit status and what was written since the start."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def serving(emulator: Emulator, *arguments: str, journal: str = "off", **environment: str) -> Iterator[Served]:
    """Start the command in front of an emulator, and end it if nobody did."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "dw_agents", "serve", "--port", "0"),
            *("--base-url", emulator.base_url, "--journal", journal, *arguments),
        ],
        env={**os.environ, "DOUBLEWORD_API_KEY": emulator.api_key, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Served(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
