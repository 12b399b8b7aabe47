"""Steps for tests, and what to ask an emulator afterwards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dw_agents import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.emulator import Emulator

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"
SUBMIT = "POST /responses"
POLL = "GET /responses/{id}"


def step(text: object = "hello", **settings: Any) -> Step:
    """A small step; keyword arguments are ``Step``'s, ``body`` adds to the body."""
    body = {"model": MODEL, "input": str(text), **settings.pop("body", {})}
    return Step(body=body, **settings)


def posts(emulator: Emulator) -> int:
    """How many submissions reached the emulator."""
    return emulator.counters.snapshot()[SUBMIT]


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time; what happens in another thread cannot be awaited otherwise."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def text_of(body: dict[str, Any]) -> str:
    """All text of a Response."""
    return "".join(part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"])
