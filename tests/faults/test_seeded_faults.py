"""Thousands of steps through a service that misbehaves, and through deaths: a sample of ``make campaign``.

In ``make test`` these are 20 seeds of 150 requests; ``make faults`` runs 20 of 1,000, ``make campaign`` 200 of 10,000.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults.nursery import Nursery
from tests.faults.seeds import run_seed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUESTS = int(os.environ.get("FAULT_REQUESTS", "150"))
SEEDS = range(int(os.environ.get("FAULT_SEEDS", "20")))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as made:
        yield made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_is_paid_twice_but_what_is_reported(
    seed: int, tmp_path: Path, nursery: Nursery
) -> None:
    account = run_seed(seed, REQUESTS, tmp_path, nursery)
    assert account.wrong == []
    assert account.answered + account.failed == REQUESTS
    assert account.answered > REQUESTS / 3
    assert account.faults > 0
