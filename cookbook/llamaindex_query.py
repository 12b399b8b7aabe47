"""LlamaIndex over the handbook: its pages are indexed by batch, then questions are put to several pages at once.

Run it with ``python cookbook/llamaindex_query.py [--model rules|local]``: a local emulator answers and nothing is paid.
With ``--live`` the real service does; that needs ``DOUBLEWORD_API_KEY``, and patience for the batches.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import textwrap
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from handbook import DOCUMENTS
from llama_index.core import SimpleDirectoryReader, VectorStoreIndex, get_response_synthesizer
from llama_index.core.extractors import KeywordExtractor, SummaryExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.query_engine import SubQuestionQueryEngine
from llama_index.core.question_gen.types import BaseQuestionGenerator, SubQuestion
from llama_index.core.tools import QueryEngineTool, ToolMetadata
from pydantic import BaseModel, Field, create_model
from standin import add_arguments, stand_in

from llama_index.embeddings.dw_agents import DoublewordEmbedding
from llama_index.llms.dw_agents import DoublewordLLM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.response.schema import Response
    from llama_index.core.llms import LLM
    from llama_index.core.prompts.mixin import PromptDictType
    from llama_index.core.schema import BaseNode, QueryBundle

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"
EMBEDDING_MODEL = "Qwen/Qwen3-Embedding-8B"
PAGES = ("tiers", "embeddings", "costs", "cancellation")
"""The pages that questions are put to; all pages are indexed."""

QUESTIONS = (
    "Which tier do embeddings use, and what does it cost?",
    "What does a cancelled step cost?",
    "How can one agent mix several tiers?",
)


class QuestionForEachPage(BaseQuestionGenerator):
    """Splits a question into one for each page, as a structured answer, whose schema the service enforces."""

    def __init__(self, llm: DoublewordLLM) -> None:
        self._llm = llm.model_copy(update={"max_tokens": None})  # a form that is cut is worth nothing

    def generate(self, tools: Sequence[ToolMetadata], query: QueryBundle) -> list[SubQuestion]:
        """Ask the LLM for the sub-questions."""
        return asyncio.run(self.agenerate(tools, query))

    async def agenerate(self, tools: Sequence[ToolMetadata], query: QueryBundle) -> list[SubQuestion]:
        """Ask the LLM for the sub-questions."""
        fields: dict[str, Any] = {
            tool.get_name(): (str, Field(description=f"A question to: {tool.description} Empty if it cannot help."))
            for tool in tools
        }
        form = create_model("Questions", __doc__="A question for each page of the handbook.", **fields)
        answer = await self._llm.as_structured_llm(form).acomplete(query.query_str)
        asked: dict[str, str] = cast("BaseModel", answer.raw).model_dump()
        return [SubQuestion(sub_question=text, tool_name=name) for name, text in asked.items() if text.strip()]

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """There are none."""


async def ingest(llm: LLM, embedding: DoublewordEmbedding, pages: Sequence[str]) -> list[BaseNode]:
    """Split pages (none: all of them) into sections, with a summary, keywords and a vector each.

    Each transformation is one wait, whatever the number of sections: ``num_workers`` lets all of its calls be in
    flight at once (LlamaIndex's default is four), and the embedding model does so by itself.
    """
    pipeline = IngestionPipeline(
        transformations=[
            MarkdownNodeParser(),
            SummaryExtractor(llm=llm, summaries=["self"], num_workers=1000, show_progress=False),
            KeywordExtractor(llm=llm, keywords=5, num_workers=1000, show_progress=False),
            embedding,
        ]
    )
    files = [str(path) for path in sorted(DOCUMENTS.glob("*.md")) if not pages or path.stem in pages]
    documents = SimpleDirectoryReader(
        input_files=files, file_metadata=lambda path: {"page": Path(path).stem}
    ).load_data()
    return list(await pipeline.arun(documents=documents))


def build(nodes: Sequence[BaseNode], llm: DoublewordLLM, embedding: DoublewordEmbedding) -> SubQuestionQueryEngine:
    """Return an engine that asks each of ``PAGES`` its part of a question, all at once, and joins the answers."""
    pages: dict[str, list[BaseNode]] = defaultdict(list)
    for node in nodes:
        pages[node.metadata["page"]].append(node)
    tools = [
        QueryEngineTool(
            query_engine=engine_of(pages[name], llm, embedding),
            metadata=ToolMetadata(name=name, description=f"the page of the handbook about {name}."),
        )
        for name in PAGES
        if name in pages
    ]
    return SubQuestionQueryEngine.from_defaults(
        tools,
        llm=llm,
        question_gen=QuestionForEachPage(llm),
        response_synthesizer=get_response_synthesizer(llm=llm, response_mode="tree_summarize"),  # type: ignore[arg-type]  # a str enum
        verbose=False,
    )


def engine_of(nodes: list[BaseNode], llm: LLM, embedding: DoublewordEmbedding) -> BaseQueryEngine:
    """Return the engine of one page, whose vectors are there already."""
    index = VectorStoreIndex(nodes, embed_model=embedding)
    return index.as_query_engine(llm=llm, similarity_top_k=2, response_mode="tree_summarize")


@contextmanager
def models(options: argparse.Namespace) -> Iterator[tuple[DoublewordLLM, DoublewordEmbedding]]:
    """Give an LLM on flex and an embedding model, in front of the real service or of an emulator."""
    if options.live:
        yield DoublewordLLM(model=MODEL), DoublewordEmbedding(model=EMBEDDING_MODEL)
        return
    with stand_in(options.model, speed=options.speed) as emulator:
        print(f"A local emulator stands in for the service. {emulator.description}")
        account: dict[str, Any] = {"api_key": emulator.api_key, "base_url": emulator.base_url}
        limit = 64 if options.model == "local" else None
        yield DoublewordLLM(model=MODEL, max_tokens=limit, **account), DoublewordEmbedding(EMBEDDING_MODEL, **account)


async def run(
    llm: DoublewordLLM, embedding: DoublewordEmbedding, questions: Sequence[str], pages: Sequence[str] = ()
) -> list[Response]:
    """Ingest pages (none: all of them) by batch, then ask all questions at once on flex."""
    nodes = await ingest(llm.model_copy(update={"service_tier": "batch"}), embedding, pages)
    print(f"{len(nodes)} sections are indexed, each with its summary and keywords.")
    engine = await asyncio.to_thread(build, nodes, llm, embedding)
    answers = await asyncio.gather(*(engine.aquery(question) for question in questions))
    return cast("list[Response]", answers)


def main(given: Sequence[str] | None = None) -> int:
    """Ingest the handbook, ask, and print the answers, where they come from, and the receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    options = parser.parse_args(given)
    # A small model on this machine's processor takes seconds for each call: it gets one page and one question.
    questions, pages = (QUESTIONS[:1], PAGES[1:2]) if options.model == "local" else (QUESTIONS, ())
    with models(options) as (llm, embedding), llm.engine as engine:
        answers = asyncio.run(run(llm, embedding, questions, pages))
        for question, response in zip(questions, answers, strict=True):
            print(f"\n{question}")
            print(textwrap.indent(textwrap.fill(textwrap.shorten(str(response), 400), 100), "   "))
            found = {node.metadata["page"] for node in response.source_nodes if "page" in node.metadata}
            print(f"   from: {', '.join(sorted(found))}")
        print(f"\nReceipt:\n{engine.receipt()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
