"""Real processes that cost little: started by a zygote, awaited with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]
USUAL = ("dw_agents", "dw_agents.runtime", "dw_agents.journal.sqlite", "tests.faults.child")
_BIRTH = 60.0
"""Seconds for the zygote to import everything, on a busy machine."""


class Child:
    """A process that was started.

    Attributes:
        pid: its number.
    """

    def __init__(self, pid: int, errors: Path) -> None:
        self.pid = pid
        self._errors = errors
        self._ended = threading.Event()
        self._status = 0

    def end(self, status: int) -> None:
        """Note its end; for the nursery."""
        self._status = status
        self._ended.set()

    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    def kill(self) -> None:
        """Kill it, as ``kill -9`` does."""
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 40.0) -> int:
        """Return the exit status, negative for the signal that ended it; one that takes too long is killed."""
        if not self._ended.wait(timeout):
            self.kill()
            raise AssertionError(f"a child hangs; it had said: {self.said()}")
        return self._status

    def said(self) -> str:
        """What it, and others of its nursery, wrote to standard error."""
        return self._errors.read_text() if self._errors.exists() else ""


class Nursery:
    """Starts children; may be used by several threads.

    Args:
        folder: where what they write to standard error is kept.
        preload: modules that every child finds imported.
    """

    def __init__(self, folder: Path, *preload: str) -> None:
        self._errors = folder / "stderr.txt"
        with self._errors.open("wb") as errors:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote", *(preload or USUAL)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "DW_AGENTS_JOURNAL": "off"},
            )
        self._children: dict[int, Child] = {}
        self._births: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def start(self, call: str, **arguments: Any) -> Child:
        """Start ``module:function`` with JSON-able arguments."""
        command = {"start": call, "arguments": arguments, "stderr": str(self._errors)}
        with self._lock:
            assert self._zygote.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it is gone, as is noticed below
                self._zygote.stdin.write(json.dumps(command).encode() + b"\n")
                self._zygote.stdin.flush()
            child = self._births.get(timeout=_BIRTH)
        assert child is not None, f"the zygote died: {self.said()}"
        return child

    def run(self, call: str, timeout: float = 40.0, **arguments: Any) -> int:
        """Start a child and return its exit status."""
        return self.start(call, **arguments).wait(timeout)

    def said(self) -> str:
        """What the children wrote to standard error so far."""
        return self._errors.read_text() if self._errors.exists() else ""

    def close(self) -> None:
        """End every child that is left, and the zygote."""
        for child in list(self._children.values()):
            child.kill()
        assert self._zygote.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._zygote.stdin.close()
        self._zygote.wait(_BIRTH)
        self._listening.join()
        assert self._zygote.stdout is not None
        self._zygote.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._zygote.stdout is not None
        for line in self._zygote.stdout:
            told = json.loads(line)
            if "born" in told:
                child = self._children[told["born"]] = Child(told["born"], self._errors)
                self._births.put(child)
            else:
                self._children.pop(told["ended"]).end(told["status"])
        self._births.put(None)
