"""Agents of ``create_agent`` and deepagents: every way to run them, every way to get structured output."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from pydantic import BaseModel, Field

from tests.langchain.wire import bodies

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword

QUESTION: Any = {"messages": [HumanMessage("What is double(number: 4)?")]}


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@tool
def measured(number: int) -> int:
    """Double a number and say so on the custom stream."""
    get_stream_writer()({"doubling": number})
    return 2 * number


@tool
def broken(number: int) -> int:
    """Double a number."""
    raise ConnectionError(f"no line to the doubling machine for {number}")


@tool
def photograph(place: str) -> list[dict[str, Any]]:
    """Take a photograph of a place."""
    picture = base64.b64encode(place.encode()).decode()
    return [{"type": "text", "text": f"{place}:"}, {"type": "image", "base64": picture, "mime_type": "image/png"}]


class City(BaseModel):
    """A city."""

    name: str = Field(description="its name")
    people: int = Field(description="how many live there")


@pytest.fixture(autouse=True)
def nothing_at_realtime(emulator: Emulator) -> Any:
    """Every test's calls went to flex; none was realtime, none is left running."""
    yield
    counts = emulator.counters.snapshot()
    assert counts.flex > 0
    assert counts.realtime == 0
    assert counts.flex == counts.accepted
    assert emulator.running() == []


def last_text(state: dict[str, Any]) -> str:
    message = state["messages"][-1]
    assert isinstance(message, AIMessage)
    return str(message.text)


def test_an_agent_calls_its_tool_and_answers(llm: ChatDoubleword) -> None:
    state = create_agent(llm, [double]).invoke(QUESTION)
    assert [type(message) for message in state["messages"]] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert "8" in last_text(state)


async def test_an_agent_runs_asynchronously(llm: ChatDoubleword) -> None:
    assert "8" in last_text(await create_agent(llm, [double]).ainvoke(QUESTION))


def test_values_and_updates_stream_synchronously(llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double])
    values = list(agent.stream(QUESTION, stream_mode="values"))
    assert [len(state["messages"]) for state in values] == [1, 2, 3, 4]
    updates = list(agent.stream(QUESTION, stream_mode="updates"))
    assert [next(iter(update)) for update in updates] == ["model", "tools", "model"]


async def test_values_and_updates_stream_asynchronously(llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double])
    values = [state async for state in agent.astream(QUESTION, stream_mode="values")]
    assert [len(state["messages"]) for state in values] == [1, 2, 3, 4]
    updates = [update async for update in agent.astream(QUESTION, stream_mode="updates")]
    assert [next(iter(update)) for update in updates] == ["model", "tools", "model"]


def check_message_stream(pairs: list[Any]) -> None:
    chunks = [message for message, _ in pairs if isinstance(message, AIMessageChunk)]
    assert len(chunks) == 2  # one for each model call: a deferred answer comes in one piece
    assert [call["args"] for call in chunks[0].tool_calls] == [{"number": 4}]
    assert "8" in chunks[1].text
    assert all(chunk.usage_metadata for chunk in chunks)
    assert all(chunk.chunk_position == "last" for chunk in chunks)


def test_messages_stream_synchronously(llm: ChatDoubleword) -> None:
    check_message_stream(list(create_agent(llm, [double]).stream(QUESTION, stream_mode="messages")))


async def test_messages_stream_asynchronously(llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double])
    check_message_stream([pair async for pair in agent.astream(QUESTION, stream_mode="messages")])


async def test_custom_events_of_tools_stream(llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [measured])
    question: Any = {"messages": [HumanMessage("What is measured(number: 4)?")]}
    assert list(agent.stream(question, stream_mode="custom")) == [{"doubling": 4}]
    assert [event async for event in agent.astream(question, stream_mode="custom")] == [{"doubling": 4}]


async def test_events_v2_tell_of_each_model_call(llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double])
    kinds = [event["event"] async for event in agent.astream_events(QUESTION, version="v2")]
    for kind in ("on_chat_model_start", "on_chat_model_stream", "on_chat_model_end"):
        assert kinds.count(kind) == 2
    assert kinds.count("on_tool_end") == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_events_v3_end_in_the_same_answer(llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double])
    run = await agent.astream_events(QUESTION, version="v3")
    texts = [await stream.text async for stream in run.messages]
    assert "8" in texts[-1]
    final = await run.output()
    assert final is not None
    assert "8" in last_text(final)


async def test_a_named_agent_holds_a_conversation_over_several_turns(emulator: Emulator, llm: ChatDoubleword) -> None:
    """The service takes no names on messages; history with them must still be taken, in its order."""
    agent = create_agent(llm, [double], name="researcher")
    history: list[Any] = []
    for number in (4, 5, 6):
        history.append(HumanMessage(f"What is double(number: {number})?"))
        history = (await agent.ainvoke({"messages": history}))["messages"]
        assert str(2 * number) in history[-1].text
        assert history[-1].name == "researcher"
    items = bodies(emulator)[-1]["input"]
    assert [item.get("role") or item["type"] for item in items] == [
        *["user", "function_call", "function_call_output", "assistant"] * 2,
        "user", "function_call", "function_call_output",
    ]  # fmt: skip
    assert all("name" not in item for item in items if item["type"] == "message")


def test_tool_strategy_fills_the_class(llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double], response_format=ToolStrategy(City))
    assert isinstance(agent.invoke(QUESTION)["structured_response"], City)


async def test_provider_strategy_fills_the_class(emulator: Emulator, llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double], response_format=ProviderStrategy(City))
    assert isinstance((await agent.ainvoke(QUESTION))["structured_response"], City)
    body = bodies(emulator)[0]
    assert body["text"]["format"]["type"] == "json_schema"
    assert "strict" not in body["tools"][0]


def test_the_automatic_choice_is_the_services_own_structured_output(emulator: Emulator, llm: ChatDoubleword) -> None:
    agent = create_agent(llm, [double], response_format=City)
    assert isinstance(agent.invoke(QUESTION)["structured_response"], City)
    assert "text" in bodies(emulator)[0]


async def test_parallel_tool_calls_are_all_answered(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.faults.add("parallel_calls", times=1)
    question: Any = {"messages": [HumanMessage("double(number: 4) and take a photograph with place: Oslo")]}
    state = await create_agent(llm, [double, photograph]).ainvoke(question)
    calls = state["messages"][1].tool_calls
    assert {call["name"] for call in calls} == {"double", "photograph"}
    results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert {call["id"] for call in calls} <= {result.tool_call_id for result in results}
    assert isinstance(state["messages"][-1], AIMessage)


def test_an_image_from_a_tool_reaches_the_model(emulator: Emulator, llm: ChatDoubleword) -> None:
    """The service takes text outputs only: the picture follows in a user message."""
    question: Any = {"messages": [HumanMessage("Take a photograph with place: Oslo")]}
    state = create_agent(llm, [photograph]).invoke(question)
    assert "1 image" in last_text(state)
    last = bodies(emulator)[-1]["input"]
    output = next(item for item in last if item["type"] == "function_call_output")
    assert output["output"] == "Oslo:\n[1 image, shown in the next user message]"
    assert last[-1]["role"] == "user"
    assert last[-1]["content"][1]["image_url"].startswith("data:image/png;base64,")


def test_a_failing_tool_ends_the_agent_with_its_own_error(llm: ChatDoubleword) -> None:
    question: Any = {"messages": [HumanMessage("What is broken(number: 4)?")]}
    with pytest.raises(ConnectionError, match="doubling machine"):
        create_agent(llm, [broken]).invoke(question)


def test_arguments_that_do_not_fit_are_told_to_the_model(emulator: Emulator, llm: ChatDoubleword) -> None:
    call = {"name": "double", "args": {"number": "four"}, "id": "c1", "type": "tool_call"}
    history: Any = [
        HumanMessage("Double four."),
        AIMessage("", tool_calls=[call]),
        ToolMessage("no integer", tool_call_id="c1", status="error"),
    ]
    state = create_agent(llm, [double]).invoke({"messages": history})
    first = bodies(emulator)[0]["input"]
    assert first[1] == {
        "type": "function_call",
        "name": "double",
        "arguments": json.dumps({"number": "four"}),
        "call_id": "c1",
    }
    assert first[2]["output"] == "no integer"
    assert isinstance(state["messages"][-1], AIMessage)


def test_a_deep_agent_runs(llm: ChatDoubleword) -> None:
    agent = create_deep_agent(model=llm, tools=[double], system_prompt="Be brief.")
    state = agent.invoke({"messages": [HumanMessage("What is double(number: 4)?")]}, {"recursion_limit": 100})
    assert isinstance(state["messages"][-1], AIMessage)
    assert state["messages"][-1].text


def test_agents_of_a_batch_run(llm: ChatDoubleword) -> None:
    states = create_agent(llm, [double]).batch([QUESTION] * 3)
    assert all("8" in last_text(state) for state in states)
