"""The recipe of a LlamaIndex query pipeline."""

from __future__ import annotations

import llamaindex_query as recipe
import pytest

from dw_agents.emulator import Emulator
from llama_index.embeddings.dw_agents import DoublewordEmbedding
from llama_index.llms.dw_agents import DoublewordLLM


async def test_a_page_takes_three_batches_and_its_question_goes_to_the_pages_on_flex() -> None:
    with Emulator() as emulator:
        account = {"api_key": emulator.api_key, "base_url": emulator.base_url}
        llm = DoublewordLLM(model=recipe.MODEL, **account)
        embedding = DoublewordEmbedding(model=recipe.EMBEDDING_MODEL, **account)  # type: ignore[arg-type]  # of one type
        with llm.engine:
            (response,) = await recipe.run(llm, embedding, recipe.QUESTIONS[:1], recipe.PAGES[:2])
        counts = emulator.counters.snapshot()
    found = [node.metadata for node in response.source_nodes if "page" in node.metadata]
    assert {one["page"] for one in found} == set(recipe.PAGES[:2])
    assert all(one["section_summary"] and one["excerpt_keywords"] for one in found)
    assert recipe.QUESTIONS[0] in str(response)
    assert counts.batches == 3  # summaries, keywords, vectors
    assert counts.flex == 1 + 2 + 1  # the questions, one answer a page, the whole
    assert counts.realtime == counts["POST /embeddings"] == 2


def test_the_recipe_runs_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe.main(["--speed", "5000"]) == 0
    printed = capsys.readouterr().out
    assert "No language model runs." in printed
    assert "sections are indexed, each with its summary and keywords" in printed
    assert printed.count("   from: cancellation, costs, embeddings, tiers") == len(recipe.QUESTIONS)
    assert "the same at realtime: $" in printed


def test_live_without_a_key_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv("DOUBLEWORD_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    with pytest.raises(Exception, match="DOUBLEWORD_API_KEY"):
        recipe.main(["--live"])
