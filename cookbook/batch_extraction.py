"""A LangGraph job on the batch tier: thousands of letters become a table, a branch for each, all in one file.

Run it with ``python cookbook/batch_extraction.py``: the emulator answers and nothing is paid. With ``--live`` the real
service does; that needs ``DOUBLEWORD_API_KEY`` and patience: the completion window is the limit. A letter that cannot
be read is noted and stops nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import operator
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, get_args

from langchain_core.exceptions import ModelError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel, Field

from langchain_dw_agents import ChatDoubleword

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = "Qwen/Qwen3.5-9B"

Product = Literal["kettle", "lamp", "toaster", "radio", "blanket"]
Wish = Literal["refund", "replacement", "repair"]
PRODUCTS: tuple[Product, ...] = get_args(Product)
WISHES: tuple[Wish, ...] = get_args(Wish)


class Complaint(BaseModel):
    """What one letter says."""

    order: int = Field(description="the number of the order")
    product: Product = Field(description="what was bought")
    days_late: int = Field(description="how many days late it came")
    wish: Wish = Field(description="what the customer asks for")


class Branch(TypedDict):
    """What one branch is given."""

    number: int
    letter: str


class State(TypedDict, total=False):
    """What the graph knows, by the number of the letter; both tables grow as the branches end."""

    letters: dict[int, str]
    table: Annotated[dict[int, Complaint], operator.or_]
    unread: Annotated[dict[int, str], operator.or_]
    report: str


def facts(number: int) -> Complaint:
    """Return what letter ``number`` is to say."""
    product, wish = PRODUCTS[number * number // 7 % len(PRODUCTS)], WISHES[number * number // 5 % len(WISHES)]
    return Complaint(order=40_000 + number, product=product, days_late=1 + number * 11 % 9, wish=wish)


def letter(number: int) -> str:
    """Write letter ``number``."""
    told = facts(number)
    return (
        f"I write about order {told.order}. The {told.product} came {told.days_late} days late. I want a {told.wish}."
    )


def build(llm: ChatDoubleword) -> Any:
    """Return the compiled graph."""
    reader = llm.with_structured_output(Complaint)

    def fan_out(state: State) -> list[Send]:
        return [Send("read", {"number": number, "letter": text}) for number, text in state["letters"].items()]

    async def read(state: Branch) -> State:
        try:
            found = await reader.ainvoke(f"Fill in the form from this letter. {state['letter']}")
            return {"table": {state["number"]: Complaint.model_validate(found)}}
        except (ModelError, ValueError) as error:  # its line failed, or its answer does not fit the form
            return {"unread": {state["number"]: str(error)}}

    def summarise(state: State) -> State:
        wishes = Counter((complaint.product, complaint.wish) for complaint in state["table"].values())
        rows = [f"{product:8} {wish:12} {count:5,}" for (product, wish), count in sorted(wishes.items())]
        return {"report": "\n".join(rows)}

    graph = StateGraph(State)
    graph.add_node("read", read, input_schema=Branch)
    graph.add_node("summarise", summarise)
    graph.add_conditional_edges(START, fan_out, ["read"])
    graph.add_edge("read", "summarise")
    graph.add_edge("summarise", END)
    return graph.compile()


@contextmanager
def model(*, live: bool) -> Iterator[ChatDoubleword]:
    """Give a chat model on the batch tier, in front of the real service or of an emulator."""
    if live:
        yield ChatDoubleword(model=MODEL, service_tier="batch", completion_window="24h")
        return
    from dw_agents.emulator import Emulator

    with Emulator(line_latency="lognormal:median=600,sigma=0.3", speed=600) as emulator:
        print(f"A local emulator stands in for the service. {emulator.description}")
        yield ChatDoubleword(model=MODEL, service_tier="batch", api_key=emulator.api_key, base_url=emulator.base_url)


def main(given: Sequence[str] | None = None) -> int:
    """Read the letters and print the table, what could not be read, and the receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--letters", type=int, default=3000, help="how many (default: %(default)s)")
    parser.add_argument("--live", action="store_true", help="ask the real service (needs DOUBLEWORD_API_KEY)")
    options = parser.parse_args(given)
    if options.letters < 1:
        parser.error("--letters: at least one")
    letters = {number: letter(number) for number in range(options.letters)}
    with model(live=options.live) as llm, llm.engine as engine:
        state = asyncio.run(build(llm).ainvoke({"letters": letters}))
        right = sum(complaint == facts(number) for number, complaint in state["table"].items())
        print(f"\n{state['report']}\n\n{right:,} of {len(letters):,} letters read as they were meant.")
        for number, why in state["unread"].items():
            print(f"Letter {number} could not be read: {why}")
        print(f"\n{engine.receipt()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
