"""What the tests of the OpenAI clients share: sync and async clients driven by the same lines, and what was sent."""

from __future__ import annotations

import inspect
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import openai

from dw_agents.openai import AsyncOpenAI, OpenAI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dw_agents.emulator import Emulator

Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")
MODEL = "Qwen/Qwen3.5-9B"
EMBEDDING_MODEL = "Qwen/Qwen3-Embedding-8B"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
WEATHER_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": WEATHER_PARAMETERS, "strict": True},
}
WEATHER_RESPONSES: dict[str, Any] = {"type": "function", **WEATHER["function"]}


def our_client(emulator: Emulator, kind: Kind = "sync", **settings: Any) -> Any:
    """A client of ours that talks to the emulator."""
    made = OpenAI if kind == "sync" else AsyncOpenAI
    return made(**{"api_key": emulator.api_key, "base_url": emulator.base_url, **settings})


def their_client(emulator: Emulator, kind: Kind = "sync", **settings: Any) -> Any:
    """The SDK's own client, which asks the emulator for realtime answers."""
    made: Any = openai.OpenAI if kind == "sync" else openai.AsyncOpenAI
    return made(**{"api_key": emulator.api_key, "base_url": emulator.base_url, "max_retries": 0, **settings})


async def result(value: Any) -> Any:
    """What a sync call returned, or what an async one is going to."""
    return await value if inspect.isawaitable(value) else value


async def collect(stream: Any) -> list[Any]:
    """Everything that a stream brings, sync or async, awaited before if need be."""
    stream = await result(stream)
    return [item async for item in stream] if hasattr(stream, "__aiter__") else list(stream)


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Enter a sync or an async context manager."""
    if hasattr(manager, "__aenter__"):
        async with manager as inner:
            yield inner
    else:
        with manager as inner:
            yield inner


def posts(emulator: Emulator, path: str = "") -> list[dict[str, Any]]:
    """The bodies that were posted, oldest first, to the paths that end so."""
    return [request.json() for request in emulator.requests if request.method == "POST" and request.path.endswith(path)]


def lines(emulator: Emulator) -> list[dict[str, Any]]:
    """The lines of all batches, oldest first."""
    return [line for file in emulator.files if file.purpose == "batch" for line in file.lines()]


def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time: what happens in the emulator's thread cannot be awaited otherwise."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def shown(value: Any, *aside: str) -> Any:
    """An object of the SDK as plain data, without ids, times, the tier and what else is set aside."""
    data = value if isinstance(value, dict | list) else value.model_dump(mode="json", warnings=False)
    return _without(data, {"id", "call_id", "item_id", "created", "created_at", "completed_at", "service_tier", *aside})


def _without(data: Any, names: set[str]) -> Any:
    if isinstance(data, dict):
        return {name: _without(value, names) for name, value in data.items() if name not in names}
    if isinstance(data, list):
        return [_without(value, names) for value in data]
    return data


def call(name: str, ident: str, **arguments: Any) -> dict[str, Any]:
    """A tool call as a chat completion holds it."""
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
