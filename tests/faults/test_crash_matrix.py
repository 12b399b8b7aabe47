"""A process is killed at every boundary between it and the disk or the network; what it had paid for is not lost.

The boundaries, as a step of each tier passes them (a commit may hold several of these at once, and further looks at a
job or a batch repeat the same ones):

    flex                                            batch
    before the commit of asks                       before the commit of asks
    after the commit of asks                        after the commit of asks
    before the commit of sending                    before the commit of shipping
    after the commit of sending            (1)      after the commit of shipping
    before POST /responses leaves          (1)      before POST /files leaves
    while POST /responses is under way     (1)      while POST /files is under way
    after the reply to POST /responses     (1)      after the reply to POST /files
    before the commit of accepted          (1)      before the commit of batches
    after the commit of accepted                    after the commit of batches
    before GET /responses/{id} leaves               before POST /batches leaves
    while GET /responses/{id} is under way          while POST /batches is under way
    after the reply to GET /responses/{id}          after the reply to POST /batches
    before the commit of ended (delivered)          before GET /batches/{id} leaves
    after the commit of ended (delivered)  (2)      while GET /batches/{id} is under way
                                                    after the reply to GET /batches/{id}
                                                    before GET /files/{id}/content leaves
                                                    after the head of the reply to GET /files/{id}/content
                                                    after the reply to GET /files/{id}/content
                                                    before the commit of ended (delivered)
                                                    after the commit of ended (delivered)  (2)

(1) The one window that cannot be closed: nobody can find out whether the job was accepted. Asked with
    ``on_unknown="raise"``, the step ends in ``SubmissionUnknown`` and is not sent; with ``"resend"`` it is sent once
    more and counted as a possible duplicate.
(2) The answer reached its caller. Outside a named run, to ask again is to ask for another answer.

At every other boundary each step is accepted exactly once in all, and answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.matrix import Cell, Scenario, table, visit, walk
from tests.faults.nursery import Nursery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASKS = ["before the commit of asks", "after the commit of asks"]
DELIVERED = ["before the commit of ended (delivered)", "after the commit of ended (delivered)"]
WINDOW = [
    "after the commit of sending",
    "before POST /responses leaves",
    "while POST /responses is under way",
    "after the reply to POST /responses",
    "before the commit of accepted",
]


def request(name: str) -> list[str]:
    return [f"before {name} leaves", f"while {name} is under way", f"after the reply to {name}"]


FLEX = [
    *ASKS,
    "before the commit of sending",
    *WINDOW,
    "after the commit of accepted",
    *request("GET /responses/{id}"),
    *DELIVERED,
]
BATCH = [
    *ASKS,
    "before the commit of shipping",
    "after the commit of shipping",
    *request("POST /files"),
    "before the commit of batches",
    "after the commit of batches",
    *request("POST /batches"),
    *request("GET /batches/{id}"),
    "before GET /files/{id}/content leaves",
    "after the head of the reply to GET /files/{id}/content",
    "after the reply to GET /files/{id}/content",
    *DELIVERED,
]
EVERY = {"flex": FLEX, "batch": BATCH}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as made:
        yield made


def unknown(cells: list[Cell]) -> list[str]:
    return [cell.boundary for cell in cells if cell.unknown]


def again(cells: list[Cell]) -> list[str]:
    return [cell.boundary for cell in cells if cell.paid_again]


@pytest.mark.parametrize("run", ["", "named"])
@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_one_step_survives_a_death_at_every_boundary_of_its_life(
    tier: str, run: str, tmp_path: Path, nursery: Nursery
) -> None:
    scenario = Scenario(tier, texts=1, run=run)
    cells = visit(scenario, tmp_path, nursery, EVERY[tier])
    print(table(scenario, cells))
    assert [cell.boundary for cell in cells] == EVERY[tier]
    assert set(unknown(cells)) == (set(WINDOW) if tier == "flex" else set())
    assert set(again(cells)) <= {"after the commit of ended (delivered)", "after the reply to GET /files/{id}/content"}


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("flex", texts=2, samples=2, run="named"),
        Scenario("batch", texts=2, samples=2),
        Scenario("flex", texts=2, first_death="while POST /responses is under way"),
        Scenario("batch", texts=2, first_death="while POST /batches is under way"),
    ],
    ids=str,
)
def test_several_steps_at_once_survive_a_death_at_every_moment_also_in_a_recovery(
    scenario: Scenario, tmp_path: Path, nursery: Nursery
) -> None:
    cells = walk(scenario, tmp_path, nursery)
    print(table(scenario, cells))
    assert len(cells) >= 8
