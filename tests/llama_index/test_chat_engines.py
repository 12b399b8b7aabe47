"""LlamaIndex's chat engines and memories, and the models in its global settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import (
    ChatMemoryBuffer,
    ChatSummaryMemoryBuffer,
    FactExtractionMemoryBlock,
    Memory,
)

from llama_index.llms.dw_agents import DoublewordWarning
from llama_index.llms.dw_agents.errors import BadRequest
from tests.llama_index.loops import own_loop
from tests.llama_index.vectors import embedding_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator
    from llama_index.llms.dw_agents import DoublewordLLM

__all__ = ["own_loop"]

WAYS = ("chat", "achat", "stream_chat", "astream_chat")
MODES = {"simple": 2, "context": 2, "condense_question": 3, "condense_plus_context": 3}
"""How many calls two turns of a mode take: some rewrite the second question first."""


def index_of(emulator: Emulator) -> VectorStoreIndex:
    embedding = embedding_for(emulator, service_tier="priority")  # no batch to wait for
    return VectorStoreIndex.from_documents([Document(text="Oslo is {in} Norway.")], embed_model=embedding)


def said(engine: Any, way: str, text: str) -> str:
    if way == "chat":
        return str(engine.chat(text))
    if way == "stream_chat":
        return "".join(engine.stream_chat(text).response_gen)

    async def waited_for() -> str:
        if way == "achat":
            return str(await engine.achat(text))
        stream = await engine.astream_chat(text)
        return "".join([token async for token in stream.async_response_gen()])

    return asyncio.run(waited_for())


def asked(emulator: Emulator) -> list[dict[str, Any]]:
    """The bodies of the LLM's calls, oldest first."""
    return [request.json() for request in emulator.requests if request.route == "POST /responses"]


def paid_calls(emulator: Emulator) -> int:
    counts = emulator.counters.snapshot()
    assert counts.realtime == counts["POST /embeddings"]
    return counts.flex


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_every_chat_engine_keeps_a_conversation_on_flex(
    emulator: Emulator, llm: DoublewordLLM, mode: Any, way: str
) -> None:
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    engine = index_of(emulator).as_chat_engine(chat_mode=mode, llm=llm, memory=memory)
    assert [bool(said(engine, way, text)) for text in ("Where is Oslo?", "And Bergen?")] == [True, True]
    assert [message.role.value for message in engine.chat_history] == ["user", "assistant"] * 2
    assert "Where is Oslo?" in str(asked(emulator)[-1]["input"])
    assert paid_calls(emulator) == MODES[mode]


async def test_a_synchronous_chat_engine_inside_a_running_loop_answers_and_warns(llm: DoublewordLLM) -> None:
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults(llm=llm))
    with pytest.warns(DoublewordWarning, match=r"event loop.*achat"):
        assert "Hi." in engine.chat("Hi.").response
    assert "Ho." in "".join(engine.stream_chat("Ho.").response_gen)
    assert "So." in "".join([token async for token in (await engine.astream_chat("So.")).async_response_gen()])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its thread raises the error, too
@pytest.mark.parametrize("way", WAYS)
def test_a_chat_engine_ends_with_the_services_own_error(emulator: Emulator, llm: DoublewordLLM, way: str) -> None:
    """And with no empty answer in its history."""
    emulator.faults.add("fail_job", code=400, message="the prompt is too long")
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults(llm=llm))
    with pytest.raises(BadRequest, match="the prompt is too long"):
        said(engine, way, "Hi.")
    assert [message.role.value for message in engine.chat_history if message.content] == ["user"]


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@pytest.mark.parametrize("kind", ["buffer", "summary", "memory", "facts"])
async def test_an_agent_goes_on_when_its_memory_forgets(emulator: Emulator, llm: DoublewordLLM, kind: str) -> None:
    """Of calls and outputs that belong together, one may be left."""
    few: dict[str, Any] = {"token_limit": 60, "chat_history_token_ratio": 0.5}
    facts: Any = FactExtractionMemoryBlock(name="facts", llm=llm, max_facts=3)
    memory: Any = {  # type: ignore[no-untyped-call]
        "buffer": lambda: ChatMemoryBuffer.from_defaults(token_limit=60),
        "summary": lambda: ChatSummaryMemoryBuffer.from_defaults(llm=llm, token_limit=60),
        "memory": lambda: Memory.from_defaults(**few),
        "facts": lambda: Memory.from_defaults(**{**few, "token_limit": 120}, memory_blocks=[facts]),
    }[kind]()
    agent = FunctionAgent(tools=[double], llm=llm)
    for number in range(5, 9):
        assert str(2 * number) in str(await agent.run(f"What is double for number: {number}?", memory=memory))
    for body in asked(emulator):
        calls = [item["call_id"] for item in body["input"] if item["type"] == "function_call"]
        outputs = [item["call_id"] for item in body["input"] if item["type"] == "function_call_output"]
        assert calls == outputs
    assert paid_calls(emulator) >= 8
    if isinstance(memory, Memory):
        store: Any = memory.sql_store
        database, _ = await store._setup_connections()
        await database.dispose()


@pytest.fixture
def in_settings(emulator: Emulator, llm: DoublewordLLM, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaDebugHandler]:
    """Both models in LlamaIndex's global settings, and a handler that notes their events."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.setattr(Settings, "_embed_model", None)
    monkeypatch.setattr(Settings, "_callback_manager", None)
    Settings.llm, Settings.embed_model = llm, embedding_for(emulator)
    Settings.callback_manager = CallbackManager([handler])
    yield handler
    Settings.callback_manager = CallbackManager([])


def test_models_in_the_settings_are_used_and_each_event_is_told_once(
    emulator: Emulator, in_settings: LlamaDebugHandler
) -> None:
    index = VectorStoreIndex.from_documents([Document(text="Oslo is in Norway.")])
    assert "Oslo" in str(index.as_query_engine().query("Where is Oslo?"))
    streamed: Any = index.as_query_engine(streaming=True).query("Where is Oslo?")
    assert "Oslo" in "".join(streamed.response_gen)
    assert len(in_settings.get_event_pairs(CBEventType.LLM)) == 2
    assert len(in_settings.get_event_pairs(CBEventType.EMBEDDING)) == 1 + 2
    assert paid_calls(emulator) == 2
