"""What stands behind the LLM in a conformance test, and the fixtures that all contracts use.

Owns: the interface between the suite and an integration's fake server. Must not import any LLM.
"""

from __future__ import annotations

import asyncio
import warnings
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

    from llama_index.core.llms.function_calling import FunctionCallingLLM

__all__ = ["Call", "Contracts", "Reply", "Server", "blocking", "question", "run", "until"]

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A tool call of the model; an empty ``id`` is what some servers send."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str = ""


@dataclass(frozen=True)
class Reply:
    """What the model answers to one request.

    Attributes:
        text: its words.
        calls: the tools that it calls.
        fills: fields of a structured answer, in whatever form the request asks for it: JSON text, or the arguments of
            the tool that it must call.
        thoughts: its reasoning.
        refusal: its words where it declines.
        cut: whether the token limit ended it; it is then ``tokens`` long.
        tokens: how many tokens it counts.
    """

    text: str = ""
    calls: Sequence[Call] = ()
    fills: Mapping[str, Any] | None = None
    thoughts: str = ""
    refusal: str = ""
    cut: bool = False
    tokens: int = 5


class Server(Protocol):
    """A fake of the service behind the LLM."""

    @abstractmethod
    def llm(self, **fields: Any) -> FunctionCallingLLM:
        """Make an LLM that talks to this server; every call gives an independent one.

        Args:
            fields: of the LLM's constructor, all of them common to LlamaIndex's LLMs: ``model``, ``max_tokens``,
                ``system_prompt``, ``callback_manager``, ``api_key`` (which this server takes, whatever it is).
        """

    @abstractmethod
    def says(self, *replies: Reply) -> None:
        """Answer the requests from now on with these, in order, the last one for ever; before, with some text."""

    @abstractmethod
    def fails(self, how: str) -> tuple[type[Exception], ...]:
        """End the jobs from now on without an answer.

        Args:
            how: ``"failed"`` (the model server gave an error that stays) or ``"cancelled"`` (by the service).

        Returns:
            The errors that may then be raised; none where the service has no such end.
        """

    @abstractmethod
    def waits(self, seconds: float) -> None:
        """Let the requests from now on wait before they are answered."""

    @abstractmethod
    def requests(self) -> list[dict[str, Any]]:
        """Return what the model was asked, oldest first, in the shape of chat completions: ``messages``, ``tools``."""

    @abstractmethod
    def running(self) -> int:
        """Count the requests that are under way."""


class Contracts:
    """The fixtures of every contract."""

    # LlamaIndex's own agents and structured streams use what pydantic and the workflows have renamed.
    pytestmark: ClassVar[list[Any]] = [
        pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
        pytest.mark.filterwarnings("ignore:is_running called:DeprecationWarning"),
    ]

    carries: ClassVar[frozenset[str]] = frozenset({"ImageBlock", "DocumentBlock", "CachePoint"})
    replays_reasoning: ClassVar[bool] = False

    @pytest.fixture
    def server(self) -> Iterator[Server]:
        """Provide the server; subclasses do."""
        raise NotImplementedError("provide a fixture `server` that yields a Server")

    @pytest.fixture
    def llm(self, server: Server) -> FunctionCallingLLM:
        """Provide an LLM that talks to the server."""
        return server.llm()


def question(text: str = "Hi.") -> list[ChatMessage]:
    """Return a conversation of one message."""
    return [ChatMessage(role=MessageRole.USER, content=text)]


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own: integrations whose clients cling to a loop break on the second."""
    return asyncio.run(call)


async def until(condition: Any, seconds: float = 10.0) -> bool:
    """Wait until a condition holds, at most so long; return whether it does."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return bool(condition())


@contextmanager
def blocking() -> Iterator[None]:
    """Allow an LLM to warn that a synchronous call blocks an event loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
