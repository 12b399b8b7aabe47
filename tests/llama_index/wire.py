"""Helpers that make LLMs for an emulator; what the emulator saw is read with those of the LangChain tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.llms.dw_agents import DoublewordLLM
from tests.langchain.wire import (
    MODEL,
    Says,
    bodies,
    call,
    nothing_runs,
    posts,
    run_program,
    wait_until_running,
)

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

__all__ = ["MODEL", "Says", "bodies", "call", "llm_for", "nothing_runs", "posts", "run_program", "wait_until_running"]


def llm_for(emulator: Emulator, **fields: Any) -> DoublewordLLM:
    """Make an LLM that talks to ``emulator``."""
    settings = {"model": MODEL, "api_key": emulator.api_key, "base_url": emulator.base_url, **fields}
    return DoublewordLLM(**settings)
