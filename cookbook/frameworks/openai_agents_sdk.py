"""The OpenAI Agents SDK on flex: agents with tools and a typed answer, on the Responses API, all at once.

Run it with ``python cookbook/frameworks/openai_agents_sdk.py``: the emulator answers and nothing is paid. With
``--live`` the real service does; that needs ``DOUBLEWORD_API_KEY``. Needs ``openai-agents``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agents import Agent, OpenAIResponsesModel, RunConfig, Runner, function_tool
from pydantic import BaseModel

from dw_agents.openai import AsyncOpenAI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


class Finding(BaseModel):
    """What became of one order."""

    order: int
    product: str
    days_late: int


def facts(order: int) -> Finding:
    """Return what there is to find out."""
    product = ("kettle", "lamp", "toaster", "radio")[order % 4]
    return Finding(order=order, product=product, days_late=1 + order % 5)


def find_order(order: int) -> str:
    """Look an order up."""
    return json.dumps({"product": facts(order).product, "courier_id": order})


def ask_courier(courier_id: int) -> str:
    """Ask the courier of an order how many days late it came."""
    return json.dumps({"days_late": facts(courier_id).days_late})


find_order_tool, ask_courier_tool = function_tool(find_order), function_tool(ask_courier)


def task(order: int) -> str:
    """Say what is to be found out."""
    return f"Please find the order and then ask the courier. order: {order}"


def agent(client: AsyncOpenAI) -> Agent[None]:
    """Return the agent."""
    return Agent(
        name="Late orders",
        instructions="You look into late orders.",
        model=OpenAIResponsesModel(model=MODEL, openai_client=client),
        tools=[find_order_tool, ask_courier_tool],
        output_type=Finding,
    )


async def find_out(client: AsyncOpenAI, order: int) -> Finding:
    """Let an agent find out about one order: three model calls, one after the other."""
    # Its traces go to OpenAI, with a key of OpenAI's: here they are off.
    result = await Runner.run(agent(client), task(order), run_config=RunConfig(tracing_disabled=True))
    return result.final_output_as(Finding, raise_if_incorrect_type=True)


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


async def run(orders: int, *, live: bool) -> None:
    """Let one agent find out about each order, all of them at the same time."""
    wanted = range(40_000, 40_000 + orders)
    async with service(live=live) as client:
        findings = await asyncio.gather(*[find_out(client, order) for order in wanted])
        for finding in findings:
            print(f"order {finding.order}: the {finding.product} came {finding.days_late} days late")
        right = sum(finding == facts(order) for order, finding in zip(wanted, findings, strict=True))
        print(f"\n{right} of {orders} as it was.\n\n{client.engine.receipt()}")


def main(given: Sequence[str] | None = None) -> int:
    """Find out about the orders and print the receipt."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--orders", type=int, default=12, help="how many (default: %(default)s)")
    parser.add_argument("--live", action="store_true", help="ask the real service (needs DOUBLEWORD_API_KEY)")
    options = parser.parse_args(given)
    asyncio.run(run(options.orders, live=options.live))
    return 0


if __name__ == "__main__":
    sys.exit(main())
