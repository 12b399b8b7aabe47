"""What is said while a command goes on.

Owns: one line on stderr, rewritten on a terminal and repeated rarely elsewhere. Must not know what goes on.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

__all__ = ["Progress"]

_TERMINAL: Final = 0.2
_ELSEWHERE: Final = 30.0
"""Seconds between two lines of a log."""


class Progress:
    """Says how far something is.

    Args:
        stream: where to; default: stderr.
        clock: monotonic seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._rewrites = self._stream.isatty()
        self._said_at: float | None = None
        self._width = 0

    def tell(self, text: str, *, last: bool = False) -> None:
        """Say it, unless something was said a moment ago.

        Args:
            text: one line.
            last: whether to say it in any case.
        """
        now = self._clock()
        pause = _TERMINAL if self._rewrites else _ELSEWHERE
        if not last and self._said_at is not None and now - self._said_at < pause:
            return
        self._said_at = now
        if self._rewrites:
            self._stream.write("\r" + text.ljust(self._width) + ("\n" if last else ""))
            self._width = 0 if last else len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
