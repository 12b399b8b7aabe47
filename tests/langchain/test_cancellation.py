"""Nobody pays for an answer that nobody waits for: whoever leaves, the job goes with them."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage

from langchain_dw_agents.errors import DeadlineExceeded
from tests.langchain.wire import MODEL, model_for, nothing_runs, run_program, wait_until_running

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from tests.langchain.conftest import MakeEmulator

SLOW = 60.0


@pytest.fixture
def slow(make_emulator: MakeEmulator) -> Emulator:
    """An emulator whose answers take a minute: nothing ends there unless it is cancelled."""
    return make_emulator(latency=SLOW)


async def until_running(emulator: Emulator, jobs: int) -> None:
    while len(emulator.running()) < jobs:  # noqa: ASYNC110 - the jobs are the server's: no event tells of them
        await asyncio.sleep(0.01)


async def gone(emulator: Emulator) -> bool:
    return await asyncio.to_thread(nothing_runs, emulator)


async def test_a_cancelled_task_cancels_its_job(slow: Emulator) -> None:
    task = asyncio.create_task(model_for(slow).ainvoke("Hi."))
    await until_running(slow, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(slow)
    assert slow.counters.snapshot()["DELETE /responses/{id}"] == 1


async def test_a_cancelled_stream_cancels_its_job(slow: Emulator) -> None:
    async def consume() -> None:
        async for _ in model_for(slow).astream("Hi."):
            pass

    task = asyncio.create_task(consume())
    await until_running(slow, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(slow)


async def test_wait_for_on_a_gather_cancels_every_job(slow: Emulator) -> None:
    llm = model_for(slow)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(llm.ainvoke("Hi.") for _ in range(30))), 1.0)
    assert slow.counters.snapshot().accepted == 30
    assert await gone(slow)


async def test_a_cancelled_batch_cancels_every_job(slow: Emulator) -> None:
    task = asyncio.create_task(model_for(slow).abatch(["Hi."] * 30))
    await until_running(slow, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(slow)


async def test_a_call_cancelled_before_its_submission_was_answered_leaves_no_job(slow: Emulator) -> None:
    """The id is not known yet: the job is cancelled as soon as the reply tells it."""
    slow.faults.add("slow_reply", delay=0.5, route="POST /responses")
    task = asyncio.create_task(model_for(slow).ainvoke("Hi."))
    await until_running(slow, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(slow.running()) == 1
    assert await gone(slow)


async def test_a_cancelled_agent_cancels_its_call(slow: Emulator) -> None:
    agent = create_agent(model_for(slow), [])
    task = asyncio.create_task(agent.ainvoke({"messages": [HumanMessage("Hi.")]}))
    await until_running(slow, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(slow)


async def test_a_graphs_step_timeout_cancels_its_call(slow: Emulator) -> None:
    agent = create_agent(model_for(slow), [])
    agent.step_timeout = 0.5
    with pytest.raises(TimeoutError):
        await agent.ainvoke({"messages": [HumanMessage("Hi.")]})
    assert await gone(slow)


def test_the_models_own_timeout_cancels_its_call(slow: Emulator) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        model_for(slow, timeout=0.3).invoke("Hi.")
    assert isinstance(caught.value, TimeoutError)
    assert nothing_runs(slow)
    with pytest.raises(DeadlineExceeded):
        model_for(slow).bind(timeout=0.3).invoke("Hi.")
    assert nothing_runs(slow)


CALLS = {
    "invoke": "llm.invoke('Hi.')",
    "batch": "llm.batch(['Hi.'] * 5)",
    "batch_as_completed": "list(llm.batch_as_completed(['Hi.'] * 5))",
    "ainvoke": "asyncio.run(llm.ainvoke('Hi.'))",
    "agent": "create_agent(llm, []).invoke({'messages': [('user', 'Hi.')]})",
    "async agent": "asyncio.run(create_agent(llm, []).ainvoke({'messages': [('user', 'Hi.')]}))",
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_ends_the_process_and_its_jobs(slow: Emulator, call: str) -> None:
    program = f"""
        import asyncio, time
        from langchain.agents import create_agent
        from langchain_dw_agents import ChatDoubleword

        llm = ChatDoubleword(model={MODEL!r})
        try:
            {CALLS[call]}
        except KeyboardInterrupt:
            deadline = time.monotonic() + 5
            while any(llm.engine.snapshot().values()) and time.monotonic() < deadline:
                time.sleep(0.01)
            print("interrupted, in flight:", sum(llm.engine.snapshot().values()), flush=True)
    """
    process = run_program(program, slow)
    jobs = 5 if "batch" in call else 1
    wait_until_running(slow, jobs, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=15)
    assert output.decode().splitlines() == ["interrupted, in flight: 0"]
    assert nothing_runs(slow)


def test_ctrl_c_with_calls_in_a_graphs_threads_ends_the_process_and_its_jobs(slow: Emulator) -> None:
    """LangGraph waits for its threads on the first Ctrl-C, which cannot be helped from here; the second ends
    it."""
    program = f"""
        import operator
        from typing import Annotated, TypedDict
        from langgraph.graph import START, StateGraph
        from langgraph.types import Send
        from langchain_dw_agents import ChatDoubleword

        llm = ChatDoubleword(model={MODEL!r})
        State = TypedDict("State", {{"notes": Annotated[list, operator.add]}})
        graph = StateGraph(State)
        graph.add_node("say", lambda task: {{"notes": [llm.invoke("Hi.").text]}})
        graph.add_conditional_edges(START, lambda state: [Send("say", {{}}) for _ in range(3)])
        graph.compile().invoke({{"notes": []}})
    """
    process = run_program(program, slow)
    wait_until_running(slow, 3, process)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    process.communicate(timeout=15)
    assert process.returncode != 0
    assert nothing_runs(slow)
