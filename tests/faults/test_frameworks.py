"""LangGraph graphs and LlamaIndex workflows that are killed in the middle of a fan-out and resumed in a new process."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator import Emulator
from tests.faults.nursery import Child, Nursery
from tests.faults.rows import query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CASES = [f"case-{n}" for n in range(12)]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery"), "tests.faults.graphs") as made:
        yield made


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(latency=(0.3, 1.2), batch_latency=1.0) as running:
        yield running


def surroundings(emulator: Emulator, folder: Path) -> dict[str, str]:
    return {
        "DOUBLEWORD_API_KEY": emulator.api_key,
        "DOUBLEWORD_BASE_URL": emulator.base_url,
        "DW_AGENTS_JOURNAL": str(folder / "journal.db"),
        "LANGSMITH_TRACING": "false",
    }


def accepted(emulator: Emulator) -> Counter[str]:
    """How often each prompt was accepted."""
    return Counter(json.dumps(job.body["input"]) for job in emulator.jobs)


def kill_when(child: Child, emulator: Emulator, folder: Path, accepted: int) -> None:
    """Kill a process once so much was accepted, its ids are on the disk, and nothing is on its way."""
    journal, until = folder / "journal.db", time.monotonic() + 30.0
    while time.monotonic() < until:
        assert child.alive(), child.said()
        if emulator.counters.accepted >= accepted:
            ((kept,),) = query(journal, "SELECT count(*) FROM steps WHERE response_id IS NOT NULL")
            if kept == emulator.counters.accepted:
                break
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -9


def assert_each_was_paid_once(emulator: Emulator, folder: Path, prompts: int) -> None:
    ((unknown,),) = query(folder / "journal.db", "SELECT sum(possible_duplicates) FROM steps")
    counts = accepted(emulator)
    assert len(counts) == prompts
    assert counts.total() <= prompts + unknown
    assert unknown <= 2, "at most what had just left, on a busy machine"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("at", [8, 19])
def test_a_graph_killed_in_its_fan_out_goes_on_where_it_was_and_pays_each_step_once(
    at: int, durability: str, nursery: Nursery, emulator: Emulator, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "environment": surroundings(emulator, tmp_path), "saved": str(tmp_path / "saved.db"), "durability": durability,
        "out": str(tmp_path / "state.json"),
    }  # fmt: skip
    first = nursery.start("tests.faults.graphs:run_graph", cases=CASES, **settings)
    kill_when(first, emulator, tmp_path, at)
    assert nursery.run("tests.faults.graphs:run_graph", cases=None, **settings) == 0, nursery.said()
    state = json.loads((tmp_path / "state.json").read_text())
    assert sorted(verdict.split(":")[0] for verdict in state["verdicts"]) == sorted(CASES)
    assert "report on" in state["report"]
    assert_each_was_paid_once(emulator, tmp_path, prompts=1 + 2 * len(CASES) + 1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_graph_of_threads_goes_on_where_it_was_too(
    durability: str, nursery: Nursery, emulator: Emulator, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "environment": surroundings(emulator, tmp_path), "saved": str(tmp_path / "saved.db"), "durability": durability,
        "out": str(tmp_path / "state.json"),
    }  # fmt: skip
    first = nursery.start("tests.faults.graphs:run_graph_in_threads", cases=CASES, **settings)
    kill_when(first, emulator, tmp_path, 4)
    assert nursery.run("tests.faults.graphs:run_graph_in_threads", cases=None, **settings) == 0, nursery.said()
    assert len(json.loads((tmp_path / "state.json").read_text())["verdicts"]) == len(CASES)
    assert_each_was_paid_once(emulator, tmp_path, prompts=len(CASES))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_fifty_equal_prompts_are_fifty_answers_after_a_crash(
    tier: str, nursery: Nursery, emulator: Emulator, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "environment": surroundings(emulator, tmp_path), "times": 50, "tier": tier, "out": str(tmp_path / "ids.json"),
    }  # fmt: skip
    first = nursery.start("tests.faults.graphs:ask_the_same", **settings)
    if tier == "flex":
        kill_when(first, emulator, tmp_path, 50)
    else:
        while not emulator.counters.batches:
            assert first.alive(), nursery.said()
            time.sleep(0.005)
        first.kill()
        first.wait()
    assert nursery.run("tests.faults.graphs:ask_the_same", **settings) == 0, nursery.said()
    assert len(set(json.loads((tmp_path / "ids.json").read_text()))) == 50
    assert emulator.counters.accepted + emulator.counters.lines == 50


@pytest.mark.timeout(120)
def test_a_workflow_killed_in_its_fan_out_goes_on_where_it_was_and_pays_each_step_once(
    nursery: Nursery, emulator: Emulator, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "environment": surroundings(emulator, tmp_path), "saved": str(tmp_path / "saved"),
        "out": str(tmp_path / "result.json"),
    }  # fmt: skip
    first = nursery.start("tests.faults.graphs:run_workflow", cases=CASES, **settings)
    while sum(job.terminal for job in emulator.jobs) < 5:
        assert first.alive(), nursery.said()
        time.sleep(0.005)
    kill_when(first, emulator, tmp_path, len(CASES))
    assert nursery.run("tests.faults.graphs:run_workflow", cases=None, **settings) == 0, nursery.said()
    result = json.loads((tmp_path / "result.json").read_text())
    assert sorted(text.split(":")[0] for text in result) == sorted(CASES)
    assert_each_was_paid_once(emulator, tmp_path, prompts=len(CASES))
