"""Signs of life: they keep a graph's idle timeout from ending a node, and disturb nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langgraph.errors import NodeTimeoutError
from langgraph.graph import START, StateGraph
from langgraph.types import TimeoutPolicy

from tests.langchain.wire import embeddings_for, model_for

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeEmulator


class State(TypedDict):
    said: str


class Watch(BaseCallbackHandler):
    """Notes every heartbeat and every token."""

    def __init__(self) -> None:
        self.beats: list[dict[str, Any]] = []
        self.run_ids: set[Any] = set()
        self.tokens = 0

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:
        assert name == "doubleword_heartbeat"
        self.beats.append(data)
        self.run_ids.add(run_id)

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        self.tokens += 1


class AsyncWatch(AsyncCallbackHandler):
    """The same for asynchronous callers."""

    def __init__(self) -> None:
        self.beats: list[dict[str, Any]] = []

    async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.beats.append(data)


@pytest.fixture
def slowish(make_emulator: MakeEmulator) -> Emulator:
    return make_emulator(latency=0.5)


def graph_of(llm: ChatDoubleword, idle_timeout: float, refresh_on: Any = "auto", *, streamed: bool = False) -> Any:
    async def say(_: State) -> State:
        if streamed:
            return {"said": "".join([str(chunk.text) async for chunk in llm.astream("Hi.")])}
        return {"said": str((await llm.ainvoke("Hi.")).text)}

    graph = StateGraph(State)
    graph.add_node("say", cast("Any", say), timeout=TimeoutPolicy(idle_timeout=idle_timeout, refresh_on=refresh_on))
    graph.add_edge(START, "say")
    return graph.compile()


async def test_without_heartbeats_the_idle_timeout_ends_the_node(slowish: Emulator) -> None:
    with pytest.raises(NodeTimeoutError):
        await graph_of(model_for(slowish, heartbeat=None), 0.25).ainvoke({"said": ""})


@pytest.mark.parametrize("refresh_on", ["auto", "heartbeat"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_heartbeats_refresh_the_idle_timeout(slowish: Emulator, refresh_on: str, *, streamed: bool) -> None:
    graph = graph_of(model_for(slowish, heartbeat=0.08), 0.25, refresh_on, streamed=streamed)
    assert "Hi." in (await graph.ainvoke({"said": ""}))["said"]


async def test_heartbeats_reach_the_idle_timeout_of_an_outer_graph(slowish: Emulator) -> None:
    """The inner node has a clock of its own; the outer one hears of the call through callbacks only."""
    inner = graph_of(model_for(slowish, heartbeat=0.08), 0.3)

    async def delegate(state: State) -> State:
        return {"said": (await inner.ainvoke(state))["said"]}

    graph = StateGraph(State)
    graph.add_node("delegate", cast("Any", delegate), timeout=TimeoutPolicy(idle_timeout=0.3))
    graph.add_edge(START, "delegate")
    assert "Hi." in (await graph.compile().ainvoke({"said": ""}))["said"]


def test_a_waiting_call_tells_its_state_and_no_tokens(slowish: Emulator) -> None:
    watch = Watch()
    answer = model_for(slowish, heartbeat=0.08).invoke("Hi.", {"callbacks": [watch]})
    assert 2 <= len(watch.beats) <= 8
    assert watch.beats[-1]["response_id"] == answer.id
    assert watch.beats[-1]["status"] in {"queued", "in_progress"}
    assert 0.07 <= watch.beats[0]["waited"] < watch.beats[-1]["waited"] < 2.0
    assert len(watch.run_ids) == 1
    assert watch.tokens == 0


async def test_asynchronous_callers_are_told_too(slowish: Emulator) -> None:
    watch = AsyncWatch()
    await model_for(slowish).ainvoke("Hi.", {"callbacks": [watch]}, heartbeat=0.08)
    assert 2 <= len(watch.beats) <= 8


def test_a_quick_answer_has_no_heartbeats(llm: ChatDoubleword) -> None:
    watch = Watch()
    llm.invoke("Hi.", {"callbacks": [watch]})
    assert watch.beats == []


def test_heartbeats_can_be_turned_off(slowish: Emulator) -> None:
    watch = Watch()
    model_for(slowish, heartbeat=None).invoke("Hi.", {"callbacks": [watch]})
    assert watch.beats == []


async def test_heartbeats_outside_any_graph_are_harmless(slowish: Emulator) -> None:
    chunks = [chunk async for chunk in model_for(slowish, heartbeat=0.08).astream("Hi.")]
    assert len(chunks) == 1
    assert len(list(model_for(slowish, heartbeat=0.08).stream("Hi."))) == 1


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_heartbeats_tell_of_embeddings_that_wait(make_emulator: MakeEmulator, *, asynchronous: bool) -> None:
    """Embeddings have no callbacks of their own: the run around them is told, and its idle timeout is kept off."""
    emulator = make_emulator(batch_latency=1.0)
    watch = Watch()

    async def ingest(_: State) -> State:
        embeddings = embeddings_for(emulator, heartbeat=0.1)
        vectors = await embeddings.aembed_documents(["a"]) if asynchronous else embeddings.embed_documents(["a"])
        return {"said": str(len(vectors))}

    graph = StateGraph(State)
    graph.add_node("ingest", cast("Any", ingest), timeout=TimeoutPolicy(idle_timeout=0.6) if asynchronous else None)
    graph.add_edge(START, "ingest")
    state = await graph.compile().ainvoke({"said": ""}, {"callbacks": [watch]})
    assert state["said"] == "1"
    assert len(watch.beats) >= 3
    assert {beat["status"] for beat in watch.beats} <= {"waiting", "submitting", "queued", "in_progress"}
