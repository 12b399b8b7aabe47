"""An event loop for the synchronous methods of LlamaIndex that run asynchronous ones, which leave theirs open."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["own_loop"]


@pytest.fixture(autouse=True)
def own_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """The thread of a synchronous test has a loop, which is closed behind it; for modules that import this."""
    if inspect.iscoroutinefunction(request.function):
        yield  # has one of pytest's
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    asyncio.set_event_loop(None)
