"""A LlamaIndex ``AgentWorkflow`` on flex: a researcher hands over to a writer, and in a second turn to a reviewer.

Run it with ``python cookbook/llamaindex_agents.py [--model rules|local]``: a local emulator answers and nothing is
paid. With ``--live`` the real service does; that needs ``DOUBLEWORD_API_KEY``. One workflow is run for each question,
all at the same time: their steps wait side by side, so that a fleet takes about as long as one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from handbook import Handbook
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.schema import TextNode
from llama_index.core.workflow import Context
from standin import add_arguments, stand_in

from llama_index.embeddings.dw_agents import DoublewordEmbedding
from llama_index.llms.dw_agents import DoublewordLLM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"
EMBEDDING_MODEL = "Qwen/Qwen3-Embedding-8B"

QUESTIONS = (
    "How long may a flex job stay queued?",
    "What happens when the reply to a submission is lost?",
    "Which tier do embeddings use?",
    "What does a receipt count?",
    "How is a lost batch found again?",
    "How can one agent mix several tiers?",
)
TURNS = (
    "{question} Search the handbook, then open the best section, then handoff to the writer. to_agent: writer",
    "Now handoff to the reviewer, who will search once more. to_agent: reviewer, question: {question}",
)


@dataclass
class Report:
    """What came of one question.

    Attributes:
        question: what was asked.
        trail: who did what, in order.
        answers: what was said at the end of each turn.
    """

    question: str
    trail: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


class Library:
    """The handbook as the agents' tools, searched by meaning.

    Args:
        handbook: its sections.
        embedding: finds the vectors: those of the sections by batch, those of queries in realtime.
    """

    def __init__(self, handbook: Handbook, embedding: DoublewordEmbedding) -> None:
        self._handbook = handbook
        nodes = [
            TextNode(text=f"{section.subject}: {section.title}\n{section.text}", id_=section.section_id)
            for section in handbook.sections.values()
        ]
        self._retriever = VectorStoreIndex(nodes, embed_model=embedding).as_retriever(similarity_top_k=2)

    async def search(self, query: str) -> str:
        """Find the sections of the handbook that are about a question, the best first."""
        hits = await self._retriever.aretrieve(query)
        found = [self._handbook.sections[hit.node.node_id] for hit in hits]
        return json.dumps([{"section_id": section.section_id, "title": section.title} for section in found])

    def open_section(self, section_id: str) -> str:
        """Read a section that a search found."""
        return self._handbook.open_section(section_id)


def build(llm: DoublewordLLM, library: Library) -> AgentWorkflow:
    """Return a workflow of three agents; agents have no time limit of their own, and none is set here."""
    researcher = FunctionAgent(
        name="researcher",
        description="Finds and reads the section of the handbook that answers a question.",
        system_prompt="Search the handbook and open the best section, then hand off to the writer.",
        tools=[library.search, library.open_section],
        can_handoff_to=["writer"],
        allow_parallel_tool_calls=False,  # read first, then hand over
        llm=llm,
    )
    writer = FunctionAgent(
        name="writer",
        description="Writes the answer from what was read.",
        system_prompt="Answer briefly from what was read.",
        can_handoff_to=["reviewer"],
        llm=llm,
    )
    reviewer = FunctionAgent(
        name="reviewer",
        description="Checks an answer against the handbook.",
        system_prompt="Search once more, and say whether the answer names the right section.",
        tools=[library.search],
        can_handoff_to=[],
        llm=llm,
    )
    return AgentWorkflow(agents=[researcher, writer, reviewer], root_agent="researcher", timeout=None)


async def answer(workflow: AgentWorkflow, question: str) -> Report:
    """Run both turns of one question in a context of its own."""
    report, context = Report(question), Context(workflow)
    for turn in TURNS:
        handler = workflow.run(user_msg=turn.format(question=question), ctx=context)
        async for event in handler.stream_events():
            if isinstance(event, ToolCallResult):
                who = await context.store.get("current_agent_name")
                report.trail.append(f"{who} used {event.tool_name}")
            elif isinstance(event, AgentOutput) and not event.tool_calls:
                report.trail.append(f"{event.current_agent_name} answered")
        report.answers.append(str(await handler))
    return report


async def run(llm: DoublewordLLM, embedding: DoublewordEmbedding, questions: Sequence[str]) -> list[Report]:
    """Answer all questions at the same time."""
    library = await asyncio.to_thread(Library, Handbook(), embedding)
    workflow = build(llm, library)
    return await asyncio.gather(*(answer(workflow, question) for question in questions))


@contextmanager
def models(options: argparse.Namespace) -> Iterator[tuple[DoublewordLLM, DoublewordEmbedding]]:
    """Give an LLM on flex and an embedding model, in front of the real service or of an emulator."""
    if options.live:
        yield DoublewordLLM(model=MODEL), DoublewordEmbedding(model=EMBEDDING_MODEL)
        return
    with stand_in(options.model, speed=options.speed) as emulator:
        print(f"A local emulator stands in for the service. {emulator.description}")
        account: dict[str, Any] = {"api_key": emulator.api_key, "base_url": emulator.base_url}
        limit = 256 if options.model == "local" else None  # the small model may go on for ever
        yield DoublewordLLM(model=MODEL, max_tokens=limit, **account), DoublewordEmbedding(EMBEDDING_MODEL, **account)


def main(given: Sequence[str] | None = None) -> int:
    """Run the workflows and print who did what, what was said, and the receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    options = parser.parse_args(given)
    questions = QUESTIONS[:1] if options.model == "local" else QUESTIONS
    with models(options) as (llm, embedding), llm.engine as engine:
        for report in asyncio.run(run(llm, embedding, questions)):
            print(f"\n{report.question}\n   {' -> '.join(report.trail)}")
            for said in report.answers:
                print(textwrap.indent(textwrap.fill(textwrap.shorten(said, 300), 100), "   "))
        print(f"\nReceipt:\n{engine.receipt()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
