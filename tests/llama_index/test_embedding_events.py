"""What observers, caches and rate limiters see of ``DoublewordEmbedding``: each slice begins and ends once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field

from llama_index.embeddings.dw_agents import DoublewordEmbedding, DoublewordHeartbeat
from llama_index.embeddings.dw_agents.errors import BadRequest
from tests.llama_index.vectors import EMBEDDING_MODEL, TEXTS, Numbers, embedding_for, expected
from tests.llama_index.wire import nothing_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index_instrumentation.base import BaseEvent

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator


class Callbacks(BaseCallbackHandler):
    """Notes the embedding events of the callback manager."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[str] = []
        self.ended: list[str] = []
        self.payloads: list[dict[str, Any]] = []

    def on_event_start(
        self, event_type: CBEventType, payload: Any = None, event_id: str = "", parent_id: str = "", **_: Any
    ) -> str:
        if event_type is CBEventType.EMBEDDING:
            self.started.append(event_id)
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **_: Any) -> None:
        if event_type is CBEventType.EMBEDDING:
            self.ended.append(event_id)
            self.payloads.append(payload or {})

    def start_trace(self, trace_id: str | None = None) -> None:
        """Traces are not looked at."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Traces are not looked at."""


class Events(BaseEventHandler):
    """Notes the events of the instrumentation."""

    seen: list[Any] = Field(default_factory=list)

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.seen.append(event)

    def of(self, kind: type[BaseEvent]) -> list[Any]:
        return [event for event in self.seen if type(event) is kind]


@pytest.fixture
def events() -> Iterator[Events]:
    root = get_dispatcher()
    handler = Events()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def callbacks() -> Callbacks:
    return Callbacks()


async def ask(embedding: DoublewordEmbedding, call: str, texts: list[str]) -> list[list[float]]:
    if call == "synchronous":
        return await asyncio.to_thread(embedding.get_text_embedding_batch, texts)
    return await embedding.aget_text_embedding_batch(texts)


CALLS = pytest.mark.parametrize("call", ["synchronous", "asynchronous"])


@CALLS
async def test_each_slice_begins_and_ends_once_in_both_systems(
    emulator: Emulator, events: Events, callbacks: Callbacks, call: str
) -> None:
    embedding = embedding_for(emulator, embed_batch_size=4, dimensions=8, callback_manager=CallbackManager([callbacks]))
    await ask(embedding, call, TEXTS)
    slices = [TEXTS[:4], TEXTS[4:8], TEXTS[8:]]
    assert len(events.of(EmbeddingStartEvent)) == 3
    assert [event.chunks for event in events.of(EmbeddingEndEvent)] == slices
    assert events.of(EmbeddingEndEvent)[2].embeddings == [expected(text) for text in TEXTS[8:]]
    assert len(callbacks.started) == 3
    assert callbacks.ended == callbacks.started
    assert [payload[EventPayload.CHUNKS] for payload in callbacks.payloads] == slices
    assert [vector for payload in callbacks.payloads for vector in payload[EventPayload.EMBEDDINGS]] == [
        expected(text) for text in TEXTS
    ]


async def test_single_texts_and_queries_have_one_event_each(
    emulator: Emulator, events: Events, callbacks: Callbacks
) -> None:
    embedding = embedding_for(emulator, callback_manager=CallbackManager([callbacks]))
    await asyncio.to_thread(embedding.get_query_embedding, "a")
    await embedding.aget_query_embedding("b")
    await asyncio.to_thread(embedding.get_text_embedding, "c")
    await embedding.aget_text_embedding("d")
    await embedding.aget_agg_embedding_from_queries(["e", "f"])
    told = [event.chunks for event in events.of(EmbeddingEndEvent)]
    assert told == [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]
    assert len(callbacks.ended) == len(callbacks.started) == len(events.of(EmbeddingStartEvent)) == 6


async def test_events_tell_the_model_and_its_tier_but_no_secret(emulator: Emulator, events: Events) -> None:
    embedding = embedding_for(emulator, default_headers={"X-Secret": "blue"})
    await embedding.aget_query_embedding("a")
    embedding.engine.close()
    (told,) = events.of(EmbeddingStartEvent)
    assert (told.model_dict["model_name"], told.model_dict["service_tier"]) == (EMBEDDING_MODEL, "batch")
    assert emulator.api_key not in str(told.model_dict)
    assert "blue" not in str(told.model_dict)


@CALLS
async def test_each_method_is_one_span(emulator: Emulator, call: str) -> None:
    root, spans = get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(spans)
    try:
        await ask(embedding_for(emulator, embed_batch_size=4), call, TEXTS)
    finally:
        root.span_handlers.remove(spans)
    names = [span.id_.partition("-")[0] for span in spans.completed_spans]
    prefix = "a" if call == "asynchronous" else ""
    assert names == [f"DoublewordEmbedding.{prefix}get_text_embedding_batch"]
    assert not spans.open_spans


@CALLS
async def test_an_error_ends_every_event_and_tells_the_reason(
    emulator: Emulator, events: Events, callbacks: Callbacks, call: str
) -> None:
    emulator.faults.add("inline_error", status=400, match="number 5")
    embedding = embedding_for(emulator, embed_batch_size=4, callback_manager=CallbackManager([callbacks]))
    with pytest.raises(BadRequest) as caught:
        await ask(embedding, call, TEXTS)
    assert sorted(callbacks.ended) == sorted(callbacks.started)
    assert [payload[EventPayload.EXCEPTION] for payload in callbacks.payloads] == [caught.value] * 3
    assert events.of(EmbeddingEndEvent) == []


async def test_leaving_ends_every_event(make_emulator: MakeEmulator, callbacks: Callbacks) -> None:
    emulator = make_emulator(batch_latency=60.0)
    embedding = embedding_for(emulator, callback_manager=CallbackManager([callbacks]))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(embedding.aget_text_embedding_batch(TEXTS), 0.1)
    assert callbacks.ended == callbacks.started
    assert len(callbacks.ended) == 1


async def test_token_counters_count_what_was_embedded(emulator: Emulator) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    embedding = embedding_for(emulator, embed_batch_size=4, callback_manager=CallbackManager([counter]))
    await embedding.aget_text_embedding_batch(TEXTS)
    assert counter.total_embedding_token_count == 30


@CALLS
async def test_a_waiting_call_gives_signs_of_life(make_emulator: MakeEmulator, events: Events, call: str) -> None:
    emulator = make_emulator(batch_latency=0.6)
    await ask(embedding_for(emulator, heartbeat=0.1), call, TEXTS)
    beats = events.of(DoublewordHeartbeat)
    assert 3 <= len(beats) <= 12
    assert beats[-1].label == "texts[0:10]"
    assert 0 < beats[0].waited < beats[-1].waited
    events.seen.clear()
    await ask(embedding_for(emulator, heartbeat=None), call, TEXTS)
    assert events.of(DoublewordHeartbeat) == []


@CALLS
async def test_the_progress_bar_is_drawn_on_demand_and_ends_full(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    embedding = embedding_for(emulator)
    await ask(embedding, call, TEXTS)
    assert "Generating embeddings" not in capsys.readouterr().err
    if call == "synchronous":
        await asyncio.to_thread(embedding.get_text_embedding_batch, TEXTS, show_progress=True)
    else:
        await embedding.aget_text_embedding_batch(TEXTS, show_progress=True)
    drawn = capsys.readouterr().err
    assert "Generating embeddings" in drawn
    assert "10/10" in drawn


@CALLS
async def test_a_cache_saves_what_was_asked_before(emulator: Emulator, call: str) -> None:
    embedding = embedding_for(emulator, embeddings_cache=SimpleKVStore(), dimensions=8, embed_batch_size=4)
    await ask(embedding, call, [TEXTS[1], TEXTS[5]])
    assert await ask(embedding, call, TEXTS) == [expected(text) for text in TEXTS]
    requests = emulator.counters.requests
    assert await ask(embedding, call, TEXTS) == [expected(text) for text in TEXTS]
    assert await embedding.aget_query_embedding(TEXTS[3]) == expected(TEXTS[3])
    assert emulator.counters.requests == requests
    sent = [
        text for file in emulator.files for line in file.lines() if "body" in line for text in line["body"]["input"]
    ]
    assert sorted(sent) == sorted(TEXTS)


async def test_models_that_share_a_cache_do_not_get_each_others_vectors(emulator: Emulator) -> None:
    """LlamaIndex's own key is the bare text."""
    cache = SimpleKVStore()
    short, long = (embedding_for(emulator, embeddings_cache=cache, dimensions=size) for size in (4, 8))
    other = embedding_for(emulator, model="another/model", embeddings_cache=cache, dimensions=4)
    for _ in range(2):
        assert await short.aget_text_embedding("a") == expected("a", 4)
        assert await long.aget_text_embedding("a") == expected("a", 8)
        assert await other.aget_text_embedding("a") == expected("a", 4)
    assert emulator.counters.lines == 3
    assert len(cache.get_all("embeddings")) == 3


@CALLS
async def test_what_arrived_before_an_error_is_kept_in_the_cache(make_emulator: MakeEmulator, call: str) -> None:
    class SlowToRefuse(Numbers):
        async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(0.5 if "text number 7" in request["input"] else 0)
            return await super().embed(request)

    emulator = make_emulator(backend=SlowToRefuse())
    emulator.faults.add("inline_error", status=400, match="number 7", times=1)
    embedding = embedding_for(emulator, embeddings_cache=SimpleKVStore(), embed_batch_size=1)
    with pytest.raises(BadRequest):
        await ask(embedding, call, TEXTS)
    lines = emulator.counters.lines
    assert await ask(embedding, call, TEXTS) == [[float(number)] * 2 for number in range(10)]
    assert emulator.counters.lines - lines < 10


class Gate(BaseRateLimiter):
    """Counts who passes."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    def acquire(self, num_tokens: int = 0) -> None:
        self.passed.append("synchronous")

    async def async_acquire(self, num_tokens: int = 0) -> None:
        self.passed.append("asynchronous")


async def test_a_rate_limiter_is_asked_once_for_each_slice(emulator: Emulator) -> None:
    gate = Gate()
    embedding = embedding_for(emulator, rate_limiter=gate, embed_batch_size=4, dimensions=8)
    assert await asyncio.to_thread(embedding.get_text_embedding_batch, TEXTS) == [expected(text) for text in TEXTS]
    assert gate.passed == ["synchronous"] * 3
    assert await embedding.aget_text_embedding_batch(TEXTS) == [expected(text) for text in TEXTS]
    assert gate.passed == ["synchronous"] * 3 + ["asynchronous"] * 3
    await embedding.aget_query_embedding("deep water")
    assert len(gate.passed) == 7


async def test_leaving_while_the_rate_limiter_holds_slices_back_cancels_those_sent(make_emulator: MakeEmulator) -> None:
    class Shut(Gate):
        async def async_acquire(self, num_tokens: int = 0) -> None:
            await super().async_acquire()
            if len(self.passed) > 1:
                await asyncio.Event().wait()

    emulator = make_emulator(batch_latency=60.0)
    embedding = embedding_for(emulator, rate_limiter=Shut(), embed_batch_size=4)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(embedding.aget_text_embedding_batch(TEXTS), 1.5)
    assert emulator.counters.lines == 1
    assert await asyncio.to_thread(nothing_runs, emulator)
