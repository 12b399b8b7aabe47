"""What the child processes of ``test_frameworks.py`` run: graphs and workflows that fan out, with saved state."""

from __future__ import annotations

import asyncio
import json
import operator
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from langchain_dw_agents import ChatDoubleword
from llama_index.llms.dw_agents import DoublewordLLM

THREAD: Any = {"configurable": {"thread_id": "the-only-one"}}


class Branch(TypedDict):
    """What one branch is given."""

    case: str


class State(TypedDict, total=False):
    """What the graph knows."""

    cases: list[str]
    verdicts: Annotated[list[str], operator.add]
    report: str


def graph(llm: ChatDoubleword) -> StateGraph[Any, Any, Any, Any]:
    """A plan, a branch for each case with two calls one after the other, and a report."""

    async def plan(state: State) -> State:
        await llm.ainvoke("plan")
        return {"cases": state["cases"]}

    def fan_out(state: State) -> list[Send]:
        return [Send("weigh", {"case": case}) for case in state["cases"]]

    async def weigh(state: Branch) -> State:
        first = await llm.ainvoke(f"first thoughts on {state['case']}")
        second = await llm.ainvoke(f"second thoughts on {state['case']} after {first.id}")
        return {"verdicts": [f"{state['case']}: {second.id}"]}

    async def write(state: State) -> State:
        answer = await llm.ainvoke("report on " + ", ".join(sorted(state["verdicts"])))
        return {"report": answer.text}

    made = StateGraph(State)
    made.add_node("plan", plan)
    made.add_node("weigh", weigh, input_schema=Branch)
    made.add_node("write", write)
    made.add_edge(START, "plan")
    made.add_conditional_edges("plan", fan_out, ["weigh"])
    made.add_edge("weigh", "write")
    made.add_edge("write", END)
    return made


def _model(environment: dict[str, str], **settings: Any) -> ChatDoubleword:
    os.environ.update(environment)
    return ChatDoubleword(model="a-model", **settings)


def run_graph(
    environment: dict[str, str], *, saved: str, cases: list[str] | None, durability: Literal["sync", "async"], out: str
) -> None:
    """Run the graph, from the start with ``cases`` or from where it was saved without, and write its state down."""
    llm = _model(environment)
    asked: Any = None if cases is None else {"cases": cases}

    async def main() -> dict[str, Any]:
        async with AsyncSqliteSaver.from_conn_string(saved) as saver:
            compiled = graph(llm).compile(checkpointer=saver)
            return dict(await compiled.ainvoke(asked, THREAD, durability=durability))

    Path(out).write_text(json.dumps(asyncio.run(main())))
    llm.engine.close()


def run_graph_in_threads(
    environment: dict[str, str], *, saved: str, cases: list[str] | None, durability: Literal["sync", "async"], out: str
) -> None:
    """The same with calls that block, and the saver for threads."""
    llm = _model(environment)
    asked: Any = None if cases is None else {"cases": cases}

    def fan_out(state: State) -> list[Send]:
        return [Send("weigh", {"case": case}) for case in state["cases"]]

    def weigh(state: Branch) -> State:
        answer = llm.invoke(f"thoughts on {state['case']}")
        return {"verdicts": [f"{state['case']}: {answer.id}"]}

    made = StateGraph(State)
    made.add_node("plan", lambda _: {})
    made.add_node("weigh", weigh, input_schema=Branch)
    made.add_edge(START, "plan")
    made.add_conditional_edges("plan", fan_out, ["weigh"])
    made.add_edge("weigh", END)
    with SqliteSaver.from_conn_string(saved) as saver:
        state = made.compile(checkpointer=saver).invoke(asked, THREAD, durability=durability)
    Path(out).write_text(json.dumps(dict(state)))
    llm.engine.close()


def ask_the_same(environment: dict[str, str], *, times: int, tier: str, out: str) -> None:
    """Ask one prompt many times at once."""
    llm = _model(environment, service_tier=tier)
    answers = asyncio.run(llm.abatch(["the same prompt"] * times))
    Path(out).write_text(json.dumps([answer.id for answer in answers]))
    llm.engine.close()


class Case(Event):
    """One branch of the workflow."""

    name: str


class Verdict(Event):
    """What came of it."""

    text: str


class Weighing(Workflow):
    """A fan-out whose branches each ask a model."""

    llm: DoublewordLLM

    @step
    async def begin(self, ctx: Context, event: StartEvent) -> Case | None:
        cases: list[str] = event.cases
        await ctx.store.set("count", len(cases))
        for case in cases:
            ctx.send_event(Case(name=case))
        return None

    @step(num_workers=32)
    async def weigh(self, ctx: Context, event: Case) -> Verdict:
        answer = await self.llm.acomplete(f"thoughts on {event.name}")
        return Verdict(text=f"{event.name}: {answer.text}")

    @step
    async def collect(self, ctx: Context, event: Verdict) -> StopEvent | None:
        found = ctx.collect_events(event, [Verdict] * await ctx.store.get("count"))
        return None if found is None else StopEvent(result=sorted(each.text for each in found))


def _restored(workflow: Weighing, saved: str) -> Any:
    return Context.from_dict(workflow, json.loads(Path(saved).read_text()))


def _save(context: Any, saved: str) -> None:
    Path(saved + ".new").write_text(json.dumps(context.to_dict()))
    Path(saved + ".new").replace(saved)


def run_workflow(environment: dict[str, str], *, saved: str, cases: list[str] | None, out: str) -> None:
    """Run the workflow, saving its context again and again, from the start or from where it was saved."""
    os.environ.update(environment)
    workflow = Weighing(timeout=60)
    workflow.llm = DoublewordLLM(model="a-model", run="weighing")

    async def main() -> list[str]:
        handler = workflow.run(ctx=_restored(workflow, saved)) if cases is None else workflow.run(cases=cases)
        while not handler.done():
            if handler.ctx is not None:
                _save(handler.ctx, saved)
            await asyncio.sleep(0.02)
        return list(await handler)

    Path(out).write_text(json.dumps(asyncio.run(main())))
    workflow.llm.engine.close()
