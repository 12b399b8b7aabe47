"""LangChain's and LlamaIndex's calls of one process share an engine, its batches and its receipt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.langchain.wire import model_for
from tests.llama_index.wire import MODEL, llm_for

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator


async def test_calls_of_both_frameworks_ride_one_batch(emulator: Emulator) -> None:
    langchain = model_for(emulator, service_tier="batch")
    llama_index = llm_for(emulator, service_tier="batch")
    assert langchain.engine is llama_index.engine
    answers: list[Any] = await asyncio.gather(
        *(langchain.ainvoke(f"chain {n}") for n in range(10)), *(llama_index.acomplete(f"index {n}") for n in range(10))
    )
    assert all(f"chain {n}" in answer.text for n, answer in enumerate(answers[:10]))
    assert all(f"index {n}" in answer.text for n, answer in enumerate(answers[10:]))
    counts = emulator.counters.snapshot()
    assert (counts.batches, counts.lines, counts.flex, counts.realtime) == (1, 20, 0, 0)
    assert llama_index.engine.receipt().lines[MODEL, "batch"].steps == 20
