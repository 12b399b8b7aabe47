"""``DoublewordEmbeddings`` over HTTP: tiers, packing, errors, leaving, and every kind of caller."""

from __future__ import annotations

import asyncio
import copy
import pickle
import signal
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trio
from langchain_core.documents import Document
from langchain_core.exceptions import ModelError
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import SecretStr, ValidationError

from dw_agents import Engine
from dw_agents import errors as core
from dw_agents.emulator.backends.vectors import embed_text
from langchain_dw_agents import DoublewordEmbeddings
from langchain_dw_agents.errors import BadRequest, DeadlineExceeded, InvalidStep, MalformedAnswer, MissingAPIKey
from tests.langchain.wire import (
    EMBEDDING_MODEL,
    Numbers,
    embeddings_for,
    lines,
    model_for,
    nothing_runs,
    run_program,
    wait_until_running,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator
    from tests.langchain.conftest import MakeEmulator

TEXTS = [f"text number {number}" for number in range(10)]


@pytest.fixture
def embeddings(emulator: Emulator) -> DoublewordEmbeddings:
    return embeddings_for(emulator, dimensions=8)


def expected(text: str) -> list[float]:
    """What the emulator's rules make of a text, in the 32 bits that travel."""
    return array("f", embed_text(text, 8)).tolist()


async def gone(emulator: Emulator) -> bool:
    return await asyncio.to_thread(nothing_runs, emulator)


def test_documents_go_by_batch_and_queries_realtime(emulator: Emulator, embeddings: DoublewordEmbeddings) -> None:
    assert embeddings.embed_documents(TEXTS) == [expected(text) for text in TEXTS]
    counts = emulator.counters.snapshot()
    assert (counts.batches, counts.lines, counts.realtime) == (1, 1, 0)
    assert emulator.batches[0].window == "24h"
    assert embeddings.embed_query(TEXTS[0]) == expected(TEXTS[0])
    counts = emulator.counters.snapshot()
    assert (counts.batches, counts.realtime, counts["POST /embeddings"]) == (1, 1, 1)


async def test_asynchronous_calls_give_the_same(emulator: Emulator, embeddings: DoublewordEmbeddings) -> None:
    assert await embeddings.aembed_documents(TEXTS) == [expected(text) for text in TEXTS]
    assert await embeddings.aembed_query(TEXTS[0]) == expected(TEXTS[0])
    counts = emulator.counters.snapshot()
    assert (counts.batches, counts.lines, counts.realtime) == (1, 1, 1)


def test_both_tiers_and_the_window_can_be_chosen(emulator: Emulator) -> None:
    embeddings_for(emulator, service_tier="priority").embed_documents(TEXTS)
    assert (emulator.counters.realtime, emulator.counters.batches) == (1, 0)
    embeddings_for(emulator, query_service_tier="batch", completion_window="1h").embed_query("deep water")
    assert (emulator.counters.realtime, emulator.counters.batches) == (1, 1)
    assert emulator.batches[0].window == "1h"


def test_text_is_sent_as_text_with_nothing_that_was_not_asked_for(emulator: Emulator) -> None:
    embeddings_for(emulator).embed_documents(["a fjord", "", "ein Föhn"])
    embeddings_for(emulator, dimensions=4).embed_query("deep\nwater")
    common = {"model": EMBEDDING_MODEL, "encoding_format": "base64"}
    assert lines(emulator) == [{**common, "input": ["a fjord", " ", "ein Föhn"]}]
    assert emulator.requests[-1].json() == {**common, "input": ["deep\nwater"], "dimensions": 4}


async def test_nothing_in_gives_nothing_out(emulator: Emulator, embeddings: DoublewordEmbeddings) -> None:
    assert embeddings.embed_documents([]) == []
    assert await embeddings.aembed_documents([]) == []
    assert emulator.counters.requests == 0


def test_an_empty_text_gets_a_vector_among_the_others(embeddings: DoublewordEmbeddings) -> None:
    assert embeddings.embed_documents(["a", "", "b"]) == [expected("a"), expected(" "), expected("b")]
    assert embeddings.embed_query("") == expected(" ")


@pytest.mark.parametrize("tier", ["batch", "priority"])
async def test_the_order_is_kept_whatever_order_the_server_has(make_emulator: MakeEmulator, tier: str) -> None:
    emulator = make_emulator(backend=Numbers(shuffled=True), line_latency=(0.0, 0.3), realtime_latency=(0.0, 0.3))
    embeddings = embeddings_for(emulator, service_tier=tier, chunk_size=7)
    wanted = [[float(number)] * 2 for number in range(100)]
    texts = [f"text {number}" for number in range(100)]
    assert embeddings.embed_documents(texts) == wanted
    assert await embeddings.aembed_documents(texts) == wanted
    assert emulator.counters.batch + emulator.counters.realtime == 2 * 15


@pytest.mark.parametrize("call", ["synchronous", "asynchronous"])
def test_a_hundred_thousand_chunks_take_at_most_five_batches_and_stay_in_order(
    make_emulator: MakeEmulator, call: str
) -> None:
    emulator = make_emulator(backend=Numbers(), record=0)
    embeddings = embeddings_for(emulator)
    texts = [f"chunk number {number}" for number in range(100_000)]
    if call == "synchronous":
        vectors = embeddings.embed_documents(texts)
    else:
        vectors = asyncio.run(embeddings.aembed_documents(texts))
    assert vectors == [[float(number)] * 2 for number in range(100_000)]
    counts = emulator.counters.snapshot()
    assert 1 <= counts.batches <= 5
    assert counts.lines == 391  # 256 texts in each
    assert counts.requests < 40


def test_slices_that_index_hands_over_share_batches_between_threads(make_emulator: MakeEmulator) -> None:
    """``index`` embeds 100 documents at a time, one slice after the other: three rounds, in each of 50 threads."""
    emulator = make_emulator(backend=Numbers(), batch_latency=0.5, record=0)
    embeddings = embeddings_for(emulator)

    def ingest(thread: int) -> list[float]:
        store, records = InMemoryVectorStore(embeddings), InMemoryRecordManager(str(thread))
        records.create_schema()
        documents = [Document(f"{thread} {number}") for number in range(300)]
        done = index(documents, records, store, cleanup=None, key_encoder="sha256")
        assert done["num_added"] == 300
        return sorted(entry["vector"][0] for entry in store.store.values())

    with ThreadPoolExecutor(50) as pool:
        stored = list(pool.map(ingest, range(50)))
    assert stored == [[float(number) for number in range(300)]] * 50
    counts = emulator.counters.snapshot()
    assert counts.lines == 150
    assert counts.batches <= 9  # three rounds; threads that are late for one take another
    assert counts.realtime == 0


async def test_the_loop_goes_on_while_documents_are_embedded(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=0.5)
    task = asyncio.create_task(embeddings_for(emulator).aembed_documents(TEXTS))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert len(await task) == 10
    assert turns > 10


def test_trio_callers_are_answered_and_can_leave(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator()

    async def main() -> None:
        embeddings = embeddings_for(emulator, dimensions=8, chunk_size=3)
        assert await embeddings.aembed_documents(TEXTS) == [expected(text) for text in TEXTS]
        assert await embeddings.aembed_query(TEXTS[0]) == expected(TEXTS[0])
        with pytest.raises(InvalidStep):
            await embeddings.aembed_documents("text")  # type: ignore[arg-type]

    trio.run(main)
    slow = make_emulator(batch_latency=60.0)

    async def leave() -> None:
        with trio.move_on_after(1.0):
            await embeddings_for(slow, chunk_size=3).aembed_documents(TEXTS)

    trio.run(leave)
    assert slow.counters.lines == 4
    assert nothing_runs(slow)


async def test_a_cancelled_task_cancels_its_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=60.0)
    embeddings = embeddings_for(emulator, chunk_size=2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(embeddings.aembed_documents(TEXTS), 1.0)
    assert emulator.counters.lines == 5
    assert await gone(emulator)
    assert emulator.counters["POST /batches/{id}/cancel"] == 1
    assert sum(embeddings.engine.snapshot().values()) == 0


@pytest.mark.parametrize("submitted", [1, 5, 10])
async def test_a_caller_who_leaves_before_the_upload_sends_nothing(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, submitted: int
) -> None:
    """Also one who leaves between two of its own submissions."""
    embeddings = embeddings_for(emulator, chunk_size=1)
    engine, submit = embeddings.engine, embeddings.engine.submit
    tickets: list[Any] = []

    def submit_and_leave(step: Any) -> Any:
        tickets.append(submit(step))
        if len(tickets) == submitted:
            asyncio.get_running_loop().call_soon(task.cancel)
        return tickets[-1]

    monkeypatch.setattr(engine, "submit", submit_and_leave)
    task = asyncio.create_task(embeddings.aembed_documents(TEXTS))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [ticket.status for ticket in tickets] == ["cancelled"] * submitted
    while sum(engine.snapshot().values()):  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.01)
    assert emulator.counters.requests == 0


@pytest.mark.parametrize("call", ["embed_documents(texts)", "asyncio"])
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_ends_the_process_and_its_batch(make_emulator: MakeEmulator, call: str) -> None:
    emulator = make_emulator(batch_latency=60.0)
    run = "asyncio.run(embeddings.aembed_documents(texts))" if call == "asyncio" else f"embeddings.{call}"
    program = f"""
        import asyncio
        from langchain_dw_agents import DoublewordEmbeddings

        embeddings = DoublewordEmbeddings(model={EMBEDDING_MODEL!r}, chunk_size=1)
        texts = ["a", "b", "c"]
        try:
            {run}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    process = run_program(program, emulator)
    wait_until_running(emulator, 1, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=15)
    assert output.decode().split() == ["interrupted"]
    assert nothing_runs(emulator)


async def test_the_time_limit_cancels_the_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(batch_latency=60.0)
    embeddings = embeddings_for(emulator, timeout=0.8)
    with pytest.raises(DeadlineExceeded):
        embeddings.embed_documents(TEXTS)
    with pytest.raises(DeadlineExceeded):
        await embeddings.aembed_documents(TEXTS)
    assert await gone(emulator)


async def test_the_first_error_ends_the_call_and_cancels_the_rest(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(realtime_latency=60.0)
    emulator.faults.add("status", status=400, route="POST /embeddings", match="number 7")
    embeddings = embeddings_for(emulator, service_tier="priority", chunk_size=1)
    with pytest.raises(BadRequest, match=r"texts\[7:8\]"):
        embeddings.embed_documents(TEXTS)
    assert sum(embeddings.engine.snapshot().values()) == 0
    with pytest.raises(BadRequest, match=r"texts\[7:8\]"):
        await embeddings.aembed_documents(TEXTS)
    assert sum(embeddings.engine.snapshot().values()) == 0


async def test_a_failed_line_ends_the_call_with_the_services_reason(make_emulator: MakeEmulator) -> None:
    """The other lines would go on for a minute: the batch is cancelled."""

    class Slow(Numbers):
        async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(0 if "text number 7" in request["input"] else 60)
            return await super().embed(request)

    emulator = make_emulator(backend=Slow(), line_latency=0.0)
    emulator.faults.add("inline_error", status=400, message="too many tokens", match="number 7")
    embeddings = embeddings_for(emulator, chunk_size=2)
    for call in (embeddings.embed_documents, lambda texts: asyncio.run(embeddings.aembed_documents(texts))):
        with pytest.raises(BadRequest, match=r"texts\[6:8\].*too many tokens") as caught:
            await asyncio.to_thread(call, TEXTS)
        assert isinstance(caught.value, ModelError)
        assert isinstance(caught.value, core.BadRequest)
        assert caught.value.ticket is not None
        assert await gone(emulator)


def test_a_line_that_failed_for_a_passing_cause_is_sent_again_alone(emulator: Emulator) -> None:
    emulator.faults.add("fail_line", code=503, match="number 7", times=1)
    embeddings = embeddings_for(emulator, chunk_size=1, dimensions=8)
    assert embeddings.embed_documents(TEXTS) == [expected(text) for text in TEXTS]
    assert (emulator.counters.batches, emulator.counters.lines) == (2, 11)
    assert embeddings.engine.receipt().resubmitted == 1


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
    embeddings = embeddings_for(make_emulator(backend=backend), **fields)
    with pytest.raises(MalformedAnswer, match=words):
        embeddings.embed_documents(TEXTS)
    with pytest.raises(MalformedAnswer, match=words):
        await embeddings.aembed_documents(TEXTS)


async def test_texts_that_cannot_be_sent_are_refused_before_anything_is(
    emulator: Emulator, embeddings: DoublewordEmbeddings
) -> None:
    for texts in ("text", ["a", 1], ["a", "\ud83d"]):
        with pytest.raises(InvalidStep, match="texts"):
            embeddings.embed_documents(texts)  # type: ignore[arg-type]
        with pytest.raises(InvalidStep, match="texts"):
            await embeddings.aembed_documents(texts)  # type: ignore[arg-type]
    assert emulator.counters.requests == 0


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("service_tier", "flex", "bill them as realtime"),
        ("service_tier", "background", "bill them as realtime"),
        ("query_service_tier", "flex", "bill them as realtime"),
        ("service_tier", "standard", "batch"),
        ("service_tier", None, "batch"),
        ("completion_window", "2h", "24h"),
        ("model", "", "model"),
        ("model", " ", "model"),
        ("dimensions", 0, "dimensions"),
        ("chunk_size", 0, "chunk_size"),
        ("timeout", 0, "timeout"),
        ("heartbeat", -1, "heartbeat"),
        ("on_unknown", "guess", "on_unknown"),
        ("check_embedding_ctx_length", False, "check_embedding_ctx_length"),
    ],
)
def test_a_setting_that_cannot_hold_is_refused_at_construction(
    emulator: Emulator, field: str, value: Any, words: str
) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        embeddings_for(emulator, **{field: value})
    assert field in str(caught.value)


def test_a_window_without_a_batch_is_refused(emulator: Emulator) -> None:
    with pytest.raises(ValidationError, match="completion_window"):
        embeddings_for(emulator, service_tier="priority", completion_window="1h")


def test_openais_key_is_never_used(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
    embeddings = DoublewordEmbeddings(model=EMBEDDING_MODEL)
    assert embeddings.base_url is None
    with pytest.raises(MissingAPIKey, match="DOUBLEWORD_API_KEY"):
        embeddings.embed_query("deep water")


def test_the_key_comes_from_the_cli_s_files(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / ".dw").mkdir()
    (tmp_path / ".dw" / "config.toml").write_text('active_account = "work"\n')
    (tmp_path / ".dw" / "credentials.toml").write_text(f'[accounts.work]\ninference_key = "{emulator.api_key}"\n')
    assert DoublewordEmbeddings(model=EMBEDDING_MODEL, base_url=emulator.base_url).embed_query("deep water")


def test_the_key_is_shown_nowhere(emulator: Emulator) -> None:
    embeddings = embeddings_for(emulator, api_key="very-secret-key")
    assert isinstance(embeddings.api_key, SecretStr)
    assert "very-secret" not in f"{embeddings!r} {embeddings} {embeddings.model_dump()}"
    with pytest.raises(ValidationError) as caught:
        embeddings_for(emulator, api_key="very-secret-key", service_tier="flex")
    assert "very-secret" not in str(caught.value)


def test_a_copy_or_a_pickle_is_the_same_model(emulator: Emulator, embeddings: DoublewordEmbeddings) -> None:
    embeddings.embed_query("deep water")
    for twin in (copy.copy(embeddings), copy.deepcopy(embeddings), pickle.loads(pickle.dumps(embeddings))):
        assert twin.embed_query("deep water") == embeddings.embed_query("deep water")
        assert twin.engine is embeddings.engine
    assert emulator.counters.realtime == 7


def test_chat_and_embeddings_of_one_account_share_one_engine(emulator: Emulator) -> None:
    assert embeddings_for(emulator).engine is model_for(emulator).engine
    headers = {"X-Team": "blue"}
    blue = embeddings_for(emulator, default_headers=headers)
    assert blue.engine is model_for(emulator, default_headers=headers).engine
    blue.embed_query("deep water")
    assert emulator.requests[-1].headers["X-Team"] == "blue"
    blue.engine.close()


def test_a_call_from_the_engines_own_thread_is_refused_instead_of_waiting_for_itself(
    emulator: Emulator, embeddings: DoublewordEmbeddings
) -> None:
    caught: list[BaseException] = []

    def embed_there() -> None:
        try:
            embeddings.embed_documents(TEXTS)
        except core.EngineLoopError as error:
            caught.append(error)

    runtime = embeddings.engine._running()
    runtime._loop.call_soon_threadsafe(embed_there)
    assert embeddings.embed_query("deep water")
    assert len(caught) == 1


def test_the_receipt_counts_tokens_and_money(emulator: Emulator, embeddings: DoublewordEmbeddings) -> None:
    embeddings.embed_documents(TEXTS)
    receipt = embeddings.engine.receipt()
    line = receipt.lines[EMBEDDING_MODEL, "batch"]
    assert (line.steps, line.unmetered) == (1, 0)
    assert line.input_tokens > 0
    assert 0 < receipt.cost().dollars < receipt.cost(tier="realtime").dollars


def test_the_engine_of_a_missing_key_says_what_is_missing(emulator: Emulator) -> None:
    with pytest.raises(MissingAPIKey):
        _ = embeddings_for(emulator, api_key=None).engine
    Engine.shared(api_key=emulator.api_key, base_url=emulator.base_url).close()
