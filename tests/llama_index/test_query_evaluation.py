"""Evaluators and their batch runner over ``DoublewordLLM`` and ``DoublewordEmbedding``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.evaluation import (
    BatchEvalRunner,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    RelevancyEvaluator,
    SemanticSimilarityEvaluator,
)
from llama_index.core.evaluation.batch_runner import eval_worker
from tenacity import wait_none

from llama_index.llms.dw_agents.errors import BadRequest
from tests.llama_index.loops import own_loop
from tests.llama_index.replies import Replies
from tests.llama_index.test_query_engines import index_of, only_flex
from tests.llama_index.vectors import embedding_for
from tests.llama_index.wire import llm_for

if TYPE_CHECKING:
    from llama_index.core.evaluation import BaseEvaluator, EvaluationResult

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator

__all__ = ["own_loop"]

RUNNER = pytest.mark.filterwarnings("ignore:asyncio_module:DeprecationWarning")
"""LlamaIndex's runner calls a function of LlamaIndex that LlamaIndex would rather have nobody call."""

CALLS = pytest.mark.parametrize("call", ["synchronous", "asynchronous"])

QUERIES = [f"Are fjords older than {number} years?" for number in range(10)]
JUDGEMENTS: dict[str, str | dict[str, Any]] = {
    "expert evaluation system": "4.5\nNearly right.",
    "either YES or NO": "YES",
    "answer YES or NO": "YES",
}


@pytest.fixture
def emulator(make_emulator: MakeEmulator) -> Emulator:
    return make_emulator(backend=Replies(JUDGEMENTS), latency=1.0)


def evaluators(emulator: Emulator, **fields: Any) -> dict[str, BaseEvaluator]:
    llm = llm_for(emulator, **fields)
    return {
        "faithfulness": FaithfulnessEvaluator(llm=llm),
        "relevancy": RelevancyEvaluator(llm=llm),
        "correctness": CorrectnessEvaluator(llm=llm),
    }


def evaluate(evaluator: BaseEvaluator, call: str) -> EvaluationResult:
    said: dict[str, Any] = {
        "query": "Are fjords old?",
        "response": "Yes.",
        "contexts": ["Fjords are old."],
        "reference": "Yes.",
    }
    return evaluator.evaluate(**said) if call == "synchronous" else asyncio.run(evaluator.aevaluate(**said))


@CALLS
@pytest.mark.parametrize(("name", "score"), [("faithfulness", 1.0), ("relevancy", 1.0), ("correctness", 4.5)])
def test_each_evaluator_judges_on_flex_alone(emulator: Emulator, name: str, score: float, call: str) -> None:
    result = evaluate(evaluators(emulator)[name], call)
    assert (result.passing, result.score) == (True, score)
    only_flex(emulator, 1)


@CALLS
def test_similarity_is_judged_by_embeddings_of_one_batch(emulator: Emulator, call: str) -> None:
    result = evaluate(SemanticSimilarityEvaluator(embed_model=embedding_for(emulator)), call)
    assert result.score == pytest.approx(1.0)
    assert (emulator.counters.lines, emulator.counters.realtime) == (2, 0)


@RUNNER
@CALLS
def test_a_batch_of_evaluations_is_in_flight_together_with_enough_workers(emulator: Emulator, call: str) -> None:
    """LlamaIndex's default is two at a time."""
    runner = BatchEvalRunner(evaluators(emulator), workers=100)
    said: dict[str, Any] = {
        "queries": QUERIES,
        "response_strs": ["Yes."] * 10,
        "contexts_list": [["Fjords are old."]] * 10,
        "reference": ["Yes."] * 10,
    }
    if call == "synchronous":
        results = runner.evaluate_response_strs(**said)
    else:
        results = asyncio.run(runner.aevaluate_response_strs(**said))
    assert {name: [one.passing for one in many] for name, many in results.items()} == {
        "faithfulness": [True] * 10, "relevancy": [True] * 10, "correctness": [True] * 10,
    }  # fmt: skip
    only_flex(emulator, 30)
    jobs = emulator.jobs
    assert max(job.created for job in jobs) < min(job.finished or 0.0 for job in jobs)


@RUNNER
def test_evaluations_by_batch_become_one_batch(emulator: Emulator) -> None:
    runner = BatchEvalRunner({"correctness": evaluators(emulator, service_tier="batch")["correctness"]}, workers=100)
    asyncio.run(
        runner.aevaluate_response_strs(queries=QUERIES, response_strs=["Yes."] * 10, reference=["Yes."] * 10)  # type: ignore[arg-type]  # LlamaIndex takes lists, too
    )
    assert (emulator.counters.batches, emulator.counters.lines) == (1, 10)


@RUNNER
@CALLS
def test_queries_are_answered_and_judged_on_flex_alone(emulator: Emulator, call: str) -> None:
    engine = index_of(emulator).as_query_engine(llm=llm_for(emulator))
    runner = BatchEvalRunner({"relevancy": evaluators(emulator)["relevancy"]}, workers=100)
    if call == "synchronous":
        results = runner.evaluate_queries(engine, queries=QUERIES)
    else:
        results = asyncio.run(runner.aevaluate_queries(engine, queries=QUERIES))
    assert [one.query for one in results["relevancy"]] == QUERIES
    assert all(one.passing for one in results["relevancy"])
    counts = emulator.counters.snapshot()
    assert counts.flex >= 20
    assert counts.realtime == counts["POST /embeddings"]


@RUNNER
def test_the_runner_asks_three_times_after_an_error_of_any_kind(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What users are told to expect: LlamaIndex does not ask whether an error can pass."""
    monkeypatch.setattr(eval_worker.retry, "wait", wait_none())  # type: ignore[attr-defined]  # tenacity's
    emulator.faults.add("fail_job", code=400, message="the prompt is too long")
    runner = BatchEvalRunner({"correctness": evaluators(emulator)["correctness"]}, workers=100)
    with pytest.raises(BadRequest, match="the prompt is too long"):
        asyncio.run(runner.aevaluate_response_strs(queries=["Old?"], response_strs=["Yes."], reference=["Yes."]))  # type: ignore[arg-type]  # LlamaIndex takes lists, too
    assert emulator.counters.snapshot()["POST /responses"] == 3
