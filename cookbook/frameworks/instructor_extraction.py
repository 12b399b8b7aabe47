"""Instructor on flex: letters become validated objects, all of them at once.

Run it with ``python cookbook/frameworks/instructor_extraction.py``: the emulator answers and nothing is paid. With
``--live`` the real service does; that needs ``DOUBLEWORD_API_KEY``. Needs ``instructor``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import instructor  # type: ignore[import-not-found]  # not among the development tools: see the note above
from pydantic import BaseModel

from dw_agents.openai import AsyncOpenAI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


class Complaint(BaseModel):
    """What one letter says."""

    order: int
    days_late: int


def facts(number: int) -> Complaint:
    """Return what letter ``number`` is to say."""
    return Complaint(order=40_000 + number, days_late=1 + number * 11 % 9)


def letter(number: int) -> str:
    """Write letter ``number``."""
    told = facts(number)
    return f"I write about order: {told.order}. What I bought came late; days_late: {told.days_late}. I want it mended."


async def read(client: AsyncOpenAI, number: int) -> Complaint:
    """Fill in the form from one letter; an answer that does not fit it is sent back, twice at most."""
    reader = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    complaint = await reader.chat.completions.create(
        model=MODEL,
        response_model=Complaint,
        max_retries=2,
        messages=[{"role": "user", "content": f"Fill in the form from this letter. {letter(number)}"}],
    )
    return Complaint.model_validate(complaint.model_dump())


@asynccontextmanager
async def service(*, live: bool) -> AsyncIterator[AsyncOpenAI]:
    """Give a client on flex, in front of the real service or of an emulator."""
    if live:
        async with AsyncOpenAI() as client:
            yield client
        return
    from dw_agents.emulator import Emulator

    async with (
        Emulator(latency="lognormal:median=30,sigma=0.3", speed=60) as emulator,
        AsyncOpenAI(api_key=emulator.api_key, base_url=emulator.base_url) as client,
    ):
        print(f"A local emulator stands in for the service. {emulator.description}")
        yield client


async def run(letters: int, *, live: bool) -> None:
    """Read all letters at the same time."""
    async with service(live=live) as client:
        complaints = await asyncio.gather(*[read(client, number) for number in range(letters)])
        for complaint in complaints:
            print(f"order {complaint.order}: {complaint.days_late} days late")
        right = sum(complaint == facts(number) for number, complaint in enumerate(complaints))
        print(f"\n{right} of {letters} letters read as they were meant.\n\n{client.engine.receipt()}")


def main(given: Sequence[str] | None = None) -> int:
    """Read the letters and print the receipt."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--letters", type=int, default=12, help="how many (default: %(default)s)")
    parser.add_argument("--live", action="store_true", help="ask the real service (needs DOUBLEWORD_API_KEY)")
    options = parser.parse_args(given)
    asyncio.run(run(options.letters, live=options.live))
    return 0


if __name__ == "__main__":
    sys.exit(main())
