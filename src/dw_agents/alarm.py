"""How one thread wakes who waits on another's event loop.

Owns: the wake-up for asyncio and for trio. Must not know what is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["alarm"]


def alarm() -> tuple[Awaitable[object], Callable[[], None]]:
    """Make something to await on this loop and the function that any thread may call to end the wait."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            event, token = trio.Event(), trio.lowlevel.current_trio_token()

            def ring() -> None:
                try:
                    token.run_sync_soon(event.set)
                except trio.RunFinishedError:
                    return  # the loop of the waiter is gone, and the waiter with it

            return event.wait(), ring
    loop = asyncio.get_running_loop()
    bell = _bells.get(loop)
    if bell is None:
        bell = _bells[loop] = _Bell(loop)
    future = loop.create_future()
    return future, partial(bell.ring, future)


class _Bell:
    """Wakes who waits on one event loop: a single call into the loop for all that end before it gets to it."""

    __slots__ = ("_loop", "_rung", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._rung = False

    def ring(self, future: asyncio.Future[None]) -> None:
        """Wake one; from any thread."""
        self._waiting.append(future)
        loop = self._loop()
        if not self._rung and loop is not None:
            self._rung = True
            # A closed loop has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._rung = False  # first: whoever rings from now on calls again, whoever rang before is in the queue
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)


_bells: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Bell] = weakref.WeakKeyDictionary()
