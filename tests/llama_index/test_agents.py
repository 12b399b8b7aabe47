"""LlamaIndex's agents on the emulator's rules: many at once, several turns, and none of it at realtime prices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel
from workflows.errors import WorkflowTimeoutError

from llama_index.llms.dw_agents.errors import AnswerMismatch, BadRequest, InvalidStep
from tests.llama_index.test_messages import PIXEL
from tests.llama_index.wire import Says, bodies, call, llm_for, nothing_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator
    from llama_index.llms.dw_agents import DoublewordLLM
    from tests.llama_index.conftest import MakeEmulator, MakeLLM

CALL_AND_OUTPUT = ("function_call", "function_call_output")


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def triple(number: int) -> int:
    """Triple a number."""
    return 3 * number


def photograph(place: str) -> list[Any]:
    """Take a photograph of a place."""
    return [TextBlock(text=f"{place}:"), ImageBlock(image=PIXEL)]


class Total(BaseModel):
    """A total."""

    total: int


@pytest.fixture(autouse=True)
def nothing_at_realtime(emulator: Emulator) -> Iterator[None]:
    """None of the calls was realtime, and none is left running."""
    yield
    assert emulator.counters.snapshot().realtime == 0
    assert emulator.running() == []


async def test_a_hundred_agents_run_at_once(emulator: Emulator, llm: DoublewordLLM) -> None:
    """Each calls two tools in one turn, answers, and fills a class: three calls each, all of them on flex."""

    async def one(number: int) -> Any:
        agent = FunctionAgent(tools=[double, triple], llm=llm, output_cls=Total)
        return await agent.run(f"What are double and triple for number: {number}? total: {number}")

    outputs = await asyncio.gather(*(one(number) for number in range(100)))
    for number, output in enumerate(outputs):
        assert sorted(result.tool_output.raw_output for result in output.tool_calls) == sorted([2 * number, 3 * number])
        assert str(2 * number) in str(output)
        assert isinstance(output.get_pydantic_model(Total), Total)
    counts = emulator.counters.snapshot()
    assert (counts.flex, counts.realtime, counts["POST /responses"]) == (300, 0, 300)


async def test_a_conversation_of_several_turns_keeps_calls_and_outputs(emulator: Emulator, llm: DoublewordLLM) -> None:
    agent = FunctionAgent(tools=[double], llm=llm, system_prompt="Be brief.")
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    for number in (4, 5, 6):
        output = await agent.run(f"What is double(number: {number})?", memory=memory)
        assert str(2 * number) in str(output)
    items = bodies(emulator)[-1]["input"]
    assert [item.get("role") or item["type"] for item in items] == [
        "system",
        *["user", "function_call", "function_call_output", "assistant"] * 2,
        "user", "function_call", "function_call_output",
    ]  # fmt: skip


async def test_agents_run_on_the_batch_tier(emulator: Emulator, make_llm: MakeLLM) -> None:
    """Ten agents, two rounds: each round of all of them is one batch."""
    llm = make_llm(service_tier="batch")

    async def one(number: int) -> str:
        return str(await FunctionAgent(tools=[double], llm=llm).run(f"What is double(number: {number})?"))

    answers = await asyncio.gather(*(one(number) for number in range(10)))
    assert all(str(2 * number) in answer for number, answer in enumerate(answers))
    counts = emulator.counters.snapshot()
    assert (counts.lines, counts.batches, counts.flex) == (20, 2, 0)


async def test_a_picture_of_a_tool_reaches_the_model(emulator: Emulator, llm: DoublewordLLM) -> None:
    agent = FunctionAgent(tools=[photograph], llm=llm)
    assert "1 image" in str(await agent.run("Take a photograph with place: Oslo"))
    assert bodies(emulator)[-1]["input"][-1]["content"][1]["image_url"].startswith("data:image/png")


async def test_a_workflow_of_agents_runs_with_its_default_settings(llm: DoublewordLLM) -> None:
    counter = FunctionAgent(name="counter", description="Counts.", tools=[double], llm=llm)
    workflow = AgentWorkflow(agents=[counter], root_agent="counter")
    assert "8" in str(await workflow.run("What is double(number: 4)?"))


async def test_a_tool_that_returns_directly_leaves_no_call_without_an_output(
    emulator: Emulator, llm: DoublewordLLM
) -> None:
    """LlamaIndex leaves out what the tools beside it gave, and goes on with the same memory."""
    direct = FunctionTool.from_defaults(double, return_direct=True)
    agent = FunctionAgent(tools=[direct, triple], llm=llm)
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    await agent.run("What are double and triple for number: 4?", memory=memory)
    await agent.run("And now?", memory=memory)
    items = bodies(emulator)[-1]["input"]
    ids = {kind: [one["call_id"] for one in items if one["type"] == kind] for kind in CALL_AND_OUTPUT}
    assert len(ids["function_call"]) == 2
    assert ids["function_call_output"] == ids["function_call"]


async def test_the_first_tool_is_chosen_in_the_shape_of_the_responses_api(
    emulator: Emulator, llm: DoublewordLLM
) -> None:
    await FunctionAgent(tools=[double, triple], llm=llm, initial_tool_choice="triple").run("number: 4")
    choices = [body.get("tool_choice") for body in bodies(emulator)]
    assert choices == [{"type": "function", "name": "triple"}, None]


async def test_a_tool_that_nobody_offered_cannot_be_chosen(emulator: Emulator, llm: DoublewordLLM) -> None:
    agent = FunctionAgent(tools=[double], llm=llm, initial_tool_choice="halve")
    with pytest.raises(InvalidStep, match=r"halve.*double"):
        await agent.run("Go.")
    assert emulator.counters.snapshot().requests == 0


async def test_an_agent_ends_with_the_services_own_error(emulator: Emulator, llm: DoublewordLLM) -> None:
    emulator.faults.add("fail_job", code=400, message="the prompt is too long")
    with pytest.raises(BadRequest, match="the prompt is too long"):
        await FunctionAgent(tools=[double], llm=llm).run("What is double(number: 4)?")


async def test_a_tool_is_not_called_with_arguments_that_nobody_could_read(make_emulator: MakeEmulator) -> None:
    """LlamaIndex would call it without any."""
    called = []

    def wipe(path: str = "everything") -> None:
        """Wipe."""
        called.append(path)

    broken = call("wipe", "c1")
    broken["function"]["arguments"] = '{"path": tmp}'
    llm = llm_for(make_emulator(backend=Says({"tool_calls": [broken]})))
    with pytest.raises(AnswerMismatch, match="wipe"):
        await FunctionAgent(tools=[wipe], llm=llm).run("Wipe tmp.")
    assert called == []


async def test_a_failure_to_fill_the_output_class_is_only_a_warning_of_llama_indexs(
    make_emulator: MakeEmulator,
) -> None:
    """What users are told to expect; the answer itself is kept."""
    llm = llm_for(make_emulator(backend=Says({"content": "It is four."})))
    with pytest.warns(UserWarning, match="structured output.*does not fill Total"):
        output: Any = await FunctionAgent(tools=[double], llm=llm, output_cls=Total).run("Total?")
    assert (str(output), output.structured_response) == ("It is four.", None)


async def test_a_workflow_of_ones_own_needs_a_longer_timeout(make_emulator: MakeEmulator) -> None:
    """Its time counts from the start, heartbeats or not: 45 s unless it says ``timeout=None``."""
    emulator = make_emulator(latency=60.0)
    llm = llm_for(emulator, heartbeat=0.05)

    class Asking(Workflow):
        @step
        async def ask(self, _: StartEvent) -> StopEvent:
            return StopEvent(result=(await llm.acomplete("Hi.")).text)

    with pytest.raises(WorkflowTimeoutError):
        await Asking(timeout=0.5).run()
    assert await asyncio.to_thread(nothing_runs, emulator)
    assert Asking()._timeout == 45.0
