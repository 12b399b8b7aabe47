"""Taking turns on the one loop: long work that never waits must let everything else in between.

Owns: ``Turns``. Must not import anything of the emulator.
"""

from __future__ import annotations

import asyncio

__all__ = ["Turns"]


class Turns:
    """Shares the loop between requests and long work.

    Args:
        stretch: real seconds that all long work together may take between two rounds of the loop.
    """

    def __init__(self, stretch: float = 0.004) -> None:
        self._stretch = stretch
        self._rested = 0.0
        self._resting = False

    async def take(self) -> None:
        """Return when the caller may go on with a piece of its work: at once, most of the time."""
        loop = asyncio.get_running_loop()
        while loop.time() - self._rested > self._stretch:
            if not self._resting:
                self._resting = True
                # Whoever runs first in the coming round has the stretch for itself; the others wait for the next.
                loop.call_soon(self._rest_over, loop)
            await asyncio.sleep(0)

    def _rest_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._resting = False
        self._rested = loop.time()
