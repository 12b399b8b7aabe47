"""The progress view."""

from __future__ import annotations

import io
from collections import deque

import pytest

from dw_agents.progress import Progress, line
from dw_agents.receipt import Line, Receipt


class FakeEngine:
    """An engine with the given counts."""

    def __init__(self, *finished: int) -> None:
        self._finished = deque(finished)

    def snapshot(self) -> dict[str, int]:
        return {"waiting": 0, "submitting": 1, "queued": 2, "in_progress": 3}

    def receipt(self) -> Receipt:
        steps = self._finished.popleft() if len(self._finished) > 1 else self._finished[0]
        return Receipt(lines={("m", "flex"): Line(steps=steps)})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_names_agents_steps_by_state_and_time() -> None:
    text = line(5, 20, {"queued": 2, "in_progress": 3}, finished=9, elapsed=61.25)
    assert text.endswith("5/20 agents done | steps: 2 queued, 3 in progress, 9 finished | 61.2 s")
    assert text.startswith("[######..................]")


def test_nothing_to_do_counts_as_done() -> None:
    assert line(0, 0, {}, finished=0, elapsed=0.0).startswith(f"[{'#' * 24}] 0/0")


def test_a_log_gets_a_plain_last_line_with_what_happened_inside_the_block() -> None:
    stream = io.StringIO()
    ticks = iter([100.0, 107.5])
    with Progress(FakeEngine(10, 14), 3, stream=stream, interval=60, clock=lambda: next(ticks)) as progress:
        progress.advance()
        progress.advance()
    assert stream.getvalue() == (
        "[################........] 2/3 agents done | steps: 1 sending, 2 queued, 3 in progress, 4 finished | 7.5 s\n"
    )


def test_a_terminal_gets_one_line_that_is_rewritten() -> None:
    stream = Terminal()
    with Progress(FakeEngine(0), 1, stream=stream, interval=60):
        pass
    assert stream.getvalue().startswith("\r\x1b[2K[")
    assert stream.getvalue().count("\n") == 1


def test_the_last_line_is_written_also_when_the_block_fails() -> None:
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress(FakeEngine(0), 1, stream=stream, interval=60):
        _ = 1 / 0
    assert "0/1 agents done" in stream.getvalue()
