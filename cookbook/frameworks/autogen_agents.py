"""AutoGen agents on flex: each calls two tools and ends with a typed message; all of them run at once.

Run it with ``python cookbook/frameworks/autogen_agents.py``: the emulator answers and nothing is paid. With
``--live`` the real service does; that needs ``DOUBLEWORD_API_KEY``. Needs ``autogen-agentchat`` and
``autogen-ext[openai]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import StructuredMessage
from autogen_core.models import ModelFamily, ModelInfo
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import BaseOpenAIChatCompletionClient
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


def task(order: int) -> str:
    """Say what is to be found out."""
    return f"Please find the order and then ask the courier. order: {order}"


def agent(client: AsyncOpenAI) -> AssistantAgent:
    """Return the agent."""
    model = BaseOpenAIChatCompletionClient(
        client,
        create_args={"model": MODEL},
        model_info=ModelInfo(
            vision=False, function_calling=True, json_output=True, family=ModelFamily.UNKNOWN, structured_output=True
        ),
        # A name beside a message cannot be polled for: such calls would each hold a connection.
        include_name_in_message=False,
    )
    return AssistantAgent(
        "late_orders",
        model_client=model,
        # Strict, because a call that also asks for a typed answer takes no others.
        tools=[FunctionTool(tool, description=tool.__doc__ or "", strict=True) for tool in (find_order, ask_courier)],
        system_message="You look into late orders.",
        max_tool_iterations=4,
        output_content_type=Finding,
    )


async def find_out(client: AsyncOpenAI, order: int) -> Finding:
    """Let an agent find out about one order: three model calls, one after the other."""
    said = (await agent(client).run(task=task(order))).messages[-1]
    if not isinstance(said, StructuredMessage):
        raise TypeError(f"the agent ended with {said!r} in place of a finding")
    return Finding.model_validate(said.content)


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
