"""``DoublewordLLM`` keeps every contract of the conformance suite."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents import Engine
from dw_agents.emulator import Emulator
from llama_index.llms.dw_agents import DoublewordLLM
from llama_index.llms.dw_agents.conformance import LLMConformance, Reply, Server
from llama_index.llms.dw_agents.errors import BadRequest, StepCancelled
from tests.llama_index.wire import MODEL, Says

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Scripted(Says):
    """A backend that gives the suite's replies."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.replies: list[Reply] = []
        self.delay = 0.0

    def reset(self) -> None:
        self.asked, self.replies, self.delay = [], [Reply("Hi.")], 0.0

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        await asyncio.sleep(self.delay)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        self.usage = {"prompt_tokens": 7, "completion_tokens": reply.tokens, "total_tokens": 7 + reply.tokens}
        self.messages = [message_of(reply, request)]
        return await super().chat(request)


def message_of(reply: Reply, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reply as the message of a chat completion."""
    text, calls = reply.text, [call_of(one.name, one.arguments, one.id) for one in reply.calls]
    if reply.fills is not None and request.get("tools"):
        calls = [call_of(request["tools"][0]["function"]["name"], reply.fills, "c1")]
    elif reply.fills is not None:
        text = json.dumps(reply.fills)
    fields = {"content": text, "tool_calls": calls, "reasoning": reply.thoughts, "refusal": reply.refusal}
    message: dict[str, Any] = {name: value for name, value in fields.items() if value}
    return {**message, "finish_reason": "length"} if reply.cut else message


def call_of(name: str, arguments: Any, ident: str) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": text}}


class EmulatedServer(Server):
    """The emulator, as the suite wants it."""

    def __init__(self, emulator: Emulator, backend: Scripted) -> None:
        self.emulator, self.backend = emulator, backend

    def llm(self, **fields: Any) -> DoublewordLLM:
        settings = {"model": MODEL, "api_key": self.emulator.api_key, "base_url": self.emulator.base_url, **fields}
        return DoublewordLLM(**settings)

    def says(self, *replies: Reply) -> None:
        self.backend.replies = list(replies)

    def fails(self, how: str) -> tuple[type[Exception], ...]:
        if how == "cancelled":
            self.emulator.faults.add("cancelled")
            return (StepCancelled,)
        self.emulator.faults.add("fail_job", code=400)
        return (BadRequest,)

    def waits(self, seconds: float) -> None:
        self.backend.delay = seconds

    def requests(self) -> list[dict[str, Any]]:
        return self.backend.asked

    def running(self) -> int:
        return len(self.emulator.running())


@pytest.fixture(scope="module")
def shared() -> Iterator[EmulatedServer]:
    """One server for all contracts, which is what takes the time."""
    backend = Scripted()
    with Emulator(backend=backend) as emulator:
        yield EmulatedServer(emulator, backend)
        Engine.shared(api_key=emulator.api_key, base_url=emulator.base_url).close()


class TestDoublewordLLM(LLMConformance):
    """On flex, with the emulator."""

    carries = frozenset({"ImageBlock", "DocumentBlock", "CitableBlock", "CitationBlock", "CachePoint"})

    @pytest.fixture
    def server(self, shared: EmulatedServer) -> Iterator[Server]:
        shared.backend.reset()
        shared.emulator.faults.clear()
        yield shared
        assert shared.emulator.counters.snapshot().realtime == 0
        assert shared.running() == 0
