"""``DoublewordLLM``: LlamaIndex's LLM on dw-agents' engine.

Owns: the eight methods by which LlamaIndex asks an LLM, and the hooks of tool calling. Each method goes straight to the
engine: none calls another, whose events would then be sent twice. Conversion is in the modules beside this one, the
travelling is the engine's. Must not do I/O of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from dw_agents.adapting.carry import warn_once
from dw_agents.adapting.waiting import wait_in_thread, wait_on_loop
from llama_index.llms.dw_agents import settings
from llama_index.llms.dw_agents.answers import as_chunk, as_completion, to_response
from llama_index.llms.dw_agents.errors import in_llama_index_terms
from llama_index.llms.dw_agents.heartbeat import abeat, beat
from llama_index.llms.dw_agents.items import input_items
from llama_index.llms.dw_agents.structured import Structured
from llama_index.llms.dw_agents.tools import choice_for, function_tool, selections, with_one_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.base.llms.types import (
        ChatResponse,
        ChatResponseAsyncGen,
        ChatResponseGen,
        CompletionResponse,
        CompletionResponseAsyncGen,
        CompletionResponseGen,
    )
    from llama_index.core.llms.llm import ToolSelection
    from llama_index.core.tools import BaseTool

    from dw_agents import Step

__all__ = ["DoublewordLLM"]

_Call = tuple["Step", float | None]


class DoublewordLLM(Structured):
    """An LLM whose calls travel on Doubleword's service tiers, flex by default.

    Use it wherever LlamaIndex takes an LLM: agents, query engines, extractors, evaluators. Each call is one step of the
    engine that all models of the same account share in this process.

    Example:
        >>> llm = DoublewordLLM(model="Qwen/Qwen3.5-35B-A3B-FP8")  # doctest: +SKIP
        >>> llm.complete("Name three fjords.").text  # doctest: +SKIP
        >>> llm.complete("Now, please.", service_tier="priority").text  # doctest: +SKIP

    Each call may override ``service_tier``, ``completion_window``, ``on_unknown``, ``timeout``, ``max_retries``,
    ``heartbeat``, ``run``, ``label``, the sampling fields and any other field of the request; ``scope`` tells apart
    equal calls that are different work. A stream is one chunk, with the whole message and its text as the delta.

    A synchronous method works inside a running event loop, too, and warns once: the loop stands still meanwhile.

    Raises:
        pydantic.ValidationError: a setting that cannot hold; names the field and the mend.
        InvalidStep: (per call) something that cannot be carried; nothing was sent.
        StepError: (per call) what went wrong; a failed, cancelled, expired or lost answer is never an empty message.
    """

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return self._answer(self._call(messages, kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return await self._aanswer(self._call(messages, kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation in one chunk; the call is made when the chunk is asked for."""
        call = self._call(messages, kwargs)

        def chunks() -> ChatResponseGen:
            yield as_chunk(self._answer(call))

        return chunks()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation in one chunk; the call is made when the chunk is asked for."""
        call = self._call(messages, kwargs)

        async def chunks() -> ChatResponseAsyncGen:
            yield as_chunk(await self._aanswer(call))

        return chunks()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002 - LlamaIndex's
        """Answer a prompt, as the one message of a conversation."""
        return as_completion(self._answer(self._call(_conversation(prompt), kwargs)))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002 - LlamaIndex's
        """Answer a prompt, as the one message of a conversation."""
        return as_completion(await self._aanswer(self._call(_conversation(prompt), kwargs)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: ARG002 - LlamaIndex's
        """Answer a prompt in one chunk; the call is made when the chunk is asked for."""
        call = self._call(_conversation(prompt), kwargs)

        def chunks() -> CompletionResponseGen:
            yield as_completion(as_chunk(self._answer(call)))

        return chunks()

    @llm_completion_callback()
    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002 - LlamaIndex's
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """Answer a prompt in one chunk; the call is made when the chunk is asked for."""
        call = self._call(_conversation(prompt), kwargs)

        async def chunks() -> CompletionResponseAsyncGen:
            yield as_completion(as_chunk(await self._aanswer(call)))

        return chunks()

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's
    ) -> list[ToolSelection]:
        """Return the tools that an answer calls, in its order.

        Raises:
            ValueError: none, and ``error_on_no_tool_call``.
            AnswerMismatch: a call's arguments are no JSON object.
        """
        calls = selections(response)
        if not calls and error_on_no_tool_call:
            raise ValueError(f"The answer calls no tool; it says: {response.message.content!r}.")
        return calls

    def _prepare_chat_with_tools(  # noqa: PLR0917 - LlamaIndex's signature
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002 - LlamaIndex's
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or ())
        if user_msg is not None:
            messages.append(
                ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg
            )
        if not tools:
            return {"messages": messages, **kwargs}
        offered = [function_tool(tool, strict=self.strict) for tool in tools]
        with in_llama_index_terms():
            choice = choice_for(tool_choice, [tool["name"] for tool in offered], required=tool_required)
        return {
            "messages": messages,
            "tools": offered,
            "tool_choice": choice,
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],  # noqa: ARG002 - LlamaIndex's
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's
    ) -> ChatResponse:
        if not allow_parallel_tool_calls:
            response.message = with_one_call(response.message)
        return response

    def _call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> _Call:
        """Return the step for a call and the seconds between its heartbeats; nothing is sent yet."""
        with in_llama_index_terms():
            travel, asked = settings.split(self, kwargs)
            body = settings.body_of(asked, input_items(messages))
            return settings.step_of(body, travel), travel["heartbeat"]

    def _answer(self, call: _Call) -> ChatResponse:
        _warn_inside_a_loop()
        step, every = call
        with in_llama_index_terms():
            return to_response(wait_in_thread(self.engine, step, every=every, beat=beat))

    async def _aanswer(self, call: _Call) -> ChatResponse:
        step, every = call
        with in_llama_index_terms():
            return to_response(await wait_on_loop(self.engine, step, every=every, beat=abeat))


def _conversation(prompt: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=prompt)]


def _warn_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    warn_once(
        "llama_index.sync_in_loop",
        "A synchronous method of DoublewordLLM was called inside a running event loop, which stands still until the "
        "answer is there: minutes on flex, hours on batch. Instead: the asynchronous one (achat, aquery, arun, ...).",
    )
