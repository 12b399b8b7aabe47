"""Helpers that read what the emulator saw, and a stand-in for what answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from langchain_dw_agents import ChatDoubleword, DoublewordEmbeddings

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

MODEL = "Qwen/Qwen3.5-9B"
EMBEDDING_MODEL = "Qwen/Qwen3-Embedding-8B"


def model_for(emulator: Emulator, **fields: Any) -> ChatDoubleword:
    """Make a model that talks to ``emulator``."""
    settings = {"model": MODEL, "api_key": emulator.api_key, "base_url": emulator.base_url, **fields}
    return ChatDoubleword(**settings)


def embeddings_for(emulator: Emulator, **fields: Any) -> DoublewordEmbeddings:
    """Make an embeddings model that talks to ``emulator``."""
    settings = {"model": EMBEDDING_MODEL, "api_key": emulator.api_key, "base_url": emulator.base_url, **fields}
    return DoublewordEmbeddings(**settings)


def lines(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the bodies of all lines that were uploaded, oldest first."""
    return [line["body"] for file in emulator.files if file.purpose == "batch" for line in file.lines()]


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


def run_program(program: str, emulator: Emulator) -> subprocess.Popen[bytes]:
    """Start a Python program that talks to ``emulator``."""
    surroundings: dict[str, Any] = {
        **os.environ, "DOUBLEWORD_API_KEY": emulator.api_key, "DOUBLEWORD_BASE_URL": emulator.base_url,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_until_running(emulator: Emulator, jobs: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the emulator runs as many jobs and batches."""
    while len(emulator.running()) < jobs:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)


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


class Numbers(Says):
    """An embeddings backend: the vector of a text is the number that it ends with, repeated.

    Args:
        shuffled: answer with the vectors in another order, numbered as they should be.
        missing: leave the last vector out.
        dimensions: of the vectors, whatever was asked for; None: as asked, 2 without.
    """

    def __init__(self, *, shuffled: bool = False, missing: bool = False, dimensions: int | None = None) -> None:
        super().__init__()
        self._shuffled, self._missing, self._dimensions = shuffled, missing, dimensions

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer with the numbers."""
        self.requests.append(request)
        length = self._dimensions or request.get("dimensions") or 2
        data = [
            {"object": "embedding", "index": index, "embedding": [float(text.split()[-1])] * length}
            for index, text in enumerate(request["input"])
        ]
        if self._missing:
            data.pop()
        if self._shuffled:
            data.reverse()
        used = {"prompt_tokens": len(request["input"]), "total_tokens": len(request["input"])}
        return {"object": "list", "data": data, "model": request["model"], "usage": used}


def call(name: str, ident: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool call as a chat completion holds it."""
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
