"""The agents that come with LlamaIndex, as they are by default.

Owns: the contracts of ``FunctionAgent``, ``ReActAgent``, ``CodeActAgent`` and ``AgentWorkflow``. Must not import any
LLM.
"""
# ruff: noqa: S101 - these are tests, though they live in a package

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent

from llama_index.llms.dw_agents.conformance.filling import OSLO, City
from llama_index.llms.dw_agents.conformance.server import Call, Contracts, Reply, Server, run

__all__ = ["AgentContracts"]

BOTH = Reply(calls=[Call("slow_double", {"number": 4}, "c1"), Call("triple", {"number": 4}, "c2")])
REACT = (
    Reply('Thought: I need a tool.\nAction: triple\nAction Input: {"number": 4}'),
    Reply("Thought: I can answer without using any more tools.\nAnswer: It is 12."),
)


async def slow_double(number: int) -> int:
    """Double a number, taking its time."""
    await asyncio.sleep(0.05)
    return 2 * number


async def triple(number: int) -> int:
    """Triple a number."""
    return 3 * number


async def execute(code: str) -> str:
    """Run code."""
    return f"ran: {code}"


def texts(request: dict[str, Any], role: str) -> list[str]:
    """Return what the messages of a role say in a request."""
    return [str(message["content"]) for message in request["messages"] if message["role"] == role]


class AgentContracts(Contracts):
    """Contracts of agents."""

    @pytest.mark.parametrize("streaming", [True, False])
    def test_a_function_agent_calls_tools_at_once_and_answers(self, server: Server, *, streaming: bool) -> None:
        """The outputs are sent in the order of the calls, though the second tool ends first."""
        server.says(BOTH, Reply("They are 8 and 12."))
        agent = FunctionAgent(tools=[slow_double, triple], llm=server.llm(), streaming=streaming)
        output: Any = run(self.answered(agent, "Double and triple 4."))
        assert str(output) == "They are 8 and 12."
        assert {call.tool_name for call in output.tool_calls} == {"slow_double", "triple"}
        assert texts(server.requests()[-1], "tool") == ["8", "12"]

    def test_a_function_agent_streams_the_answer_and_the_reasoning(self, server: Server) -> None:
        """As deltas, with the calls beside them."""
        server.says(Reply("I will.", thoughts="A sum.", calls=BOTH.calls), Reply("They are 8 and 12."))
        agent = FunctionAgent(tools=[slow_double, triple], llm=server.llm())

        async def streamed() -> list[AgentStream]:
            handler = agent.run("Double and triple 4.")
            events = [event async for event in handler.stream_events() if isinstance(event, AgentStream)]
            await handler
            return events

        events = run(streamed())
        assert "".join(event.delta for event in events) == "I will.They are 8 and 12."
        assert "".join(event.thinking_delta or "" for event in events) == "A sum."
        assert any(len(event.tool_calls) == 2 for event in events)

    @pytest.mark.parametrize("streaming", [True, False])
    def test_an_agent_fills_its_output_class(self, server: Server, *, streaming: bool) -> None:
        """LlamaIndex makes a failure of it a mere warning, which is an error here."""
        server.says(Reply("It is Oslo."), Reply(fills=OSLO))
        agent = FunctionAgent(tools=[triple], llm=server.llm(), output_cls=City, streaming=streaming)
        output: Any = run(self.answered(agent, "Which city?"))
        assert output.get_pydantic_model(City) == City(name="Oslo", people=717_710)

    def test_the_first_tool_can_be_chosen(self, server: Server) -> None:
        """By name, for the first request only."""
        server.says(Reply(calls=[Call("triple", {"number": 4}, "c1")]), Reply("12"))
        agent = FunctionAgent(tools=[slow_double, triple], llm=server.llm(), initial_tool_choice="triple")
        run(self.answered(agent, "Go."))
        first, second = (request.get("tool_choice") for request in server.requests())
        assert first == {"type": "function", "function": {"name": "triple"}}
        assert second in (None, "auto")

    @pytest.mark.parametrize("streaming", [True, False])
    def test_a_react_agent_thinks_acts_and_answers(self, server: Server, *, streaming: bool) -> None:
        """Through the text alone."""
        server.says(*REACT)
        agent = ReActAgent(tools=[triple], llm=server.llm(), streaming=streaming)
        assert str(run(self.answered(agent, "Triple 4."))) == "It is 12."
        assert "Observation: 12" in str(server.requests()[-1]["messages"])

    @pytest.mark.parametrize("streaming", [True, False])
    def test_a_code_agent_runs_the_models_code(self, server: Server, *, streaming: bool) -> None:
        """It reads the deltas of the stream and nothing else."""
        server.says(Reply("<execute>print(3 * 4)</execute>"), Reply("It is 12."))
        agent = CodeActAgent(code_execute_fn=execute, llm=server.llm(), streaming=streaming)
        assert str(run(self.answered(agent, "Triple 4."))) == "It is 12."
        assert "ran: print(3 * 4)" in str(server.requests()[-1]["messages"])

    def test_a_workflow_hands_over_from_one_agent_to_another(self, server: Server) -> None:
        """With its default settings: the first chooses the second by a tool call."""
        hand_over = Call("handoff", {"to_agent": "writer", "reason": "It is written down."}, "h1")
        server.says(
            Reply(calls=[Call("triple", {"number": 4}, "c1")]), Reply(calls=[hand_over]), Reply("Twelve, it says.")
        )
        llm = server.llm()
        workflow = AgentWorkflow(
            agents=[
                FunctionAgent(
                    name="counter", description="Counts.", tools=[triple], llm=llm, can_handoff_to=["writer"]
                ),
                FunctionAgent(name="writer", description="Writes.", tools=[slow_double], llm=llm),
            ],
            root_agent="counter",
        )
        output: Any = run(self.answered(workflow, "Triple 4 and write it down."))
        assert (str(output), output.current_agent_name) == ("Twelve, it says.", "writer")

    def test_a_code_agent_hands_over(self, server: Server) -> None:
        """It keeps the output of the handoff in its memory, but not the call."""
        hand_over = Call("handoff", {"to_agent": "writer", "reason": "It is written down."}, "h1")
        server.says(Reply(calls=[hand_over]), Reply("Twelve, it says."))
        llm = server.llm()
        coder = CodeActAgent(
            name="coder", description="Computes.", code_execute_fn=execute, llm=llm, can_handoff_to=["writer"]
        )
        writer = FunctionAgent(name="writer", description="Writes.", tools=[triple], llm=llm)
        workflow = AgentWorkflow(agents=[coder, writer], root_agent="coder")
        assert str(run(self.answered(workflow, "Write."))) == "Twelve, it says."
        for request in server.requests():
            calls = {call["id"] for message in request["messages"] for call in message.get("tool_calls") or ()}
            assert {one["tool_call_id"] for one in request["messages"] if one["role"] == "tool"} <= calls

    def test_a_workflow_made_of_functions_chooses_a_function_agent(self, server: Server) -> None:
        """By the LLM's metadata."""
        server.says(Reply(calls=[Call("triple", {"number": 4}, "c1")]), Reply("12"))
        workflow = AgentWorkflow.from_tools_or_functions([triple], llm=server.llm())
        assert str(run(self.answered(workflow, "Triple 4."))) == "12"
        assert server.requests()[0]["tools"][0]["function"]["name"] == "triple"

    def test_many_agents_run_at_once(self, server: Server) -> None:
        """Sharing one LLM."""
        server.says(Reply("Done."))
        llm = server.llm()

        async def many() -> list[Any]:
            agents = [FunctionAgent(tools=[triple], llm=llm) for _ in range(20)]
            return await asyncio.gather(*(self.answered(agent, "Go.") for agent in agents))

        assert [str(output) for output in run(many())] == ["Done."] * 20

    async def answered(self, agent: Any, text: str) -> Any:
        """Run an agent on the current loop."""
        return await agent.run(text)
