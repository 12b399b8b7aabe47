"""Whether it was Ctrl-C.

Owns: telling a caller who gave a step up from a person who interrupted the program. Must not import anything else of
the package.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Final

__all__ = ["is_interrupt", "note_interrupt"]

_FOR: Final = 5.0
"""Seconds for which cancellations elsewhere are taken for consequences of a noted Ctrl-C."""

_noted_at = -_FOR


def note_interrupt() -> None:
    """Say that Ctrl-C is about to cancel what runs on other event loops."""
    global _noted_at  # noqa: PLW0603 - Ctrl-C is the process's
    _noted_at = time.monotonic()


def is_interrupt(reason: BaseException) -> bool:
    """Whether an exception that ends a wait comes from Ctrl-C."""
    if isinstance(reason, KeyboardInterrupt):
        return True
    asyncio = sys.modules.get("asyncio")  # not imported here: most programs that import the package wait nowhere yet
    if asyncio is None or not isinstance(reason, asyncio.CancelledError):
        return False
    return time.monotonic() - _noted_at < _FOR or _asyncio_was_interrupted()


def _asyncio_was_interrupted() -> bool:
    """Whether ``asyncio.run`` is cancelling its main task because of Ctrl-C.

    Its runner handles the signal by cancelling the task, counts how often it did, and raises ``KeyboardInterrupt``
    only once the task has ended. The count is not public; where it is not there, the cancellation is taken for one.
    """
    handler = signal.getsignal(signal.SIGINT)
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    return getattr(runner, "_interrupt_count", 0) > 0
