"""Many calls at once from synchronous code.

Owns: running a model's asynchronous batches on a private event loop, in a thread of its own, so that a
thousand calls wait side by side without a thousand threads, and the caller's own loop (if it has one) is left
alone. Must not import the chat model.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anyio.from_thread import start_blocking_portal

from dw_agents.interrupts import note_interrupt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

__all__ = ["iterate", "run"]

T = TypeVar("T")
_END: Final[Any] = object()


def run(call: Callable[[], Awaitable[T]]) -> T:
    """Await ``call()`` on a private loop; whatever interrupts this thread cancels it."""
    # Whatever leaves the portal by an exception, KeyboardInterrupt included, cancels the tasks that are left in it.
    with start_blocking_portal("asyncio") as portal:
        try:
            return portal.call(call)
        except KeyboardInterrupt:
            note_interrupt()
            raise


def iterate(call: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """Iterate over ``call()`` on a private loop; leaving the iteration cancels what is still under way."""
    arrived: SimpleQueue[T] = SimpleQueue()

    async def pump() -> None:
        try:
            async for item in call():
                arrived.put(item)
        finally:
            arrived.put(_END)

    with start_blocking_portal("asyncio") as portal:
        pumping = portal.start_task_soon(pump)
        try:
            while (item := arrived.get()) is not _END:
                yield item
        except KeyboardInterrupt:
            note_interrupt()
            raise
        pumping.result()
