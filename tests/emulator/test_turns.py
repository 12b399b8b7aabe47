"""Sharing the loop between requests and long work."""

from __future__ import annotations

import asyncio
import time

from dw_agents.emulator.turns import Turns


async def test_of_many_long_works_one_has_a_turn_in_each_round_of_the_loop() -> None:
    turns, rounds, worked = Turns(0.001), [0], []

    async def count() -> None:
        while True:
            rounds[0] += 1
            await asyncio.sleep(0)

    async def work() -> None:
        for _ in range(4):
            await turns.take()
            worked.append(rounds[0])
            time.sleep(0.002)  # noqa: ASYNC251 - the point is work that never lets go

    counting = asyncio.create_task(count())
    await asyncio.gather(*(work() for _ in range(5)))
    counting.cancel()

    assert len(worked) == 20
    assert len(set(worked)) == 20


async def test_short_work_is_not_held_up() -> None:
    turns = Turns(60)
    await turns.take()
    going = turns.take()
    try:
        going.send(None)
    except StopIteration:
        return
    raise AssertionError("a second piece of short work had to wait")
