"""Indexing and ingestion: how many batches LlamaIndex's own loops make of many chunks, and what pipelines keep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core import Document, SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from llama_index.embeddings.dw_agents import DoublewordWarning
from llama_index.embeddings.dw_agents.errors import BadRequest
from tests.llama_index.loops import own_loop
from tests.llama_index.vectors import Numbers, embedding_for, expected, lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llama_index.core.schema import BaseNode

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator

__all__ = ["own_loop"]

THREE_SLICES = 2048 * 2 + 10
"""More nodes than two slices of an index hold."""


class Lines(TransformComponent):
    """Makes a node of each line."""

    def __call__(self, nodes: Sequence[BaseNode], **_: Any) -> list[TextNode]:
        return [TextNode(text=line, id_=line.split()[-1]) for node in nodes for line in node.get_content().splitlines()]


def chunks(count: int) -> list[TextNode]:
    return [TextNode(text=f"chunk {number}", id_=str(number)) for number in range(count)]


def stored(index: VectorStoreIndex) -> dict[str, list[float]]:
    store = index.vector_store
    assert isinstance(store, SimpleVectorStore)
    return store.data.embedding_dict


def test_a_pipeline_over_a_hundred_thousand_chunks_takes_at_most_five_batches(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Numbers(), record=0)
    pipeline = IngestionPipeline(transformations=[embedding_for(emulator)])
    nodes = asyncio.run(pipeline.arun(nodes=chunks(100_000)))
    assert [node.embedding for node in nodes] == [[float(number)] * 2 for number in range(100_000)]
    counts = emulator.counters.snapshot()
    assert 1 <= counts.batches <= 5
    assert (counts.lines, counts.realtime) == (8 * 48 + 7, 0)  # 48 slices of 2,048 in lines of 256, and 1,696 more
    assert counts.requests < 40


def test_an_index_of_a_hundred_thousand_chunks_takes_at_most_five_batches(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Numbers(), record=0)
    texts = [f"chunk {number}" for number in range(100_000)]
    documents = [Document(text="\n".join(texts[first : first + 10_000])) for first in range(0, 100_000, 10_000)]
    index = VectorStoreIndex.from_documents(
        documents, embed_model=embedding_for(emulator), transformations=[Lines()], insert_batch_size=100_000
    )
    assert stored(index) == {str(number): [float(number)] * 2 for number in range(100_000)}
    counts = emulator.counters.snapshot()
    assert 1 <= counts.batches <= 5
    assert (counts.lines, counts.realtime) == (8 * 48 + 7, 0)


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("way", ["insert_batch_size", "transformations"])
def test_either_way_that_the_warning_names_makes_one_batch_of_an_index(
    make_emulator: MakeEmulator, way: str, use_async: bool
) -> None:
    emulator = make_emulator(backend=Numbers(), record=0)
    embedding = embedding_for(emulator)
    options: dict[str, Any] = {"embed_model": embedding, "use_async": use_async}
    if way == "insert_batch_size":
        index = VectorStoreIndex(chunks(THREE_SLICES), insert_batch_size=100_000, **options)
    else:
        index = VectorStoreIndex(
            IngestionPipeline(transformations=[embedding]).run(nodes=chunks(THREE_SLICES)), **options
        )
    assert stored(index) == {str(number): [float(number)] * 2 for number in range(THREE_SLICES)}
    assert emulator.counters.batches == 1


@pytest.mark.parametrize("use_async", [False, True])
def test_an_index_that_slices_its_nodes_is_warned_about_once(make_emulator: MakeEmulator, use_async: bool) -> None:
    """LlamaIndex embeds 2,048 nodes, waits for them, and goes on: nothing below can put the slices together."""
    emulator = make_emulator(backend=Numbers(), record=0)
    with pytest.warns(DoublewordWarning, match="insert_batch_size") as caught:
        VectorStoreIndex(chunks(THREE_SLICES), embed_model=embedding_for(emulator), use_async=use_async)
    assert len(caught) == 1
    assert emulator.counters.batches == 3


async def test_a_synchronous_pipeline_inside_a_running_loop_answers_and_warns(emulator: Emulator) -> None:
    pipeline = IngestionPipeline(transformations=[embedding_for(emulator, dimensions=8)])
    with pytest.warns(DoublewordWarning, match="running event loop"):
        nodes = pipeline.run(nodes=chunks(3))
    assert [node.embedding for node in nodes] == [expected(f"chunk {number}") for number in range(3)]


async def test_an_index_built_with_use_async_inside_a_running_loop_does_not_deadlock(emulator: Emulator) -> None:
    """LlamaIndex runs it on a second loop in a second thread, and blocks this one meanwhile."""
    index = VectorStoreIndex(chunks(3), embed_model=embedding_for(emulator, dimensions=8), use_async=True)
    assert stored(index) == {str(number): expected(f"chunk {number}") for number in range(3)}


async def test_documents_are_split_embedded_and_found(emulator: Emulator, tmp_path: Path) -> None:
    for name, text in {"fjord": "A fjord is a deep inlet of the sea.", "fell": "A fell is a bare mountain."}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    embedding = embedding_for(emulator)
    store = SimpleVectorStore()
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), embedding], vector_store=store)
    documents = SimpleDirectoryReader(str(tmp_path)).load_data()
    await pipeline.arun(documents=documents)
    context = StorageContext.from_defaults(vector_store=store)
    nodes = await pipeline.arun(documents=documents)
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=embedding)
    (hit,) = await index.as_retriever(similarity_top_k=1).aretrieve("a deep inlet")
    assert "fjord" in hit.text
    assert (emulator.counters.batches, emulator.counters.realtime) == (1, 1)  # the second run found the first one's


async def test_a_pipeline_finds_in_its_cache_what_it_did_under_another_key(emulator: Emulator, tmp_path: Path) -> None:
    pipeline = IngestionPipeline(transformations=[embedding_for(emulator)], cache=IngestionCache())
    await pipeline.arun(nodes=chunks(3))
    pipeline.persist(str(tmp_path))
    later = IngestionPipeline(transformations=[embedding_for(emulator, default_headers={"X-Day": "two"})])
    later.load(str(tmp_path))
    nodes = await later.arun(nodes=chunks(3))
    assert all(node.embedding for node in nodes)
    assert emulator.counters.lines == 1


async def test_a_document_store_keeps_unchanged_documents_from_being_embedded_again(emulator: Emulator) -> None:
    embedding = embedding_for(emulator)
    pipeline = IngestionPipeline(
        transformations=[embedding], docstore=SimpleDocumentStore(), vector_store=SimpleVectorStore()
    )
    await pipeline.arun(documents=[Document(text="a", doc_id="1"), Document(text="b", doc_id="2")])
    nodes = await pipeline.arun(documents=[Document(text="a", doc_id="1"), Document(text="c", doc_id="2")])
    assert [node.get_content() for node in nodes] == ["c"]
    assert [line["input"] for line in lines(emulator)] == [["a", "b"], ["c"]]


async def test_pipelines_that_run_side_by_side_share_a_batch(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Numbers())
    pipelines = [IngestionPipeline(transformations=[embedding_for(emulator)]) for _ in range(20)]
    results = await asyncio.gather(*(pipeline.arun(nodes=chunks(50)) for pipeline in pipelines))
    assert all([node.embedding for node in nodes] == [[float(n)] * 2 for n in range(50)] for nodes in results)
    assert emulator.counters.lines == 20
    assert emulator.counters.batches <= 3


async def test_an_error_ends_the_pipeline_and_nothing_is_half_stored(emulator: Emulator) -> None:
    emulator.faults.add("inline_error", status=400, match="chunk 2")
    store = SimpleVectorStore()
    pipeline = IngestionPipeline(transformations=[embedding_for(emulator)], vector_store=store)
    with pytest.raises(BadRequest, match=r"texts\[0:3\]"):
        await pipeline.arun(nodes=chunks(3))
    assert store.data.embedding_dict == {}


def test_a_pipeline_of_several_processes_finds_the_key_in_their_environment(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process has an engine, and so a batch, of its own."""
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    pipeline = IngestionPipeline(transformations=[embedding_for(emulator, dimensions=8)])
    nodes = pipeline.run(nodes=chunks(4), num_workers=2)
    assert [node.embedding for node in nodes] == [expected(f"chunk {number}") for number in range(4)]
    assert emulator.counters.batches == 2
