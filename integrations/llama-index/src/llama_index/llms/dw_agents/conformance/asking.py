"""The eight methods, their streams and their events.

Owns: the contracts of ``chat``, ``complete`` and their siblings. Must not import any LLM.
"""
# ruff: noqa: S101 - these are tests, though they live in a package

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any, Self

import pytest
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.callbacks import CallbackManager, CBEventType, TokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers import BaseEventHandler
from pydantic import Field

from llama_index.llms.dw_agents.conformance.server import Contracts, Reply, Server, question, run

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM
    from llama_index_instrumentation.base import BaseEvent

__all__ = ["METHODS", "AskingContracts", "Watch", "aask", "ask"]

METHODS = (
    "chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete", "astream_complete",
)  # fmt: skip


def ask(llm: FunctionCallingLLM, method: str, text: str = "Hi.", **kwargs: Any) -> list[Any]:
    """Ask by any of the eight methods; return the response, or the chunks, as a list."""
    if method.startswith("a"):
        return run(aask(llm, method, text, **kwargs))
    answer = getattr(llm, method)(text if "complete" in method else question(text), **kwargs)
    return list(answer) if isinstance(answer, Generator) else [answer]


async def aask(llm: FunctionCallingLLM, method: str, text: str = "Hi.", **kwargs: Any) -> list[Any]:
    """Ask by an asynchronous one of the eight methods, on the current loop; see ``ask``."""
    answer = await getattr(llm, method)(text if "complete" in method else question(text), **kwargs)
    return [chunk async for chunk in answer] if isinstance(answer, AsyncGenerator) else [answer]


def text_of(response: Any) -> str:
    """Return the text of a chat's or a completion's response."""
    return str(response.message.content if hasattr(response, "message") else response.text)


class _Handler(BaseEventHandler):
    seen: list[Any] = Field(default_factory=list)

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.seen.append(event)


class Watch(BaseCallbackHandler):
    """Notes every LLM event, of the older callbacks and of the instrumentation."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self._handler = _Handler()

    @property
    def events(self) -> list[str]:
        """Names of the instrumentation's events, oldest first."""
        return [event.class_name() for event in self._handler.seen]

    def __enter__(self) -> Self:
        self._root = get_dispatcher()
        self._before = list(self._root.event_handlers)
        self._root.event_handlers = [*self._before, self._handler]
        return self

    def __exit__(self, *_: object) -> None:
        self._root.event_handlers = self._before

    def on_event_start(
        self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", *_: Any, **__: Any
    ) -> str:
        """Note a start."""
        if event_type is CBEventType.LLM:
            self.started.append(payload or {})
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: dict[str, Any] | None = None, *_: Any, **__: Any) -> None:
        """Note an end."""
        if event_type is CBEventType.LLM:
            self.ended.append(payload or {})

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing to note."""

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        """Nothing to note."""


class _Limiter:
    """Counts who asks it."""

    asked: int = 0

    def acquire(self, num_tokens: int = 0) -> None:  # noqa: ARG002 - LlamaIndex's signature
        self.asked += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:  # noqa: ARG002 - LlamaIndex's signature
        self.asked += 1


class AskingContracts(Contracts):
    """Contracts of the eight methods."""

    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_answers_with_the_models_words(self, server: Server, method: str) -> None:
        """The last chunk of a stream has all of them, and so do the deltas together."""
        server.says(Reply("Bergen,\nOslo"))
        answers = ask(server.llm(), method)
        assert text_of(answers[-1]) == "Bergen,\nOslo"
        if "stream" in method:
            assert "".join(chunk.delta or "" for chunk in answers) == "Bergen,\nOslo"
        if "chat" in method:
            assert answers[-1].message.role is MessageRole.ASSISTANT

    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_sends_each_event_once(self, server: Server, method: str) -> None:
        """One that calls another would have each call counted, and billed to a budget, twice."""
        with Watch() as watch:
            ask(server.llm(callback_manager=CallbackManager([watch])), method)
        kind = "LLMChat" if "chat" in method else "LLMCompletion"
        told = [name for name in watch.events if name.startswith(("LLMChat", "LLMCompletion"))]
        assert [name for name in told if "InProgress" not in name] == [f"{kind}StartEvent", f"{kind}EndEvent"]
        assert len(watch.started) == len(watch.ended) == 1
        assert len(server.requests()) == 1

    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_asks_the_rate_limiter_once(self, server: Server, method: str) -> None:
        """A user's own, common to LlamaIndex's LLMs."""
        llm = server.llm()
        llm.rate_limiter = limiter = _Limiter()
        ask(llm, method)
        assert limiter.asked == len(server.requests()) == 1

    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_ends_its_event_when_the_service_fails(self, server: Server, method: str) -> None:
        """Tracers wait for the end of what they saw begin."""
        errors = server.fails("failed")
        with Watch() as watch, pytest.raises(errors):
            ask(server.llm(callback_manager=CallbackManager([watch])), method)
        assert len(watch.started) == len(watch.ended) == 1
        assert isinstance(watch.ended[0]["exception"], errors)

    def test_streams_are_generators_of_the_right_kind(self, llm: FunctionCallingLLM) -> None:
        """The callbacks tell a stream by its type; an ``async def`` with ``yield`` could not be awaited."""
        for method in ("astream_chat", "astream_complete"):
            assert inspect.iscoroutinefunction(inspect.unwrap(getattr(type(llm), method)))
        stream = llm.stream_chat(question())
        assert isinstance(stream, Generator)
        assert len(list(stream)) >= 1

    @pytest.mark.parametrize("method", METHODS)
    def test_raw_is_plain_data_with_the_tokens_counted(self, server: Server, method: str) -> None:
        """Token counters look into ``raw["usage"]``, event streams serialise ``raw``."""
        server.says(Reply("Oslo", tokens=3))
        answer = ask(server.llm(), method)[-1]
        assert isinstance(answer.raw, dict)
        json.dumps(answer.raw)
        counts = answer.additional_kwargs
        assert counts["completion_tokens"] == 3
        assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]

    @pytest.mark.parametrize("method", ["chat", "complete"])
    def test_llama_index_counts_the_services_tokens(self, server: Server, method: str) -> None:
        """Its counter takes the service's figures, and tokenises itself (with a download) only without them."""

        def no_tokenizer(_: str) -> list[int]:
            raise AssertionError("the tokens were counted already")

        counter = TokenCountingHandler(tokenizer=no_tokenizer)
        server.says(Reply("Oslo", tokens=3))
        ask(server.llm(callback_manager=CallbackManager([counter])), method)
        assert counter.completion_llm_token_count == 3

    @pytest.mark.parametrize("model", ["Qwen/Qwen3-32B", "gpt-6", "my own/model:v1", "ünknown"])
    def test_metadata_never_raises(self, server: Server, model: str) -> None:
        """A model that nobody heard of has a window that does not make agents forgetful."""
        metadata = server.llm(model=model).metadata
        assert metadata.model_name == model
        assert metadata.context_window >= 16_384
        assert metadata.is_chat_model
        assert metadata.is_function_calling_model

    def test_the_class_is_an_llm_by_name(self, llm: FunctionCallingLLM) -> None:
        """LlamaIndex's own convention for a package's first test."""
        assert BaseLLM.__name__ in [base.__name__ for base in type(llm).__mro__]
        assert llm.class_name() == type(llm).__name__
