"""What the proxy's tests share: bodies of calls, and what to ask an emulator afterwards."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import tenacity

from dw_agents import Retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.emulator import Emulator

MODEL = "Qwen/Qwen3.5-9B"
EMBEDDING_MODEL = "Qwen/Qwen3-Embedding-8B"
TOKEN = "a-token-of-the-proxy"
QUICK = Retries(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_attempt(3), patience=0.5, resubmits=0)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def chat(text: str = "hello", **more: Any) -> dict[str, Any]:
    """A chat call."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def ask(text: str = "hello", **more: Any) -> dict[str, Any]:
    """A call of Responses."""
    return {"model": MODEL, "input": text, **more}


def posts(emulator: Emulator, path: str) -> list[dict[str, Any]]:
    """The bodies that were posted to a path, oldest first."""
    return [request.json() for request in emulator.requests if request.method == "POST" and request.path == path]


async def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time: what happens in the emulator's thread cannot be awaited otherwise."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        await asyncio.sleep(0.01)
    return bool(condition())
