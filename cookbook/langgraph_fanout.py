"""A LangGraph agent that fans out on flex: plan, weigh every case at the same time, write the report.

Run it with ``python cookbook/langgraph_fanout.py``: the emulator answers and nothing is paid. With ``--live`` the real
service does; that needs ``DOUBLEWORD_API_KEY``. Three supersteps are three waits, however many cases there are.
"""

from __future__ import annotations

import argparse
import asyncio
import operator
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel, Field

from langchain_dw_agents import ChatDoubleword

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"
QUESTION = (
    "Which service tier suits each of these: 'a chat window on a shop page', 'a nightly report by forty agents', "
    "'descriptions for a million products'?"
)


class Cases(BaseModel):
    """The cases that a question asks about."""

    cases: list[str] = Field(description="each case in a few words, as the question puts it", min_length=1)


class Verdict(BaseModel):
    """The tier for one case."""

    tier: Literal["priority", "flex", "batch"] = Field(
        description="priority answers at once, flex in minutes for less, batch in hours for least"
    )
    reason: str = Field(description="one sentence")


class Branch(TypedDict):
    """What one branch is given."""

    case: str


class State(TypedDict, total=False):
    """What the graph knows: ``verdicts`` grows as the branches end."""

    question: str
    cases: list[str]
    verdicts: Annotated[list[str], operator.add]
    report: str


def build(llm: ChatDoubleword) -> Any:
    """Return the compiled graph."""
    planner = llm.with_structured_output(Cases)
    judge = llm.with_structured_output(Verdict)

    async def plan(state: State) -> State:
        found = await planner.ainvoke(f"List the cases in this question. {state['question']}")
        return {"cases": Cases.model_validate(found).cases}

    def fan_out(state: State) -> list[Send]:
        return [Send("weigh", {"case": case}) for case in state["cases"]]

    async def weigh(state: Branch) -> State:
        verdict = Verdict.model_validate(await judge.ainvoke(f"Choose a service tier for {state['case']}."))
        return {"verdicts": [f"{state['case']}: {verdict.tier}, because {verdict.reason}"]}

    async def write(state: State) -> State:
        notes = "\n".join(f"- {verdict}" for verdict in state["verdicts"])
        answer = await llm.ainvoke(f"Write a short recommendation from these notes.\n{notes}")
        return {"report": answer.text}

    graph = StateGraph(State)
    graph.add_node("plan", plan)
    graph.add_node("weigh", weigh, input_schema=Branch)
    graph.add_node("write", write)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", fan_out, ["weigh"])
    graph.add_edge("weigh", "write")
    graph.add_edge("write", END)
    return graph.compile()


@contextmanager
def model(*, live: bool) -> Iterator[ChatDoubleword]:
    """Give a chat model on flex, in front of the real service or of an emulator that ends with the block."""
    if live:
        yield ChatDoubleword(model=MODEL)
        return
    from dw_agents.emulator import Emulator

    with Emulator(latency="lognormal:median=60,sigma=0.3", speed=60) as emulator:
        print(f"A local emulator stands in for the service. {emulator.description}")
        yield ChatDoubleword(model=MODEL, api_key=emulator.api_key, base_url=emulator.base_url)


def main(given: Sequence[str] | None = None) -> int:
    """Run the graph once and print the report and the receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--live", action="store_true", help="ask the real service (needs DOUBLEWORD_API_KEY)")
    options = parser.parse_args(given)
    with model(live=options.live) as llm, llm.engine as engine:
        state = asyncio.run(build(llm).ainvoke({"question": QUESTION}))
        print(f"\n{len(state['cases'])} cases weighed side by side:")
        print(*(f"- {verdict}" for verdict in state["verdicts"]), sep="\n")
        print(f"\n{state['report']}\n\n{engine.receipt()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
