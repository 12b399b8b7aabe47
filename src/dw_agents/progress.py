"""A view of a running fleet: live on a terminal, plain lines elsewhere.

Owns: how progress looks. Must not import a framework's adapter: it reads an engine's snapshot and receipt, and is told
how many agents are done.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from dw_agents.receipt import Receipt

__all__ = ["Progress", "line"]

_BAR_WIDTH: Final = 24
_CLEAR_LINE: Final = "\r\x1b[2K"
_NAMES: Final = {"waiting": "to send", "submitting": "sending", "queued": "queued", "in_progress": "in progress"}


class _Engine(Protocol):
    """What is read of an engine."""

    def snapshot(self) -> dict[str, int]:
        """Open steps by state."""

    def receipt(self) -> Receipt:
        """What was done so far."""


def line(
    done: int, total: int, states: Mapping[str, int], *, finished: int, elapsed: float, label: str = "agents"
) -> str:
    """Return one line of progress.

    Args:
        done: agents that ended.
        total: agents in all.
        states: open steps by state, as ``Engine.snapshot`` counts them.
        finished: steps that ended.
        elapsed: seconds since the start.
        label: what is counted, in the plural.
    """
    filled = round(_BAR_WIDTH * done / total) if total else _BAR_WIDTH
    steps = ", ".join(f"{states.get(state, 0)} {name}" for state, name in _NAMES.items() if states.get(state, 0))
    return (
        f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {done}/{total} {label} done | "
        f"steps: {steps + ', ' if steps else ''}{finished} finished | {elapsed:.1f} s"
    )


class Progress:
    """Shows how far a fleet is while the block runs.

    Example:
        >>> with Progress(llm.engine, total=20) as progress:  # doctest: +SKIP
        ...     for agent in agents:
        ...         agent.invoke(...)
        ...         progress.advance()

    Args:
        engine: whose steps are counted, from the start of the block on.
        total: how many agents there are.
        label: what they are called, in the plural.
        stream: where to write; a terminal gets one line that is rewritten, anything else a new line each time.
        interval: seconds between two looks; default: 0.1 on a terminal, 2 elsewhere.
        clock: seconds, ever rising.
    """

    def __init__(
        self,
        engine: _Engine,
        total: int,
        *,
        label: str = "agents",
        stream: TextIO | None = None,
        interval: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._total = total
        self._label = label
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._interval = interval or (0.1 if self._live else 2.0)
        self._clock = clock
        self._done = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="dw-agents-progress", daemon=True)

    def advance(self) -> None:
        """Count one agent as done; may be called from any thread."""
        with self._lock:
            self._done += 1

    def text(self) -> str:
        """Return the line as it would be written now."""
        done = self._engine.receipt() - self._before
        finished = sum(part.steps + part.failed for part in done.lines.values())
        elapsed = self._clock() - self._start
        return line(
            self._done, self._total, self._engine.snapshot(), finished=finished, elapsed=elapsed, label=self._label
        )

    def __enter__(self) -> Self:
        self._before = self._engine.receipt()
        self._start = self._clock()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write(self.text())
        if self._live:
            self._stream.write("\n")
            self._stream.flush()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            self._write(self.text())

    def _write(self, text: str) -> None:
        self._stream.write(_CLEAR_LINE + text if self._live else f"{text}\n")
        self._stream.flush()
