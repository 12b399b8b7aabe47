"""The fan-out recipe."""

from __future__ import annotations

import langgraph_fanout
import pytest

from dw_agents.emulator import Emulator
from langchain_dw_agents import ChatDoubleword


async def test_the_branches_run_side_by_side_on_flex() -> None:
    with Emulator(latency=0.2) as emulator:
        llm = ChatDoubleword(model="m", api_key=emulator.api_key, base_url=emulator.base_url)
        with llm.engine:
            state = await langgraph_fanout.build(llm).ainvoke({"question": langgraph_fanout.QUESTION})
        counts, jobs = emulator.counters.snapshot(), emulator.jobs
    assert state["cases"] == [
        "a chat window on a shop page",
        "a nightly report by forty agents",
        "descriptions for a million products",
    ]
    assert [verdict.split(":")[0] for verdict in state["verdicts"]] == state["cases"]
    assert (counts.flex, counts.realtime) == (5, 0)
    _, *branches, _ = jobs
    assert max(job.created for job in branches) < min(job.finished or 0.0 for job in branches)


def test_the_recipe_runs_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert langgraph_fanout.main([]) == 0
    printed = capsys.readouterr().out
    assert "3 cases weighed side by side" in printed
    assert "m  tier" not in printed
    assert "flex      5       0" in printed


def test_live_without_a_key_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv("DOUBLEWORD_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    with pytest.raises(Exception, match="DOUBLEWORD_API_KEY"):
        langgraph_fanout.main(["--live"])
