"""``ChatDoubleword`` on the batch tier: steps of any callers in few batches, each caller with its own answer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import pytest
import trio
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.exceptions import ModelInvalidRequestError, ModelTimeoutError
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field

from dw_agents import errors as core
from langchain_dw_agents.errors import BadRequest, StepExpired
from tests.langchain.wire import MODEL, lines, model_for, nothing_runs

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput

    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeEmulator, MakeModel

QUESTION: Any = {"messages": [HumanMessage("What is double(number: 4)?")]}


@pytest.fixture
def llm(make_model: MakeModel) -> ChatDoubleword:
    return make_model(service_tier="batch")


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


class City(BaseModel):
    """A city."""

    name: str = Field(description="its name")
    people: int = Field(description="how many live there")


def counts(emulator: Emulator) -> tuple[int, int, int, int]:
    """Return batches, lines of them, flex calls and realtime calls."""
    seen = emulator.counters.snapshot()
    return seen.batches, seen.lines, seen.flex, seen.realtime


async def gone(emulator: Emulator) -> bool:
    return await asyncio.to_thread(nothing_runs, emulator)


async def until_batches(emulator: Emulator, number: int) -> None:
    while len(emulator.running_batches()) < number:  # noqa: ASYNC110 - the server's: no event tells of them
        await asyncio.sleep(0.01)


def test_the_tier_of_the_class_sends_a_call_by_batch(emulator: Emulator, llm: ChatDoubleword) -> None:
    answer = llm.invoke("Hi.", max_tokens=400)
    assert "You wrote: Hi." in answer.text
    assert answer.usage_metadata is not None
    assert counts(emulator) == (1, 1, 0, 0)
    assert (emulator.batches[0].endpoint, emulator.batches[0].window) == ("/v1/responses", "24h")
    assert lines(emulator) == [
        {"model": MODEL, "input": [{"type": "message", "content": "Hi.", "role": "user"}], "max_output_tokens": 400}
    ]


async def test_a_bound_tier_and_window_are_of_that_call_only(emulator: Emulator, make_model: MakeModel) -> None:
    llm = make_model()
    hurried = llm.bind(service_tier="batch", completion_window="1h")
    assert "You wrote: Hi." in hurried.invoke("Hi.").text
    assert "You wrote: Ho." in (await hurried.ainvoke("Ho.")).text
    assert [batch.window for batch in emulator.batches] == ["1h", "1h"]
    assert "You wrote: Hi." in llm.invoke("Hi.").text
    assert counts(emulator) == (2, 2, 1, 0)


async def test_a_cheap_step_of_an_agent_rides_a_batch_while_the_next_goes_flex(
    emulator: Emulator, make_model: MakeModel
) -> None:
    @wrap_model_call
    async def cheaply_at_first(request: Any, handler: Any) -> Any:
        first = not any(message.type == "tool" for message in request.messages)
        return await handler(request.override(model_settings={"service_tier": "batch"}) if first else request)

    agent = create_agent(make_model(), [double], middleware=[cheaply_at_first])
    state = await agent.ainvoke(QUESTION)
    assert "8" in state["messages"][-1].text
    assert counts(emulator) == (1, 1, 1, 0)


def test_nodes_of_a_graph_choose_their_tiers(emulator: Emulator, make_model: MakeModel) -> None:
    class State(TypedDict, total=False):
        draft: str
        final: str

    llm = make_model()
    cheap = llm.bind(service_tier="batch")
    graph = StateGraph(State)
    graph.add_node("draft", cast("Any", lambda _: {"draft": cheap.invoke("Draft it.").text}))
    graph.add_node("finish", cast("Any", lambda state: {"final": llm.invoke(f"Finish: {state['draft']}").text}))
    graph.add_edge(START, "draft")
    graph.add_edge("draft", "finish")
    graph.add_edge("finish", END)
    assert "Draft it." in graph.compile().invoke({})["final"]
    assert counts(emulator) == (1, 1, 1, 0)


async def test_agents_side_by_side_share_a_batch_for_each_of_their_steps(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=0.3)
    agent = create_agent(model_for(emulator, service_tier="batch"), [double])
    questions = [{"messages": [HumanMessage(f"What is double(number: {number})?")]} for number in range(30)]
    states = await asyncio.gather(*(agent.ainvoke(cast("Any", question)) for question in questions))
    assert all(str(2 * number) in state["messages"][-1].text for number, state in enumerate(states))
    batches, steps, flex, realtime = counts(emulator)
    assert (steps, flex, realtime) == (60, 0, 0)
    assert 2 <= batches <= 4


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_structured_output_comes_by_batch(
    emulator: Emulator, llm: ChatDoubleword, method: Literal["json_schema", "function_calling", "json_mode"]
) -> None:
    runnable = llm.with_structured_output(City, method=method)
    prompt = 'Answer in JSON with keys "name" and "people". name: Oslo, people: 700000'
    assert runnable.invoke(prompt) == City(name="Oslo", people=700_000)
    raw: Any = await llm.with_structured_output(City, method=method, include_raw=True).ainvoke(prompt)
    assert (raw["parsed"], raw["parsing_error"]) == (City(name="Oslo", people=700_000), None)
    assert counts(emulator) == (2, 2, 0, 0)


async def test_a_stream_yields_the_whole_answer_as_one_chunk(emulator: Emulator, llm: ChatDoubleword) -> None:
    for chunks in (list(llm.stream("Hi.")), [chunk async for chunk in llm.astream("Hi.")]):
        assert "You wrote: Hi." in chunks[0].text
        assert chunks[0].usage_metadata is not None
        assert isinstance(chunks[0], AIMessageChunk)
        assert chunks[-1].chunk_position == "last"
    events = [event["event"] async for event in llm.astream_events("Hi.", version="v2")]
    assert events.count("on_chat_model_stream") == events.count("on_chat_model_end") == 1
    agent = create_agent(llm, [double])
    modes = [mode async for mode, _ in agent.astream(QUESTION, stream_mode=["messages", "updates"])]
    assert modes.count("updates") == 3
    assert counts(emulator) == (5, 5, 0, 0)


def test_a_thousand_prompts_of_a_synchronous_batch_become_one_batch(emulator: Emulator, llm: ChatDoubleword) -> None:
    prompts: list[LanguageModelInput] = [f"Prompt {number}" for number in range(1000)]
    answers = llm.batch(prompts)
    assert all(f"You wrote: Prompt {number}\n" in answer.text for number, answer in enumerate(answers))
    batches, steps, flex, realtime = counts(emulator)
    assert (steps, flex, realtime) == (1000, 0, 0)
    assert batches <= 5, "one, unless the machine pauses for longer than the quiet moment"
    assert emulator.counters.requests < 30


def test_threads_and_loops_of_their_own_share_a_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=0.3)
    llm = model_for(emulator, service_tier="batch")

    def ask(number: int) -> str:
        prompt = f"Prompt {number}"
        return str((llm.invoke(prompt) if number % 2 else asyncio.run(llm.ainvoke(prompt))).text)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert all(f"You wrote: Prompt {number}\n" in answer for number, answer in enumerate(answers))
    batches, steps, flex, realtime = counts(emulator)
    assert (steps, flex, realtime) == (20, 0, 0)
    assert batches <= 3


def test_trio_callers_share_a_batch(emulator: Emulator, llm: ChatDoubleword) -> None:
    answers = trio.run(lambda: llm.abatch([f"Prompt {number}" for number in range(30)]))
    assert all(f"You wrote: Prompt {number}\n" in answer.text for number, answer in enumerate(answers))
    assert counts(emulator) == (1, 30, 0, 0)


async def test_answers_are_handed_out_as_they_come(make_emulator: MakeEmulator) -> None:
    """The batch takes a minute; its lines are done at once."""
    emulator = make_emulator(line_latency=0.0, batch_latency=60.0)
    answers = await model_for(emulator, service_tier="batch").abatch([f"Prompt {number}" for number in range(10)])
    assert all(f"You wrote: Prompt {number}\n" in answer.text for number, answer in enumerate(answers))


async def test_the_last_caller_who_leaves_cancels_the_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=60.0)
    llm = model_for(emulator, service_tier="batch")
    first, last = (asyncio.create_task(llm.ainvoke("Hi.")) for _ in range(2))
    await until_batches(emulator, 1)
    first.cancel()
    await asyncio.wait([first])
    await asyncio.sleep(0.2)
    assert len(emulator.running_batches()) == 1
    last.cancel()
    with pytest.raises(asyncio.CancelledError):
        await last
    assert await gone(emulator)
    assert counts(emulator)[:2] == (1, 2)
    assert emulator.batches[0].state == "cancelled"


async def test_leaving_an_agent_or_a_batch_of_prompts_cancels_its_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=60.0)
    llm = model_for(emulator, service_tier="batch")
    for call in (create_agent(llm, [double]).ainvoke(QUESTION), llm.abatch(["Hi."] * 10)):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cast("Any", call), 1.0)
        assert await gone(emulator)
    assert counts(emulator) == (2, 11, 0, 0)


def test_the_receipt_tells_the_windows_apart(emulator: Emulator, llm: ChatDoubleword) -> None:
    llm.batch(["Hi."] * 3)
    llm.bind(completion_window="1h").invoke("Hi.")
    receipt = llm.engine.receipt()
    assert {tier: line.steps for (_, tier), line in receipt.lines.items()} == {"batch": 3, "batch 1h": 1}
    assert all(line.unmetered == 0 for line in receipt.lines.values())
    assert 0 < receipt.cost().dollars < receipt.cost(tier="flex").dollars
    assert counts(emulator) == (2, 4, 0, 0)


def test_an_answer_that_was_cut_says_so(emulator: Emulator, llm: ChatDoubleword) -> None:
    """The service calls it completed, by batch as on flex."""
    metadata = llm.invoke("Tell me a long story.", max_tokens=3).response_metadata
    assert (metadata["status"], metadata["finish_reason"]) == ("incomplete", "length")
    assert counts(emulator) == (1, 1, 0, 0)


def test_a_failed_line_is_the_problem_of_its_caller_alone(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.faults.add("fail_line", code=400, message="no such thing", match="bad")
    good, bad, fine = cast("list[Any]", llm.batch(["good", "bad", "fine"], return_exceptions=True))
    assert "You wrote: good" in good.text
    assert "You wrote: fine" in fine.text
    assert isinstance(bad, BadRequest)
    assert isinstance(bad, ModelInvalidRequestError)
    assert isinstance(bad, core.BadRequest)
    assert bad.ticket is not None
    assert bad.ticket.response_id == emulator.batches[0].id
    assert "no such thing" in str(bad)
    assert counts(emulator) == (1, 3, 0, 0)


def test_a_step_that_its_window_ran_out_on_may_be_asked_again(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(profile="openai")
    emulator.faults.add("batch_expired", share=0.0, times=1)
    llm = model_for(emulator, service_tier="batch")
    with pytest.raises(StepExpired) as caught:
        llm.invoke("Hi.")
    assert isinstance(caught.value, ModelTimeoutError)
    assert caught.value.is_retryable
    emulator.faults.add("batch_expired", share=0.0, times=1)
    assert "You wrote: Hi." in llm.with_retry(wait_exponential_jitter=False).invoke("Hi.").text
    assert counts(emulator) == (3, 3, 0, 0)


def test_another_servers_batches_serve_too_and_a_window_it_lacks_is_named(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(profile="openai", batch_latency=0.2)
    llm = model_for(emulator, service_tier="batch")
    assert all("You wrote: Hi." in answer.text for answer in llm.batch(["Hi."] * 20))
    assert counts(emulator) == (1, 20, 0, 0)
    with pytest.raises(BadRequest, match="24h"):
        llm.bind(completion_window="1h").invoke("Hi.")


@pytest.mark.parametrize("tier", ["flex", "priority", "background"])
def test_a_window_on_another_tier_is_refused_before_anything_is_sent(
    emulator: Emulator, make_model: MakeModel, tier: str
) -> None:
    with pytest.raises(core.InvalidStep, match="completion_window"):
        make_model().bind(service_tier=tier, completion_window="1h").invoke("Hi.")
    assert emulator.counters.requests == 0
