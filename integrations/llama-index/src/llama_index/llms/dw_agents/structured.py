"""Answers in the form of a class.

Owns: ``structured_predict`` and its three siblings, on which ``as_structured_llm`` and an agent's ``output_cls`` build.
They go through ``chat`` and ``achat`` like everything else: same tier, same settings, same events, and the system
prompt stands first. Must not import the LLM.

LlamaIndex's own way, a function call, remains for classes that no strict JSON schema can describe, and for
``pydantic_program_mode="function"``; its way through the prompt remains for ``"llm"``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.types import PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, ValidationError

from dw_agents.errors import InvalidStep
from llama_index.llms.dw_agents.errors import AnswerMismatch, AnswerRefused, AnswerTruncated, in_llama_index_terms
from llama_index.llms.dw_agents.fields import Fields
from llama_index.llms.dw_agents.schemas import ROOT, function_for, is_wrapped, name_of, strict_format

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from llama_index.core.base.llms.types import ChatMessage, ChatResponse
    from llama_index.core.program.utils import FlexibleModel
    from llama_index.core.prompts import BasePromptTemplate

__all__ = ["Structured"]

M = TypeVar("M", bound=BaseModel)

_dispatcher = get_dispatcher(__name__)
_OWN_WAYS = (PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION)
_CHOSEN_HERE = (
    "tools",
    "tool_choice",
    "tool_required",
    "allow_parallel_tool_calls",
    "parallel_tool_calls",
    "response_format",
)


class Structured(Fields):
    """The part of a ``DoublewordLLM`` that fills classes."""

    def structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Fill a class.

        Args:
            output_cls: any pydantic class.
            prompt: formatted with ``prompt_args``.
            llm_kwargs: of the call, for example ``{"service_tier": "batch"}``.
            prompt_args: what the prompt's template holds.

        Raises:
            AnswerRefused: the model declined.
            AnswerTruncated: the token limit cut the answer.
            AnswerMismatch: the answer does not fill the class.
        """
        if self.pydantic_program_mode not in _OWN_WAYS:
            filled_by_core: M = super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return filled_by_core
        messages, asked = self._asked(output_cls, prompt, llm_kwargs, prompt_args)
        filled = _filled(output_cls, self.chat(messages, **asked))
        _dispatcher.event(LLMStructuredPredictEndEvent(output=filled))
        return filled

    async def astructured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Fill a class; see ``structured_predict``."""
        if self.pydantic_program_mode not in _OWN_WAYS:
            filled_by_core: M = await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return filled_by_core
        messages, asked = self._asked(output_cls, prompt, llm_kwargs, prompt_args)
        filled = _filled(output_cls, await self.achat(messages, **asked))
        _dispatcher.event(LLMStructuredPredictEndEvent(output=filled))
        return filled

    def stream_structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[M | FlexibleModel, None, None]:
        """Yield the filled class once; LlamaIndex's own stream would yield a blank one."""
        if self.pydantic_program_mode not in _OWN_WAYS:
            yield from super().stream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return
        messages, asked = self._asked(output_cls, prompt, llm_kwargs, prompt_args)
        filled = _filled(output_cls, self.chat(messages, **asked))
        _dispatcher.event(LLMStructuredPredictInProgressEvent(output=filled))
        yield filled
        _dispatcher.event(LLMStructuredPredictEndEvent(output=filled))

    async def astream_structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[M | FlexibleModel, None]:
        """Return a generator of the class, filled once; see ``stream_structured_predict``."""
        if self.pydantic_program_mode not in _OWN_WAYS:
            return await super().astream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)

        async def once() -> AsyncGenerator[M | FlexibleModel, None]:
            messages, asked = self._asked(output_cls, prompt, llm_kwargs, prompt_args)
            filled = _filled(output_cls, await self.achat(messages, **asked))
            _dispatcher.event(LLMStructuredPredictInProgressEvent(output=filled))
            yield filled
            _dispatcher.event(LLMStructuredPredictEndEvent(output=filled))

        return once()

    def _asked(
        self,
        output_cls: type[BaseModel],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> tuple[list[ChatMessage], dict[str, Any]]:
        """Return the conversation and the arguments of the call that fills the class."""
        with in_llama_index_terms():
            _check_class(output_cls)
        _dispatcher.event(
            LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
        )
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        asked = {name: value for name, value in (llm_kwargs or {}).items() if name not in _CHOSEN_HERE}
        by_function = self.pydantic_program_mode is PydanticProgramMode.FUNCTION
        constraint = None if by_function else strict_format(output_cls)
        if constraint is not None:
            return messages, {**asked, "response_format": constraint}
        function = function_for(output_cls)
        choice = {"type": "function", "name": function["name"]}
        return messages, {**asked, "tools": [function], "tool_choice": choice, "parallel_tool_calls": False}


def _check_class(output_cls: Any) -> None:
    if not (isinstance(output_cls, type) and issubclass(output_cls, BaseModel)):
        raise InvalidStep(f"output_cls={output_cls!r} is no class of pydantic.", field="output_cls")


def _filled(output_cls: type[M], response: ChatResponse) -> M:
    """Return the class filled with an answer; JSON is read as JSON, so that a tuple may come as a list."""
    name = name_of(output_cls)
    if refusal := response.additional_kwargs.get("refusal"):
        raise AnswerRefused(f"The model declined to fill {name}: {refusal}", refusal=refusal)
    text = _json_of(response)
    try:
        inner = json.dumps(json.loads(text)[ROOT]) if is_wrapped(output_cls) else text
        return output_cls.model_validate_json(inner)
    except (KeyError, TypeError, ValueError) as error:
        if response.additional_kwargs.get("truncated"):
            raise AnswerTruncated(f"The answer was cut before {name} was filled; raise max_tokens.") from None
        raise AnswerMismatch(
            f"The answer does not fill {name} ({_reasons(error)}); it says: {text[:300]!r}."
        ) from error


def _json_of(response: ChatResponse) -> str:
    for block in response.message.blocks:
        if isinstance(block, ToolCallBlock):
            return block.tool_kwargs if isinstance(block.tool_kwargs, str) else json.dumps(block.tool_kwargs)
    return response.message.content or ""


def _reasons(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    return "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors()[:5])
