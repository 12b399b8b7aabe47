"""Calling tools without an agent.

Owns: the contracts of ``chat_with_tools``, ``predict_and_call`` and their siblings. Must not import any LLM.
"""
# ruff: noqa: S101 - these are tests, though they live in a package

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.program.function_program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index.llms.dw_agents.conformance.server import Call, Contracts, Reply, Server, question, run

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM

__all__ = ["TOOLS", "ToolContracts", "double", "triple"]


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def triple(number: int) -> int:
    """Triple a number."""
    return 3 * number


TOOLS = [FunctionTool.from_defaults(double), FunctionTool.from_defaults(triple)]
BOTH = Reply(calls=[Call("double", {"number": 4}, "c1"), Call("triple", {"number": 4}, "c2")])


class Whole(BaseModel):
    """A whole."""

    total: int


class ToolContracts(Contracts):
    """Contracts of tool calling."""

    def chunks(self, llm: FunctionCallingLLM, way: str, **kwargs: Any) -> list[Any]:
        """Ask with tools in one of the four ways; return the response, or the chunks, as a list."""
        call = getattr(llm, way)
        if not way.startswith("a"):
            answer = call(TOOLS, **kwargs)
            return list(answer) if "stream" in way else [answer]

        async def asked() -> list[Any]:
            answer = await call(TOOLS, **kwargs)
            return [chunk async for chunk in answer] if "stream" in way else [answer]

        return run(asked())

    @pytest.mark.parametrize(
        "way", ["chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools"]
    )
    def test_parallel_calls_arrive_with_ids_names_and_arguments(self, server: Server, way: str) -> None:
        """As blocks of the message and as selections."""
        server.says(BOTH)
        llm = server.llm()
        answer = self.chunks(llm, way, user_msg="Go.", allow_parallel_tool_calls=True)[-1]
        calls = llm.get_tool_calls_from_response(answer)
        assert [(call.tool_id, call.tool_name, call.tool_kwargs) for call in calls] == [
            ("c1", "double", {"number": 4}), ("c2", "triple", {"number": 4}),
        ]  # fmt: skip
        blocks = [block for block in answer.message.blocks if isinstance(block, ToolCallBlock)]
        assert [block.tool_call_id for block in blocks] == ["c1", "c2"]
        assert [tool["function"]["name"] for tool in server.requests()[0]["tools"]] == ["double", "triple"]

    @pytest.mark.parametrize("way", ["chat_with_tools", "stream_chat_with_tools"])
    def test_only_one_call_is_left_where_one_is_allowed(self, server: Server, way: str) -> None:
        """Whatever the model does: LlamaIndex's programs raise on a second call."""
        server.says(BOTH)
        llm = server.llm()
        answer = self.chunks(llm, way, user_msg="Go.")[-1]
        assert [call.tool_name for call in llm.get_tool_calls_from_response(answer)] == ["double"]

    def test_calls_without_ids_get_distinct_ones(self, server: Server) -> None:
        """An output finds its call by the id."""
        server.says(Reply(calls=[Call("double", {"number": 1}), Call("double", {"number": 2})]))
        llm = server.llm()
        answer = llm.chat_with_tools(TOOLS, user_msg="Go.", allow_parallel_tool_calls=True)
        ids = [call.tool_id for call in llm.get_tool_calls_from_response(answer)]
        assert len(set(ids)) == 2
        assert all(ids)

    def test_a_choice_reaches_the_model(self, server: Server) -> None:
        """Required, by name, and left open."""
        server.says(BOTH)
        llm = server.llm()
        llm.chat_with_tools(TOOLS, user_msg="Go.", tool_required=True)
        llm.chat_with_tools(TOOLS, user_msg="Go.", tool_choice="triple")
        llm.chat_with_tools(TOOLS, user_msg="Go.", tool_choice=None)
        first, second, third = (request.get("tool_choice") for request in server.requests())
        assert first in ("required", "any")
        assert second == {"type": "function", "function": {"name": "triple"}}
        assert third in (None, "auto")

    def test_the_callers_history_stays_as_it_is(self, server: Server) -> None:
        """The new message goes into the request, not into the list that was given."""
        server.says(Reply("Hi."))
        history = question("One.")
        before = copy.deepcopy(history)
        server.llm().chat_with_tools(TOOLS, user_msg="Two.", chat_history=history)
        assert history == before
        assert [message["content"] for message in server.requests()[0]["messages"]] == ["One.", "Two."]

    def test_no_call_is_an_error_unless_it_may_be(self, server: Server) -> None:
        """With the model's words in it."""
        server.says(Reply("I would rather not."))
        llm = server.llm()
        answer = llm.chat_with_tools(TOOLS, user_msg="Go.")
        assert llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match="rather not"):
            llm.get_tool_calls_from_response(answer)

    def test_predict_and_call_calls_the_tools(self, server: Server) -> None:
        """Both, synchronously and not."""
        server.says(BOTH)
        llm = server.llm()
        assert llm.predict_and_call(TOOLS, "Go.", allow_parallel_tool_calls=True).response == "8\n\n12"
        asked = llm.apredict_and_call(TOOLS, "Go.", allow_parallel_tool_calls=True)
        assert run(asked).response == "8\n\n12"

    def test_a_program_by_function_call_fills_its_class(self, server: Server) -> None:
        """Also as a stream, which ends in a whole object, not in a blank one."""
        server.says(Reply(fills={"total": 7}))
        program: Any = FunctionCallingProgram.from_defaults(Whole, "What is it?", llm=server.llm())
        assert program() == Whole(total=7)
        assert list(program.stream_call())[-1] == Whole(total=7)

    def test_outputs_follow_the_order_of_the_calls(self, server: Server) -> None:
        """Agents append them as the tools finish, which differs from run to run."""
        server.says(BOTH, Reply("Done."))
        llm = server.llm()
        called = llm.chat_with_tools(TOOLS, user_msg="Go.", allow_parallel_tool_calls=True).message
        outputs = [
            ChatMessage(role=MessageRole.TOOL, content=text, additional_kwargs={"tool_call_id": ident})
            for ident, text in (("c2", "12"), ("c1", "8"))
        ]
        llm.chat([*question("Go."), called, *outputs])
        asked = server.requests()[-1]["messages"]
        assert [message["content"] for message in asked if message["role"] == "tool"] == ["8", "12"]
