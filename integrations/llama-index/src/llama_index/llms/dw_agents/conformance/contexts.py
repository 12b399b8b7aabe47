"""Agents that stop and go on.

Owns: the contracts of workflow contexts: saved between runs, and in the middle of a call. Must not import any LLM.
"""
# ruff: noqa: S101 - these are tests, though they live in a package

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context, JsonSerializer
from workflows.context import PickleSerializer

from llama_index.llms.dw_agents.conformance.server import Call, Contracts, Reply, Server, run, until

__all__ = ["ContextContracts"]


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


class ContextContracts(Contracts):
    """Contracts of contexts."""

    def test_a_context_survives_json_between_runs(self, server: Server) -> None:
        """What the LLM answered, with its reasoning and calls, is part of it."""
        call = Call("double", {"number": 4}, "c1")
        server.says(Reply(thoughts="Hm.", calls=[call]), Reply("It is 8."), Reply("As I said."))
        agent = FunctionAgent(tools=[double], llm=server.llm())

        async def twice() -> str:
            context: Any = Context(agent)
            await agent.run("Double 4.", ctx=context)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the memory, which no JSON of LlamaIndex's holds, is left out
                saved = json.loads(json.dumps(context.to_dict(serializer=JsonSerializer())))
            restored: Any = Context.from_dict(agent, saved, serializer=JsonSerializer())
            return str(await agent.run("Again?", ctx=restored))

        assert run(twice()) == "As I said."

    def test_a_context_saved_in_the_middle_of_a_call_asks_it_again_unchanged(self, server: Server) -> None:
        """To the letter: only so can an LLM (or a cache) know that it was asked before."""
        server.says(Reply("It is 8."))
        server.waits(60.0)
        agent = FunctionAgent(tools=[double], llm=server.llm())

        async def interrupted() -> str:
            context: Any = Context(agent)
            handler = agent.run("Double 4.", ctx=context)
            assert await until(lambda: server.running() == 1)
            saved = context.to_dict(serializer=PickleSerializer())
            await handler.cancel_run()
            with pytest.raises(BaseException):  # noqa: B017, PT011 - which one is LlamaIndex's affair
                await handler
            assert await until(lambda: server.running() == 0)
            server.waits(0.0)
            restored: Any = Context.from_dict(agent, saved, serializer=PickleSerializer())
            return str(await agent.run(ctx=restored))

        assert run(interrupted()) == "It is 8."
        first, second = server.requests()
        assert first == second

    def test_a_cancelled_agent_cancels_its_call(self, server: Server) -> None:
        """At the service, too."""
        server.waits(60.0)
        agent = FunctionAgent(tools=[double], llm=server.llm())

        async def cancelled() -> bool:
            handler = agent.run("Double 4.")
            assert await until(lambda: server.running() == 1)
            await handler.cancel_run()
            with pytest.raises(BaseException):  # noqa: B017, PT011 - which one is LlamaIndex's affair
                await handler
            return await until(lambda: server.running() == 0)

        assert run(cancelled())
