"""Many calls at once: all in flight together, from every kind of caller."""

from __future__ import annotations

import asyncio
import operator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from tests.langchain.wire import Peak, bodies, model_for, nothing_runs

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeEmulator


def test_a_thousand_prompts_of_a_synchronous_batch_are_in_flight_at_once(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=4.0, record=0)
    llm = model_for(emulator)
    prompts: list[LanguageModelInput] = [f"Prompt {number}" for number in range(1000)]
    with Peak(emulator) as peak:
        answers = llm.batch(prompts)
    assert peak.most == 1000
    assert all(f"Prompt {number}\n" in answer.text for number, answer in enumerate(answers))
    counts = emulator.counters.snapshot()
    assert (counts.flex, counts.realtime, counts["POST /responses"]) == (1000, 0, 1000)


def test_max_concurrency_limits_a_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=0.15)
    with Peak(emulator) as peak:
        model_for(emulator).batch(["Hi."] * 12, {"max_concurrency": 4})
    assert 1 <= peak.most <= 4
    assert emulator.counters.snapshot().flex == 12


async def test_a_synchronous_batch_works_inside_a_running_loop(emulator: Emulator, llm: ChatDoubleword) -> None:
    assert len(llm.batch(["Hi."] * 30)) == 30
    assert emulator.counters.snapshot().flex == 30
    assert asyncio.get_running_loop().is_running()


def test_a_batch_leaves_the_threads_own_event_loop_alone(llm: ChatDoubleword) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        llm.batch(["Hi."] * 3)
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_answers_arrive_as_they_complete(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator()
    emulator.faults.add("fail_job", code=400, match="Prompt 3", times=1)
    llm = model_for(emulator)
    prompts: list[LanguageModelInput] = [f"Prompt {number}" for number in range(8)]
    arrived = dict(llm.batch_as_completed(prompts, return_exceptions=True))
    assert sorted(arrived) == list(range(8))
    assert isinstance(arrived.pop(3), Exception)
    assert all(f"Prompt {number}\n" in answer.text for number, answer in arrived.items())  # type: ignore[union-attr]


def test_leaving_the_iteration_cancels_the_rest(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=(0.0, 5.0))
    for _ in model_for(emulator).batch_as_completed(["Hi."] * 40):
        break
    assert nothing_runs(emulator)
    assert "deleted" in {job.state for job in emulator.jobs}


def test_errors_stand_in_their_places(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.faults.add("fail_job", code=400, match="bad", times=1)
    answers: list[Any] = llm.batch(["good", "bad", "fine"], return_exceptions=True)
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]


def test_the_first_error_ends_a_batch_and_cancels_the_rest(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=30.0)
    emulator.faults.add("status", status=403, route="POST /responses", match="bad", times=1)
    llm = model_for(emulator)
    with pytest.raises(PermissionError):
        llm.batch(["good", "fine", "bad"])
    assert nothing_runs(emulator)


async def test_the_first_error_ends_an_asynchronous_batch_too(make_emulator: MakeEmulator) -> None:
    """LangChain's own would leave the others running, and paid for."""
    emulator = make_emulator(latency=30.0)
    emulator.faults.add("status", status=403, route="POST /responses", match="bad")
    llm = model_for(emulator)
    with pytest.raises(PermissionError):
        await llm.abatch(["good", "fine", "bad"])
    assert await asyncio.to_thread(nothing_runs, emulator)
    with pytest.raises(PermissionError):
        async for _ in llm.abatch_as_completed(["good", "fine", "bad"]):
            pass
    assert await asyncio.to_thread(nothing_runs, emulator)


async def test_asynchronous_answers_arrive_as_they_complete(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.faults.add("fail_job", code=400, match="Prompt 3", times=1)
    prompts: list[Any] = [f"Prompt {number}" for number in range(8)]
    stream = llm.abatch_as_completed(prompts, {"max_concurrency": 5}, return_exceptions=True)
    arrived = {index: answer async for index, answer in stream}
    assert sorted(arrived) == list(range(8))
    assert isinstance(arrived.pop(3), Exception)
    assert [pair async for pair in llm.abatch_as_completed([])] == []


def test_each_input_has_its_own_config_and_callbacks(llm: ChatDoubleword) -> None:
    class Watch(BaseCallbackHandler):
        def __init__(self) -> None:
            self.tags: list[list[str] | None] = []
            self.ended = 0

        def on_chat_model_start(self, *_: Any, tags: list[str] | None = None, **__: Any) -> None:
            self.tags.append(tags)

        def on_llm_end(self, *_: Any, **__: Any) -> None:
            self.ended += 1

    watches = [Watch() for _ in range(3)]
    configs: list[RunnableConfig] = [
        {"callbacks": [watch], "tags": [f"tag {number}"]} for number, watch in enumerate(watches)
    ]
    llm.batch(["a", "b", "c"], configs)
    assert [watch.tags for watch in watches] == [[["tag 0"]], [["tag 1"]], [["tag 2"]]]
    assert [watch.ended for watch in watches] == [1, 1, 1]


def test_a_bound_model_batches_with_its_arguments(emulator: Emulator, llm: ChatDoubleword) -> None:
    llm.bind(max_tokens=5).batch(["a", "b"])
    assert [body["max_output_tokens"] for body in bodies(emulator)] == [5, 5]


def test_small_batches_need_no_loop(emulator: Emulator, llm: ChatDoubleword) -> None:
    assert llm.batch([]) == []
    assert list(llm.batch_as_completed([])) == []
    assert len(llm.batch(["Hi."])) == 1
    assert emulator.counters.snapshot().flex == 1


def test_a_step_of_a_named_agent_carries_its_name(llm: ChatDoubleword, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Any] = []
    submit = llm.engine.submit

    def note(step: Any) -> Any:
        steps.append(step)
        return submit(step)

    monkeypatch.setattr(llm.engine, "submit", note)
    agent: Any = create_agent(llm, [], name="researcher")
    agent.invoke({"messages": [("user", "Hi.")]})
    assert [step.label for step in steps] == ["researcher"]


class State(TypedDict):
    topics: list[str]
    notes: Annotated[list[str], operator.add]


def fan_out(node: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("write", node)
    graph.add_conditional_edges(START, lambda state: [Send("write", {"topic": topic}) for topic in state["topics"]])
    graph.add_edge("write", END)
    return graph.compile()


def start(topics: int) -> State:
    return {"topics": [f"topic {number}" for number in range(topics)], "notes": []}


async def test_send_with_async_nodes_has_all_branches_in_flight(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=1.0)
    llm = model_for(emulator)

    async def write(task: dict[str, Any]) -> dict[str, list[str]]:
        return {"notes": [(await llm.ainvoke(task["topic"])).text]}

    with Peak(emulator) as peak:
        state = await fan_out(write).ainvoke(start(60))
    assert peak.most == 60
    assert [f"topic {number}\n" in note for number, note in enumerate(state["notes"])] == [True] * 60
    assert emulator.counters.snapshot().realtime == 0


def test_send_with_sync_nodes_has_as_many_in_flight_as_the_graph_has_threads(make_emulator: MakeEmulator) -> None:
    """LangGraph's thread pool is the limit; ``max_concurrency`` sets its size."""
    emulator = make_emulator(latency=1.0)
    llm = model_for(emulator)

    def write(task: dict[str, Any]) -> dict[str, list[str]]:
        return {"notes": [str(llm.invoke(task["topic"]).text)]}

    with Peak(emulator) as peak:
        state = fan_out(write).invoke(start(40), {"max_concurrency": 40})
    assert peak.most == 40
    assert [f"topic {number}\n" in note for number, note in enumerate(state["notes"])] == [True] * 40


def test_steps_of_a_graph_carry_its_checkpoint_namespace_and_names(
    make_emulator: MakeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each branch of a graph has a namespace of its own, by which a later run can find its work again."""
    llm = model_for(make_emulator())
    steps: list[Any] = []
    submit = llm.engine.submit

    def note(step: Any) -> Any:
        steps.append(step)
        return submit(step)

    monkeypatch.setattr(llm.engine, "submit", note)

    def write(task: dict[str, Any]) -> dict[str, list[str]]:
        text = llm.invoke(task["topic"]).text
        return {"notes": [str(text), *[str(chunk.text) for chunk in llm.stream(task["topic"])]]}

    fan_out(write).invoke(start(2))
    scopes = [step.scope for step in steps]
    assert all(scope.startswith("write:") for scope in scopes)
    assert len(set(scopes)) == 2  # one for each branch, the same for the streamed call
    assert {step.label for step in steps} == {"write"}
