"""LlamaIndex's metadata extractors in a pipeline: all on flex, and as many in flight as they are allowed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.extractors import (
    KeywordExtractor,
    QuestionsAnsweredExtractor,
    SummaryExtractor,
    TitleExtractor,
)
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import Document, TextNode

import dw_agents
from tests.llama_index.loops import own_loop
from tests.llama_index.vectors import embedding_for
from tests.llama_index.wire import llm_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.schema import BaseNode, TransformComponent

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator

__all__ = ["own_loop"]

CALLS = pytest.mark.parametrize("call", ["synchronous", "asynchronous"])


def nodes(count: int) -> list[TextNode]:
    return [TextNode(text=f"Fjord {number} is a deep inlet of the sea.", id_=str(number)) for number in range(count)]


def extractors(emulator: Emulator, **fields: Any) -> list[TransformComponent]:
    llm = llm_for(emulator, **fields)
    return [
        TitleExtractor(llm=llm, nodes=2),
        SummaryExtractor(llm=llm, summaries=["self"]),
        QuestionsAnsweredExtractor(llm=llm, questions=2),
        KeywordExtractor(llm=llm, keywords=3),
    ]


def run(pipeline: IngestionPipeline, call: str, given: Sequence[BaseNode]) -> Sequence[BaseNode]:
    if call == "synchronous":
        return pipeline.run(nodes=given)
    return asyncio.run(pipeline.arun(nodes=given))


@CALLS
def test_every_extractor_works_on_flex_and_embeddings_go_by_batch(emulator: Emulator, call: str) -> None:
    pipeline = IngestionPipeline(transformations=[*extractors(emulator), embedding_for(emulator)])
    done = run(pipeline, call, nodes(3))
    for node in done:
        assert node.metadata.keys() >= {
            "document_title", "section_summary", "questions_this_excerpt_can_answer", "excerpt_keywords",
        }  # fmt: skip
        assert all(node.metadata.values())
        assert node.embedding
    counts = emulator.counters.snapshot()
    # Nodes without a document of their own are one document to the title extractor: two nodes and the whole.
    assert (counts.flex, counts.batches, counts.realtime) == (3 + 3 + 3 + 3, 1, 0)


async def test_a_synchronous_pipeline_of_extractors_inside_a_running_loop_does_not_deadlock(emulator: Emulator) -> None:
    """LlamaIndex runs the extractors on a second loop in a second thread, and blocks this one meanwhile."""
    done = IngestionPipeline(transformations=extractors(emulator)).run(nodes=nodes(2))
    assert all(node.metadata["section_summary"] for node in done)
    assert emulator.counters.realtime == 0


@CALLS
def test_workers_decide_how_many_batches_an_extractor_takes(make_emulator: MakeEmulator, call: str) -> None:
    """LlamaIndex's default is four at a time: ten batches, each after the other, for forty nodes."""
    emulator = make_emulator()
    llm = llm_for(emulator, service_tier="batch")
    run(IngestionPipeline(transformations=[KeywordExtractor(llm=llm, num_workers=1000)]), call, nodes(40))
    assert (emulator.counters.batches, emulator.counters.lines) == (1, 40)
    run(IngestionPipeline(transformations=[KeywordExtractor(llm=llm)]), call, nodes(40))
    assert emulator.counters.batches >= 1 + 10


def test_pipelines_of_several_documents_side_by_side_share_their_batches(make_emulator: MakeEmulator) -> None:
    """Five documents that each need two waits for their titles take two batches together, and one for embeddings."""
    emulator = make_emulator()
    pipeline = IngestionPipeline(
        transformations=[
            TitleExtractor(llm=llm_for(emulator, service_tier="batch"), nodes=1),
            embedding_for(emulator),
        ]
    )

    async def ingest() -> list[Sequence[BaseNode]]:
        documents = [Document(text=f"Fjord {number} is deep.") for number in range(5)]
        return await asyncio.gather(*(pipeline.arun(documents=[document]) for document in documents))

    assert len(asyncio.run(ingest())) == 5
    assert (emulator.counters.batches, emulator.counters.lines) == (3, 5 + 5 + 5)


@CALLS
def test_a_failed_extraction_ends_the_pipeline_with_the_services_reason(emulator: Emulator, call: str) -> None:
    emulator.faults.add("fail_job", code=400, message="too long", match="Fjord 1 ")
    pipeline = IngestionPipeline(transformations=[KeywordExtractor(llm=llm_for(emulator), num_workers=100)])
    with pytest.raises(dw_agents.ServiceError, match="too long"):
        run(pipeline, call, nodes(3))
