"""Query engines over ``DoublewordLLM`` and ``DoublewordEmbedding``: sync, async, and sync inside a running loop."""

from __future__ import annotations

import asyncio
import json
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import pytest
from llama_index.core import PromptHelper, VectorStoreIndex, get_response_synthesizer
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.question_gen.types import SubQuestion, SubQuestionList
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.core.selectors import (
    LLMMultiSelector,
    LLMSingleSelector,
    PydanticMultiSelector,
    PydanticSingleSelector,
)
from llama_index.core.tools import QueryEngineTool, ToolMetadata
from pydantic import BaseModel

from llama_index.embeddings.dw_agents import DoublewordWarning
from llama_index.embeddings.dw_agents.errors import BadRequest, MissingAPIKey
from tests.llama_index.loops import own_loop
from tests.llama_index.replies import Replies
from tests.llama_index.vectors import embedding_for
from tests.llama_index.wire import MODEL, llm_for

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_selector import BaseSelector
    from llama_index.core.base.response.schema import Response

    from dw_agents.emulator import Emulator
    from llama_index.llms.dw_agents import DoublewordLLM
    from tests.llama_index.conftest import MakeEmulator

__all__ = ["own_loop"]

TOPICS = ("fjords", "fells", "glaciers", "rivers")
ANSWER = "The final answer."
SUB_QUESTIONS = json.dumps([{"sub_question": f"What about {topic}?", "tool_name": topic} for topic in TOPICS[:3]])


def index_of(emulator: Emulator, topics: tuple[str, ...] = TOPICS) -> VectorStoreIndex:
    """An index of one node a topic, each of which fills most of the window of ``narrow``."""
    nodes = [TextNode(text=f"All that is known of {topic}. " + f"{topic} are old. " * 120) for topic in topics]
    return VectorStoreIndex(nodes, embed_model=embedding_for(emulator, service_tier="priority"))


def narrow(emulator: Emulator, **fields: Any) -> DoublewordLLM:
    """An LLM whose window holds about one node."""
    return llm_for(emulator, context_window=1000, max_tokens=100, **fields)


def engine_of(index: VectorStoreIndex, llm: DoublewordLLM, mode: str, *, use_async: bool = False) -> BaseQueryEngine:
    """An engine over all topics that minds ``llm``'s window (LlamaIndex 0.14.23 minds ``Settings.llm``)."""
    synthesizer = get_response_synthesizer(
        llm=llm,
        response_mode=ResponseMode(mode),
        use_async=use_async,
        prompt_helper=PromptHelper.from_llm_metadata(llm.metadata),
    )
    return RetrieverQueryEngine(index.as_retriever(similarity_top_k=4), response_synthesizer=synthesizer)


def ask(engine: BaseQueryEngine, call: str, question: str = "What is old?") -> Response:
    answer = engine.query(question) if call == "synchronous" else asyncio.run(engine.aquery(question))
    return cast("Response", answer)


def only_flex(emulator: Emulator, calls: int) -> None:
    """All chat calls were flex; what was realtime was embedding."""
    counts = emulator.counters.snapshot()
    assert counts.flex == calls
    assert counts.realtime == counts["POST /embeddings"]
    assert counts["POST /chat/completions"] == 0


CALLS = pytest.mark.parametrize("call", ["synchronous", "asynchronous"])


@CALLS
@pytest.mark.parametrize(
    ("mode", "use_async", "calls"),
    [("compact", False, 1), ("refine", False, 4), ("tree_summarize", False, 5), ("tree_summarize", True, 5)],
)
def test_every_mode_of_synthesis_answers_on_flex_alone(
    make_emulator: MakeEmulator, mode: str, use_async: bool, calls: int, call: str
) -> None:
    emulator = make_emulator(backend=Replies({"What is old?": ANSWER}))
    llm = narrow(emulator) if mode == "tree_summarize" else llm_for(emulator)
    engine = engine_of(index_of(emulator), llm, mode, use_async=use_async)
    response = ask(engine, call)
    assert str(response) == ANSWER
    assert len(response.source_nodes) == 4
    only_flex(emulator, calls)


@pytest.mark.parametrize(("call", "use_async"), [("synchronous", True), ("asynchronous", False)])
def test_the_leaves_of_a_tree_are_in_flight_together(make_emulator: MakeEmulator, call: str, use_async: bool) -> None:
    emulator = make_emulator(backend=Replies({"What is old?": ANSWER}), latency=0.3)
    engine = engine_of(index_of(emulator), narrow(emulator), "tree_summarize", use_async=use_async)
    ask(engine, call)
    *leaves, root = emulator.jobs
    assert len(leaves) == 4
    assert max(job.created for job in leaves) < min(job.finished or 0.0 for job in leaves)
    assert root.created > max(job.finished or 0.0 for job in leaves)


@CALLS
def test_a_tree_whose_leaves_travel_by_batch_takes_two_batches(make_emulator: MakeEmulator, call: str) -> None:
    emulator = make_emulator(backend=Replies({"What is old?": ANSWER}))
    llm = narrow(emulator, service_tier="batch")
    engine = engine_of(index_of(emulator), llm, "tree_summarize", use_async=True)
    ask(engine, call)
    assert (emulator.counters.batches, emulator.counters.lines) == (2, 5)


@CALLS
def test_a_structured_answer_of_a_query_engine_stays_on_flex(make_emulator: MakeEmulator, call: str) -> None:
    class Finding(BaseModel):
        """What was found."""

        topic: str

    emulator = make_emulator()
    engine = RetrieverQueryEngine.from_args(
        index_of(emulator, TOPICS[:1]).as_retriever(), llm=llm_for(emulator), output_cls=Finding
    )
    response = ask(engine, call, "Which? topic: fjords")
    assert cast("object", response.response) == Finding(topic="fjords")
    only_flex(emulator, 1)


def sub_question_engine(emulator: Emulator, *, use_async: bool = True) -> SubQuestionQueryEngine:
    llm = llm_for(emulator)
    tools = [
        QueryEngineTool(
            query_engine=index_of(emulator, (topic,)).as_query_engine(llm=llm),
            metadata=ToolMetadata(name=topic, description=f"Knows {topic}."),
        )
        for topic in TOPICS[:3]
    ]
    return SubQuestionQueryEngine.from_defaults(
        tools,
        llm=llm,
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        response_synthesizer=get_response_synthesizer(llm=llm),
        use_async=use_async,
        verbose=False,
    )


def replies() -> Replies:
    known = {f"What about {topic}?\nAnswer": f"{topic} are old." for topic in TOPICS}
    return Replies({"relevant sub-questions": SUB_QUESTIONS, **known, "Sub question": ANSWER})


@pytest.mark.parametrize(("call", "use_async"), [("synchronous", True), ("synchronous", False), ("asynchronous", True)])
def test_sub_questions_are_asked_on_flex_and_put_together(
    make_emulator: MakeEmulator, call: str, use_async: bool
) -> None:
    backend = replies()
    emulator = make_emulator(backend=backend)
    response = ask(sub_question_engine(emulator, use_async=use_async), call, "What is old in the north?")
    assert str(response) == ANSWER
    for topic in TOPICS[:3]:
        assert f"Sub question: What about {topic}?\\nResponse: {topic} are old." in backend.prompts[-1].replace(
            "\n", "\\n"
        )
    only_flex(emulator, 5)


@CALLS
def test_a_failed_sub_question_is_missing_in_the_evidence_but_not_in_the_receipt(
    make_emulator: MakeEmulator, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """LlamaIndex goes on without it, with a line in the log."""
    backend = replies()
    emulator = make_emulator(backend=backend)
    emulator.faults.add("fail_job", code=400, route="POST /responses", match="What about fells?\\nAnswer")
    response = ask(sub_question_engine(emulator), call, "What is old in the north?")
    assert str(response) == ANSWER
    assert "fells" not in backend.prompts[-1]
    assert "Failed to run What about fells?" in caplog.text
    assert llm_for(emulator).engine.receipt().lines[MODEL, "flex"].failed == 1


@CALLS
@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"])
def test_a_failed_answer_of_a_query_engine_is_its_error(make_emulator: MakeEmulator, mode: str, call: str) -> None:
    """LlamaIndex's refining takes a ``ValueError`` for a bad answer, and would say "Empty Response"."""
    emulator = make_emulator()
    emulator.faults.add("fail_job", code=400, message="too long", route="POST /responses")
    with pytest.raises(BadRequest, match="too long"):
        ask(engine_of(index_of(emulator, TOPICS[:1]), llm_for(emulator), mode), call)


@CALLS
def test_a_missing_key_is_an_error_of_the_query_and_no_empty_response(emulator: Emulator, call: str) -> None:
    engine = engine_of(index_of(emulator, TOPICS[:1]), llm_for(emulator, api_key=None), "compact")
    with pytest.raises(MissingAPIKey):
        ask(engine, call)


def selectors(llm: DoublewordLLM) -> dict[str, BaseSelector]:
    return {
        "llm": LLMSingleSelector.from_defaults(llm=llm),
        "llm, several": LLMMultiSelector.from_defaults(llm=llm),
        "pydantic": PydanticSingleSelector.from_defaults(llm=llm),
        "pydantic, several": PydanticMultiSelector.from_defaults(llm=llm),
    }


@CALLS
@pytest.mark.parametrize("selector", ["default", "llm", "llm, several", "pydantic", "pydantic, several"])
def test_a_router_chooses_and_answers_on_flex_alone(make_emulator: MakeEmulator, selector: str, call: str) -> None:
    """LlamaIndex's ``PydanticMultiSelector`` is synchronous even in ``aquery``, which is warned about."""
    choice: Any = {"index": 2, "reason": "It knows."}
    if selector.startswith("llm"):
        choice = json.dumps([{"choice": 2, "reason": "It knows."}])
    elif selector.endswith("several"):
        choice = {"selections": [choice]}
    emulator = make_emulator(backend=Replies({"choices are given below": choice}))
    llm = llm_for(emulator)
    tools = [
        QueryEngineTool(
            query_engine=index_of(emulator, (topic,)).as_query_engine(llm=llm),
            metadata=ToolMetadata(name=topic, description=f"Knows {topic}."),
        )
        for topic in TOPICS[:2]
    ]
    engine = RouterQueryEngine.from_defaults(tools, llm=llm, selector=selectors(llm).get(selector))
    blocks = call == "asynchronous" and selector == "pydantic, several"
    with pytest.warns(DoublewordWarning, match="DoublewordLLM was called inside") if blocks else nullcontext():
        response = ask(engine, call)
    assert response.metadata is not None
    assert [chosen.index for chosen in response.metadata["selector_result"].selections] == [1]
    assert "fells" in response.source_nodes[0].text
    only_flex(emulator, 2)


async def test_synchronous_engines_inside_a_running_loop_answer_and_warn_and_never_deadlock(
    make_emulator: MakeEmulator,
) -> None:
    """LlamaIndex runs the asynchronous parts on second loops in second threads, and blocks this one meanwhile."""
    emulator = make_emulator(backend=replies())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine = sub_question_engine(emulator)
        assert str(engine.query("What is old in the north?")) == ANSWER
        tree = engine_of(index_of(emulator), narrow(emulator), "tree_summarize", use_async=True)
        assert str(tree.query("What is old?"))
    said = [str(warning.message) for warning in caught if warning.category is DoublewordWarning]
    assert sum("DoublewordLLM was called inside a running event loop" in message for message in said) == 1
    assert sum("DoublewordEmbedding was called inside a running event loop" in message for message in said) == 1


async def test_the_loop_goes_on_during_an_asynchronous_query(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=0.3)
    index = await asyncio.to_thread(index_of, emulator)
    task = asyncio.create_task(index.as_query_engine(llm=llm_for(emulator)).aquery("What is old?"))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert str(await task)
    assert turns > 10


async def test_a_cancelled_query_cancels_its_call(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=60.0)
    index = await asyncio.to_thread(index_of, emulator)
    llm = narrow(emulator)
    engine = engine_of(index, llm, "tree_summarize")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.aquery("What is old?"), 1.0)
    assert emulator.counters.flex == 4
    async with asyncio.timeout(5):
        while emulator.running():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    assert sum(llm.engine.snapshot().values()) == 0


@CALLS
def test_questions_that_are_held_to_a_schema_can_always_be_read(emulator: Emulator, call: str) -> None:
    llm = llm_for(emulator, additional_kwargs={"response_format": SubQuestionList})
    generator = LLMQuestionGenerator.from_defaults(llm=llm)
    tools, query = [ToolMetadata(name="fjords", description="Knows fjords.")], QueryBundle("What is old?")
    if call == "synchronous":
        questions = generator.generate(tools, query)
    else:
        questions = asyncio.run(generator.agenerate(tools, query))
    assert questions
    assert all(isinstance(question, SubQuestion) for question in questions)
    only_flex(emulator, 1)
