"""Helpers that read what the emulator saw, and a stand-in for what answers."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from langchain_dw_agents import ChatDoubleword

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

MODEL = "Qwen/Qwen3.5-9B"


def model_for(emulator: Emulator, **fields: Any) -> ChatDoubleword:
    """Make a model that talks to ``emulator``."""
    settings = {"model": MODEL, "api_key": emulator.api_key, "base_url": emulator.base_url, **fields}
    return ChatDoubleword(**settings)


def bodies(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the bodies that were posted, oldest first."""
    return [request.json() for request in emulator.requests if request.method == "POST"]


def posts(emulator: Emulator) -> int:
    """Return how many requests could have cost something."""
    return emulator.counters.snapshot()["POST /responses"]


def nothing_runs(emulator: Emulator, *, within: float = 5.0) -> bool:
    """Return whether, after at most ``within`` seconds, the emulator has no job left that would be paid
    for."""
    deadline = time.monotonic() + within
    while emulator.running():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Peak:
    """Watches how many jobs run at the emulator at a time, until stopped."""

    def __init__(self, emulator: Emulator) -> None:
        self.most = 0
        self._emulator = emulator
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.most = max(self.most, len(self._emulator.running()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Says:
    """A backend that gives fixed messages, one after another, the last one for ever.

    Args:
        messages: each the ``message`` of a chat completion; ``finish_reason`` may be among its fields.
        usage: the usage of every answer.
    """

    name = "fixed"
    description = "Fixed messages answer."

    def __init__(self, *messages: dict[str, Any], usage: dict[str, Any] | None = None) -> None:
        self.messages = list(messages)
        self.usage = usage or {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        self.requests: list[dict[str, Any]] = []

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer with the next message."""
        self.requests.append(request)
        message = dict(self.messages.pop(0) if len(self.messages) > 1 else self.messages[0])
        finish = message.pop("finish_reason", "tool_calls" if message.get("tool_calls") else "stop")
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
            "usage": self.usage,
        }

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Refuse: no test embeds with it."""
        raise NotImplementedError


def call(name: str, ident: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool call as a chat completion holds it."""
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
