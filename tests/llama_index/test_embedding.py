"""``DoublewordEmbedding`` over HTTP: tiers, packing, order, errors, leaving, and every kind of caller."""

from __future__ import annotations

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trio
from llama_index.core.base.embeddings.base import BaseEmbedding

from dw_agents.errors import DeadlineExceeded
from llama_index.embeddings.dw_agents import DoublewordEmbedding, DoublewordWarning
from llama_index.embeddings.dw_agents.errors import BadRequest, EngineError, InvalidStep, MalformedAnswer
from tests.llama_index.vectors import EMBEDDING_MODEL, TEXTS, Numbers, embedding_for, expected, lines
from tests.llama_index.wire import nothing_runs, run_program, wait_until_running

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator


@pytest.fixture
def embedding(emulator: Emulator) -> DoublewordEmbedding:
    return embedding_for(emulator, dimensions=8)


async def gone(emulator: Emulator) -> bool:
    return await asyncio.to_thread(nothing_runs, emulator)


async def in_a_thread(call: Any, *args: Any) -> Any:
    """A synchronous call from a coroutine, as a program without a loop would make it."""
    return await asyncio.to_thread(call, *args)


def test_the_class_is_an_embedding_model_of_llama_index() -> None:
    assert BaseEmbedding.__name__ in [base.__name__ for base in DoublewordEmbedding.__mro__]
    assert DoublewordEmbedding.class_name() == "DoublewordEmbedding"


def test_texts_go_by_batch_and_queries_realtime(emulator: Emulator, embedding: DoublewordEmbedding) -> None:
    assert embedding.get_text_embedding_batch(TEXTS) == [expected(text) for text in TEXTS]
    counts = emulator.counters.snapshot()
    assert (counts.batches, counts.lines, counts.realtime) == (1, 1, 0)
    assert emulator.batches[0].window == "24h"
    assert embedding.get_query_embedding(TEXTS[0]) == expected(TEXTS[0])
    counts = emulator.counters.snapshot()
    assert (counts.batches, counts.realtime, counts["POST /embeddings"]) == (1, 1, 1)


async def test_asynchronous_calls_give_the_same(emulator: Emulator, embedding: DoublewordEmbedding) -> None:
    assert await embedding.aget_text_embedding_batch(TEXTS) == [expected(text) for text in TEXTS]
    assert await embedding.aget_query_embedding(TEXTS[0]) == expected(TEXTS[0])
    counts = emulator.counters.snapshot()
    assert (counts.batches, counts.lines, counts.realtime) == (1, 1, 1)


async def test_single_texts_and_the_hooks_below_take_the_same_ways(
    emulator: Emulator, embedding: DoublewordEmbedding
) -> None:
    text = TEXTS[0]
    assert await in_a_thread(embedding.get_text_embedding, text) == expected(text)
    assert await in_a_thread(embedding._get_text_embedding, text) == expected(text)
    assert await in_a_thread(embedding._get_text_embeddings, [text]) == [expected(text)]
    assert await embedding.aget_text_embedding(text) == expected(text)
    assert await embedding._aget_text_embedding(text) == expected(text)
    assert await embedding._aget_text_embeddings([text]) == [expected(text)]
    assert (emulator.counters.lines, emulator.counters.realtime) == (6, 0)
    assert await in_a_thread(embedding._get_query_embedding, text) == expected(text)
    assert await embedding._aget_query_embedding(text) == expected(text)
    assert (emulator.counters.lines, emulator.counters.realtime) == (6, 2)


async def test_several_queries_are_in_flight_at_once_and_become_their_mean(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Numbers(), realtime_latency=0.5)
    embedding = embedding_for(emulator)
    async with asyncio.timeout(2.0):  # one after the other they would take 2.5 s
        assert await embedding.aget_agg_embedding_from_queries([f"query {n}" for n in range(5)]) == [2.0, 2.0]
    assert await in_a_thread(embedding.get_agg_embedding_from_queries, ["a 1", "b 4"], max) == [4.0, 4.0]
    assert emulator.counters.realtime == 7


def test_both_tiers_and_the_window_can_be_chosen(emulator: Emulator) -> None:
    embedding_for(emulator, service_tier="priority").get_text_embedding_batch(TEXTS)
    assert (emulator.counters.realtime, emulator.counters.batches) == (1, 0)
    embedding_for(emulator, query_service_tier="batch", completion_window="1h").get_query_embedding("deep water")
    assert (emulator.counters.realtime, emulator.counters.batches) == (1, 1)
    assert emulator.batches[0].window == "1h"


def test_text_is_sent_as_text_with_nothing_that_was_not_asked_for(emulator: Emulator) -> None:
    embedding_for(emulator).get_text_embedding_batch(["a fjord", "", "ein Föhn"])
    embedding_for(emulator, dimensions=4).get_query_embedding("deep\nwater")
    common = {"model": EMBEDDING_MODEL, "encoding_format": "base64"}
    assert lines(emulator) == [{**common, "input": ["a fjord", " ", "ein Föhn"]}]
    assert emulator.requests[-1].json() == {**common, "input": ["deep\nwater"], "dimensions": 4}


async def test_nothing_in_gives_nothing_out(emulator: Emulator, embedding: DoublewordEmbedding) -> None:
    assert await in_a_thread(embedding.get_text_embedding_batch, []) == []
    assert await embedding.aget_text_embedding_batch([]) == []
    assert emulator.counters.requests == 0


@pytest.mark.parametrize("tier", ["batch", "priority"])
async def test_the_order_is_kept_whatever_order_the_server_has(make_emulator: MakeEmulator, tier: str) -> None:
    emulator = make_emulator(backend=Numbers(shuffled=True), line_latency=(0.0, 0.3), realtime_latency=(0.0, 0.3))
    embedding = embedding_for(emulator, service_tier=tier, embed_batch_size=7)
    wanted = [[float(number)] * 2 for number in range(100)]
    texts = [f"text {number}" for number in range(100)]
    assert await in_a_thread(embedding.get_text_embedding_batch, texts) == wanted
    assert await embedding.aget_text_embedding_batch(texts) == wanted
    assert emulator.counters.batch + emulator.counters.realtime == 2 * 15


@pytest.mark.parametrize("call", ["synchronous", "asynchronous"])
def test_all_slices_of_a_call_ride_one_batch(make_emulator: MakeEmulator, call: str) -> None:
    """LlamaIndex's own would send the synchronous ones one after the other, a batch each."""
    emulator = make_emulator(backend=Numbers(), batch_latency=0.3, record=0)
    embedding, texts = embedding_for(emulator, embed_batch_size=10), [f"chunk {number}" for number in range(500)]
    if call == "synchronous":
        vectors = embedding.get_text_embedding_batch(texts)
    else:
        vectors = asyncio.run(embedding.aget_text_embedding_batch(texts))
    assert vectors == [[float(number)] * 2 for number in range(500)]
    assert (emulator.counters.batches, emulator.counters.lines) == (1, 50)


def test_lines_stay_small_whatever_the_slices_are(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Numbers())
    embedding_for(emulator).get_text_embedding_batch([f"text {number}" for number in range(600)])
    embedding_for(emulator).get_text_embedding_batch(["x" * 600_000 + " 1"] * 3)
    assert [len(line["input"]) for line in lines(emulator)] == [256, 256, 88, 1, 1, 1]


async def test_the_loop_goes_on_while_texts_are_embedded(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=0.5)
    task = asyncio.create_task(embedding_for(emulator).aget_text_embedding_batch(TEXTS))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert len(await task) == 10
    assert turns > 10


async def test_a_synchronous_call_inside_a_running_loop_answers_and_warns_once(
    emulator: Emulator, embedding: DoublewordEmbedding
) -> None:
    with pytest.warns(DoublewordWarning, match="running event loop"):
        vectors = embedding.get_text_embedding_batch(TEXTS)
    assert vectors == [expected(text) for text in TEXTS]
    assert embedding.get_query_embedding(TEXTS[0]) == expected(TEXTS[0])  # a second warning would be an error here


def test_many_loops_and_threads_share_a_model(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Numbers())
    embedding = embedding_for(emulator)

    def embed(number: int) -> list[list[float]]:
        texts = [f"{number} {place}" for place in range(20)]
        if number % 2:
            return embedding.get_text_embedding_batch(texts)
        return asyncio.run(embedding.aget_text_embedding_batch(texts))

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(embed, range(20)))
    assert results == [[[float(place)] * 2 for place in range(20)]] * 20
    assert emulator.counters.batches <= 5
    assert emulator.counters.lines == 20


def test_trio_callers_are_answered(emulator: Emulator, embedding: DoublewordEmbedding) -> None:
    async def main() -> None:
        assert await embedding.aget_text_embedding_batch(TEXTS) == [expected(text) for text in TEXTS]
        assert await embedding.aget_query_embedding(TEXTS[0]) == expected(TEXTS[0])

    trio.run(main)


async def test_a_cancelled_task_cancels_its_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=60.0)
    embedding = embedding_for(emulator, embed_batch_size=2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(embedding.aget_text_embedding_batch(TEXTS), 1.0)
    assert emulator.counters.lines == 5
    assert await gone(emulator)
    assert emulator.counters["POST /batches/{id}/cancel"] == 1
    assert sum(embedding.engine.snapshot().values()) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_ends_the_process_and_its_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=60.0)
    processes = []
    for run in (
        "embedding.get_text_embedding_batch(texts)",
        "asyncio.run(embedding.aget_text_embedding_batch(texts))",
    ):
        program = f"""
            import asyncio
            from llama_index.embeddings.dw_agents import DoublewordEmbedding

            embedding = DoublewordEmbedding(model={EMBEDDING_MODEL!r}, embed_batch_size=1)
            texts = ["a", "b", "c"]
            try:
                {run}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """
        processes.append(run_program(program, emulator))
    for process in processes:
        wait_until_running(emulator, 2, process)
    for process in processes:
        process.send_signal(signal.SIGINT)
    for process in processes:
        output, _ = process.communicate(timeout=15)
        assert output.decode().split() == ["interrupted"]
    assert nothing_runs(emulator)


async def test_the_time_limit_cancels_the_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=60.0)
    embedding = embedding_for(emulator, timeout=0.8)
    with pytest.raises(DeadlineExceeded):
        await in_a_thread(embedding.get_text_embedding_batch, TEXTS)
    with pytest.raises(DeadlineExceeded):
        await embedding.aget_text_embedding_batch(TEXTS)
    assert await gone(emulator)


async def test_the_first_error_ends_the_call_and_cancels_the_rest(make_emulator: MakeEmulator) -> None:
    """LlamaIndex's own gathering would let the other slices run on, and be paid for."""
    emulator = make_emulator(realtime_latency=60.0)
    emulator.faults.add("status", status=400, route="POST /embeddings", match="number 7")
    embedding = embedding_for(emulator, service_tier="priority", embed_batch_size=1)
    with pytest.raises(BadRequest, match=r"texts\[7:8\]"):
        await in_a_thread(embedding.get_text_embedding_batch, TEXTS)
    assert sum(embedding.engine.snapshot().values()) == 0
    with pytest.raises(BadRequest, match=r"texts\[7:8\]"):
        await embedding.aget_text_embedding_batch(TEXTS)
    assert sum(embedding.engine.snapshot().values()) == 0


async def test_a_failed_line_ends_the_call_with_the_services_reason(make_emulator: MakeEmulator) -> None:
    """The other lines would go on for a minute: the batch is cancelled."""

    class Slow(Numbers):
        async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(0 if "text number 7" in request["input"] else 60)
            return await super().embed(request)

    emulator = make_emulator(backend=Slow(), line_latency=0.0)
    emulator.faults.add("inline_error", status=400, message="too many tokens", match="number 7")
    embedding = embedding_for(emulator, embed_batch_size=2)
    for call in (
        embedding.get_text_embedding_batch,
        lambda texts: asyncio.run(embedding.aget_text_embedding_batch(texts)),
    ):
        with pytest.raises(BadRequest, match=r"texts\[6:8\].*too many tokens") as caught:
            await in_a_thread(call, TEXTS)
        assert caught.value.ticket is not None
        assert await gone(emulator)


def test_a_line_that_failed_for_a_passing_cause_is_sent_again_alone(emulator: Emulator) -> None:
    emulator.faults.add("fail_line", code=503, match="number 7", times=1)
    embedding = embedding_for(emulator, embed_batch_size=1, dimensions=8)
    assert embedding.get_text_embedding_batch(TEXTS) == [expected(text) for text in TEXTS]
    assert (emulator.counters.batches, emulator.counters.lines) == (2, 11)
    assert embedding.engine.receipt().resubmitted == 1


@pytest.mark.parametrize(
    ("backend", "fields", "words"),
    [
        (Numbers(missing=True), {}, "9 vectors for 10 texts"),
        (Numbers(dimensions=4), {"dimensions": 3}, "length 4 instead of dimensions=3"),
    ],
)
async def test_a_wrong_number_or_length_of_vectors_is_an_error(
    make_emulator: MakeEmulator, backend: Numbers, fields: dict[str, Any], words: str
) -> None:
    embedding = embedding_for(make_emulator(backend=backend), **fields)
    with pytest.raises(MalformedAnswer, match=words):
        await in_a_thread(embedding.get_text_embedding_batch, TEXTS)
    with pytest.raises(MalformedAnswer, match=words):
        await embedding.aget_text_embedding_batch(TEXTS)


async def test_texts_that_cannot_be_sent_are_refused_before_anything_is(emulator: Emulator) -> None:
    """Also where the bad one is in a late slice."""
    embedding = embedding_for(emulator, embed_batch_size=1)
    for texts in ("text", ["a", 1], ["a", "\ud83d"], [*TEXTS, None]):
        with pytest.raises(InvalidStep, match="texts"):
            await in_a_thread(embedding.get_text_embedding_batch, texts)
        with pytest.raises(InvalidStep, match="texts"):
            await embedding.aget_text_embedding_batch(texts)  # type: ignore[arg-type]
        with pytest.raises(InvalidStep, match="texts"):
            await embedding._aget_text_embeddings(texts)  # type: ignore[arg-type]
    assert emulator.counters.requests == 0


def test_a_call_from_the_engines_own_thread_is_refused_instead_of_waiting_for_itself(
    embedding: DoublewordEmbedding,
) -> None:
    caught: list[BaseException] = []

    def embed_there() -> None:
        try:
            with pytest.warns(DoublewordWarning, match="running event loop"):
                embedding.get_text_embedding_batch(TEXTS)
        except EngineError as error:
            caught.append(error)

    runtime = embedding.engine._running()
    runtime._loop.call_soon_threadsafe(embed_there)
    assert embedding.get_query_embedding("deep water")
    assert len(caught) == 1
