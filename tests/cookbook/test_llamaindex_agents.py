"""The recipe of a LlamaIndex workflow of several agents."""

from __future__ import annotations

import llamaindex_agents as recipe
import pytest

from dw_agents.emulator import Emulator
from llama_index.embeddings.dw_agents import DoublewordEmbedding
from llama_index.llms.dw_agents import DoublewordLLM

pytestmark = [
    # The agents are LlamaIndex's own, and so are these.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
]


async def test_each_question_passes_from_agent_to_agent_on_flex_alone() -> None:
    with Emulator() as emulator:
        account = {"api_key": emulator.api_key, "base_url": emulator.base_url}
        llm = DoublewordLLM(model=recipe.MODEL, **account)
        embedding = DoublewordEmbedding(model=recipe.EMBEDDING_MODEL, **account)  # type: ignore[arg-type]  # of one type
        with llm.engine:
            reports = await recipe.run(llm, embedding, recipe.QUESTIONS)
        counts = emulator.counters.snapshot()
    assert [report.question for report in reports] == list(recipe.QUESTIONS)
    for report in reports:
        assert report.trail == [
            "researcher used search",
            "researcher used open_section",
            "researcher used handoff",
            "writer answered",
            "writer used handoff",
            "reviewer used search",
            "reviewer answered",
        ]
        assert all(report.answers)
    questions = len(recipe.QUESTIONS)
    assert (counts.flex, counts.batches) == (7 * questions, 1)
    assert counts.realtime == counts["POST /embeddings"] == 2 * questions


def test_the_recipe_runs_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe.main(["--speed", "5000"]) == 0
    printed = capsys.readouterr().out
    assert "No language model runs." in printed
    assert printed.count("researcher used handoff -> writer answered") == len(recipe.QUESTIONS)
    assert "the same at realtime: $" in printed
