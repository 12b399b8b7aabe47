"""Many steps as one call: all of them are answered, or none goes on.

Owns: submitting several steps at once and waiting for all of them, in a thread or on a loop, with signs of life. Must
not know a framework.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import aclosing
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from dw_agents import Answer, Engine, Step, Ticket

__all__ = ["gather_in_thread", "gather_on_loop"]

T = TypeVar("T")


def gather_in_thread(
    engine: Engine,
    steps: Iterable[Step],
    read: Callable[[Answer], T],
    *,
    every: float | None,
    beat: Callable[[Ticket], object],
) -> list[T]:
    """Submit the steps and wait in this thread for all of them.

    Args:
        engine: takes the steps.
        steps: at least one; each is submitted as it comes, so that what gives them can set the pace.
        read: makes what is returned out of an answer; each answer is read, and let go, as it arrives.
        every: seconds between signs of life; None gives none.
        beat: gives one, told a ticket that waits.

    Raises:
        DwAgentsError: the first thing that went wrong. That, and whatever else ends the wait, cancels the rest.
    """
    tickets: dict[int, Ticket] = {}
    ended: SimpleQueue[int] = SimpleQueue()
    results: dict[int, T] = {}
    try:
        for number, step in enumerate(steps):
            tickets[number] = ticket = engine.submit(step)
            ticket.add_done_callback(partial(ended.put, number))
        tickets[0].join(0.0)  # refuses the engine's own thread, which would wait for itself
        while tickets:
            try:
                number = ended.get(timeout=every)
            except Empty:
                beat(next(iter(tickets.values())))
                continue
            done = tickets.pop(number, None)
            if done is not None:  # a ticket may tell its end twice
                results[number] = read(done.result())
    except BaseException as error:
        for ticket in tickets.values():
            ticket.cancel(error)
        raise
    return [results[number] for number in range(len(results))]


async def gather_on_loop(
    engine: Engine,
    steps: Iterable[Step] | AsyncIterable[Step],
    read: Callable[[Answer], T],
    *,
    every: float | None,
    beat: Callable[[Ticket], Awaitable[object]],
) -> list[T]:
    """Submit the steps and wait on this event loop, asyncio's or trio's; see ``gather_in_thread``."""
    gathering = _Gathering(read)
    try:
        async with aclosing(_one_by_one(steps)) as coming:
            async for step in coming:
                gathering.tickets[len(gathering.tickets)] = engine.submit(step)
                await checkpoint()  # encoding takes its time
        await gathering.wait(every, beat)
    except BaseException as error:
        for ticket in gathering.tickets.values():
            ticket.cancel(error)
        raise
    return [gathering.results[number] for number in range(len(gathering.results))]


async def _one_by_one(steps: Iterable[Step] | AsyncIterable[Step]) -> AsyncGenerator[Step, None]:
    if isinstance(steps, AsyncIterable):
        async for step in steps:
            yield step
        return
    for step in steps:
        yield step


class _Gathering(Generic[T]):
    """The tickets of one call on a loop, and what has come of them."""

    def __init__(self, read: Callable[[Answer], T]) -> None:
        self.tickets: dict[int, Ticket] = {}
        self.results: dict[int, T] = {}
        self.failures: list[Exception] = []
        self._read = read
        self._turn = anyio.Lock()

    async def wait(self, every: float | None, beat: Callable[[Ticket], Awaitable[object]]) -> None:
        """Take all answers, or those before the first failure, which is raised."""
        async with anyio.create_task_group() as group:
            for number in list(self.tickets):
                group.start_soon(self._take, number, group.cancel_scope)
            while every is not None and self.tickets:
                await anyio.sleep(every)
                for ticket in list(self.tickets.values())[:1]:
                    await beat(ticket)
        if self.failures:
            raise self.failures[0]

    async def _take(self, number: int, scope: anyio.CancelScope) -> None:
        try:
            answer = await self.tickets[number]
            # One at a time, and beside the loop: the answers of a batch are large and arrive all at once.
            async with self._turn:
                self.results[number] = await run_sync(self._read, answer)
        except Exception as error:  # noqa: BLE001 - raised outside the group, which would wrap it
            self.failures.append(error)
            scope.cancel()
            return
        del self.tickets[number]
        if not self.tickets:
            scope.cancel()
