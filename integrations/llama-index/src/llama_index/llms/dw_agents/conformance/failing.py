"""Answers that never came, or came in part.

Owns: the contracts of failures and of cancellation. Must not import any LLM.
"""
# ruff: noqa: S101 - these are tests, though they live in a package

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.async_utils import asyncio_run
from llama_index.core.response_synthesizers import Refine

from llama_index.llms.dw_agents.conformance.asking import METHODS, ask, text_of
from llama_index.llms.dw_agents.conformance.server import Call, Contracts, Reply, Server, blocking, question, run, until

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM

__all__ = ["FailureContracts"]


class FailureContracts(Contracts):
    """Contracts of failures."""

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("how", ["failed", "cancelled"])
    def test_a_job_without_an_answer_is_an_error_and_no_empty_message(
        self, server: Server, how: str, method: str
    ) -> None:
        """By every method."""
        errors = server.fails(how)
        if not errors:
            pytest.skip(f"no job of this service ends as {how!r}")
        with pytest.raises(errors):
            ask(server.llm(), method)

    @pytest.mark.parametrize("method", METHODS)
    def test_a_truncated_answer_is_marked(self, server: Server, method: str) -> None:
        """Its text is there, and so is the mark."""
        server.says(Reply("Fjords are", cut=True))
        with blocking():  # a warning is welcome
            answer = ask(server.llm(max_tokens=5), method)[-1]
        assert text_of(answer) == "Fjords are"
        assert answer.additional_kwargs["truncated"] is True

    @pytest.mark.parametrize("method", METHODS)
    def test_an_answer_that_was_cut_before_its_text_is_an_error(self, server: Server, method: str) -> None:
        """The reasoning took all tokens: an empty message would look like an answer."""
        server.says(Reply(thoughts="Let me see, where shall I", cut=True))
        with blocking(), pytest.raises(Exception, match="max_tokens"):
            ask(server.llm(max_tokens=5), method)

    @pytest.mark.parametrize("how", ["failed", "cancelled"])
    def test_llama_index_does_not_take_a_failure_for_something_else(self, server: Server, how: str) -> None:
        """A ``ValueError`` is to a query engine an empty answer, a ``RuntimeError`` to its wrappers a nested loop."""
        errors = server.fails(how)
        if not errors:
            pytest.skip(f"no job of this service ends as {how!r}")
        llm = server.llm()
        with pytest.raises(errors):
            Refine(llm=llm).get_response("Where is Oslo?", ["In Norway."])
        with pytest.raises(errors):
            asyncio_run(llm.acomplete("Where is Oslo?"))

    def test_a_query_engine_does_not_take_a_cut_answer_for_none(self, server: Server) -> None:
        """For the same reason."""
        server.says(Reply(thoughts="Let me see, where shall I", cut=True))
        with blocking(), pytest.raises(Exception, match="max_tokens"):
            Refine(llm=server.llm(max_tokens=5)).get_response("Where is Oslo?", ["In Norway."])

    def test_a_tool_call_that_was_cut_is_an_error(self, server: Server) -> None:
        """LlamaIndex would call the tool without arguments."""
        server.says(Reply(calls=[Call("double", '{"num', "c1")], cut=True))
        llm = server.llm(max_tokens=5)
        with blocking(), pytest.raises(Exception, match="double"):
            llm.get_tool_calls_from_response(llm.chat(question()))

    def test_arguments_that_are_no_json_are_an_error(self, server: Server) -> None:
        """For the same reason."""
        server.says(Reply(calls=[Call("double", "number: 4", "c1")]))
        llm = server.llm()
        with pytest.raises(Exception, match="double"):
            llm.get_tool_calls_from_response(llm.chat(question()))

    @pytest.mark.parametrize("method", [method for method in METHODS if method.startswith("a")])
    def test_a_cancelled_call_is_cancelled_at_the_service(self, server: Server, method: str) -> None:
        """Nobody should pay for an answer that nobody awaits."""
        server.waits(60.0)
        llm = server.llm()

        async def cancelled() -> bool:
            task = asyncio.create_task(self.consume(llm, method))
            assert await until(lambda: server.running() == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await until(lambda: server.running() == 0)

        assert run(cancelled())

    async def consume(self, llm: FunctionCallingLLM, method: str) -> None:
        """Await an answer, or all of a stream."""
        given: Any = "Hi." if "complete" in method else question()
        answer = await getattr(llm, method)(given)
        if "stream" in method:
            async for _ in answer:
                pass
