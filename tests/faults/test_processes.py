"""Several processes on one journal: no step is sent twice, and what a killed one held is taken over."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator import Emulator
from tests.faults.ledger import accepted_by_text, outcomes
from tests.faults.nursery import Nursery
from tests.faults.rows import query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORK = "tests.faults.sharing:work"
ASK = "tests.faults.child:ask"
KEYS = 100_000
PROCESSES = 4


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery"), "tests.faults.child", "tests.faults.sharing") as made:
        yield made


def posts(path: Path) -> list[tuple[str, int, str]]:
    """Every submission: the key, the process, and what the journal said before."""
    rows = (line.split() for line in path.read_text().splitlines())
    return [(key, int(process), state) for key, process, state in rows]


def start(nursery: Nursery, folder: Path, me: int, keys: int, under_way: float = 0.0) -> Any:
    files = {"journal": str(folder / "journal.db"), "posts": str(folder / "posts")}
    return nursery.start(WORK, **files, me=me, processes=PROCESSES, keys=keys, under_way=under_way)


@pytest.mark.timeout(180)
def test_four_processes_that_all_ask_a_hundred_thousand_keys_send_each_once(nursery: Nursery, tmp_path: Path) -> None:
    children = [start(nursery, tmp_path, me, KEYS) for me in range(PROCESSES)]
    assert [child.wait(150) for child in children] == [0] * PROCESSES, nursery.said()
    sent = posts(tmp_path / "posts")
    assert len(sent) == len({key for key, _, _ in sent}) == KEYS
    shares = Counter(process for _, process, _ in sent)
    assert len(shares) > 1, "the work was shared"
    states = query(tmp_path / "journal.db", "SELECT state, count(*), sum(posts) FROM steps GROUP BY state")
    assert states == [("delivered", KEYS, KEYS)]
    assert query(tmp_path / "journal.db", "SELECT count(*) FROM owners") == [(0,)]


@pytest.mark.timeout(120)
def test_what_a_killed_process_held_is_taken_over_and_nothing_else_is_sent_again(
    nursery: Nursery, tmp_path: Path
) -> None:
    keys = 20_000
    log = tmp_path / "posts"
    children = [start(nursery, tmp_path, 0, keys, under_way=0.5)]
    while not log.exists() or log.read_text().count(" 0 ") < 2_000:
        time.sleep(0.002)
    children += [start(nursery, tmp_path, me, keys) for me in range(1, PROCESSES)]
    while len({process for _, process, _ in posts(log)}) < 2:
        time.sleep(0.002)
    children[0].kill()
    assert [child.wait(100) for child in children] == [-9, 0, 0, 0], nursery.said()
    sent = posts(log)
    again = Counter(key for key, _, _ in sent)
    unknown = {key for key, _, state in sent if state == "sending"}
    assert len(again) == keys
    assert {key for key, count in again.items() if count > 1} <= unknown, (
        "only what may not have been sent is sent again"
    )
    assert all(count <= 2 for count in again.values())
    assert query(tmp_path / "journal.db", "SELECT DISTINCT state FROM steps") == [("delivered",)]
    counted = query(tmp_path / "journal.db", "SELECT sum(possible_duplicates) FROM steps")
    assert counted == [(len(unknown),)]


@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_four_processes_of_one_run_over_http_send_each_step_once_also_when_one_is_killed(
    tier: str, nursery: Nursery, tmp_path: Path
) -> None:
    with Emulator(latency=(0.3, 1.0), batch_latency=0.5, record=0) as emulator:
        engine = {
            "api_key": emulator.api_key,
            "base_url": emulator.base_url,
            "journal": str(tmp_path / "journal.db"),
            "run": "shared",
        }
        texts = [f"<{n}>" for n in range(200)]
        steps = [{"body": {"model": "m", "input": text}, "service_tier": tier, "label": text} for text in texts]
        children = []
        for number in range(PROCESSES):
            own = steps[50 * number :] + steps[: 50 * number]
            children.append(nursery.start(ASK, steps=own, engine=engine, outcomes=str(tmp_path / f"{number}.jsonl")))
        while sum(accepted_by_text(emulator).values()) < 150:
            time.sleep(0.01)
        children[0].kill()
        assert [child.wait(50) for child in children] == [-9, 0, 0, 0], nursery.said()
        unknown = query(tmp_path / "journal.db", "SELECT coalesce(sum(possible_duplicates), 0) FROM steps")[0][0]
        accepted = accepted_by_text(emulator)
        assert set(accepted) == set(texts)
        assert accepted.total() <= len(texts) + unknown
        if tier == "batch":
            assert unknown == 0
        ids: dict[str, set[str]] = {}
        for number in range(1, PROCESSES):
            found = outcomes(tmp_path / f"{number}.jsonl")
            assert len(found) == len(texts)
            for each in found:
                ids.setdefault(each["input"], set()).add(each["id"])
        assert all(len(answers) == 1 for answers in ids.values()), "all processes got the same answers"
