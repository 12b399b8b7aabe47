"""Calls from a trio task.

Owns: the bridge for trio, on which LangChain's own asynchronous methods cannot run (they use asyncio's
tasks): the synchronous call runs in a worker thread, and cancelling the task cancels the step. Must not
import the chat model.
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from dw_agents.adapting.waiting import Abandonable, abandonable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_trio_task", "in_worker_thread"]

T = TypeVar("T")


def in_trio_task() -> bool:
    """Whether the caller runs in a trio task."""
    if "trio" not in sys.modules:
        return False
    import trio

    return trio.lowlevel.in_trio_task()


async def in_worker_thread(call: Callable[[], T]) -> T:
    """Run ``call`` in a thread of its own; being cancelled cancels the steps that it submitted."""
    import anyio
    from anyio.to_thread import run_sync

    steps = Abandonable()
    context = copy_context()
    context.run(abandonable.set, steps)
    try:
        # A limiter of its own: the default one would let 40 calls wait at a time.
        return await run_sync(context.run, call, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
    except BaseException as error:
        steps.abandon(error)
        raise
