"""The recipe for extraction on the batch tier."""

from __future__ import annotations

import batch_extraction
import pytest
from batch_extraction import facts, letter

from dw_agents.emulator import Emulator
from langchain_dw_agents import ChatDoubleword


async def test_all_letters_travel_in_one_batch_and_one_that_fails_stops_nobody() -> None:
    letters = {number: letter(number) for number in range(60)}
    with Emulator() as emulator:
        emulator.faults.add("fail_line", code=400, message="no such form", match=f"order {facts(7).order}")
        llm = ChatDoubleword(model="m", service_tier="batch", api_key=emulator.api_key, base_url=emulator.base_url)
        with llm.engine:
            state = await batch_extraction.build(llm).ainvoke({"letters": letters})
        counts = emulator.counters.snapshot()
    assert state["table"] == {number: facts(number) for number in letters if number != 7}
    assert list(state["unread"]) == [7]
    assert "no such form" in state["unread"][7]
    assert (counts.batches, counts.lines, counts.flex, counts.realtime) == (1, 60, 0, 0)


async def test_an_answer_that_does_not_fit_the_form_stops_nobody() -> None:
    with Emulator() as emulator:
        emulator.faults.add("truncate", match=f"order {facts(1).order}")
        llm = ChatDoubleword(model="m", service_tier="batch", api_key=emulator.api_key, base_url=emulator.base_url)
        with llm.engine:
            state = await batch_extraction.build(llm).ainvoke({"letters": {0: letter(0), 1: letter(1)}})
    assert state["table"] == {0: facts(0)}
    assert list(state["unread"]) == [1]


def test_the_recipe_runs_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch_extraction.main(["--letters", "40"]) == 0
    printed = capsys.readouterr().out
    assert "40 of 40 letters read as they were meant" in printed
    assert "batch     40       0" in printed


def test_the_letters_differ_in_what_they_say() -> None:
    said = [facts(number) for number in range(3000)]
    assert len({(complaint.product, complaint.days_late, complaint.wish) for complaint in said}) > 50


def test_no_letters_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        batch_extraction.main(["--letters", "0"])
    assert "--letters" in capsys.readouterr().err


def test_live_without_a_key_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv("DOUBLEWORD_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    with pytest.raises(Exception, match="DOUBLEWORD_API_KEY"):
        batch_extraction.main(["--live"])
