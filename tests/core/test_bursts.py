"""Bursts of flex steps travel as one batch where that is asked for and the service takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dw_agents import ConfigurationError, Engine
from dw_agents.emulator import Emulator
from tests.core.conftest import QUICK
from tests.core.steps import eventually, step

if TYPE_CHECKING:
    from pathlib import Path


def bursting(emulator: Emulator, **settings: object) -> Engine:
    return Engine(
        api_key=emulator.api_key,
        base_url=emulator.base_url,
        retries=QUICK,
        flex_bursts="batch",
        **settings,  # type: ignore[arg-type]
    )


def test_a_burst_rides_one_batch_with_the_window_of_flex_price(emulator: Emulator) -> None:
    with bursting(emulator) as engine:
        tickets = [engine.submit(step(f"q{n}")) for n in range(100)]
        answers = [ticket.result(30) for ticket in tickets]
    assert len(answers) == 100
    counted = emulator.counters.snapshot()
    assert (counted.batches, counted.batch, counted.accepted, counted.realtime) == (1, 100, 0, 0)
    assert emulator.batches[0].window == "1h"
    assert engine.receipt().lines[step("q").model, "flex"].steps == 100


def test_a_few_steps_travel_one_by_one(emulator: Emulator) -> None:
    with bursting(emulator) as engine:
        for ticket in [engine.submit(step(f"q{n}")) for n in range(5)]:
            ticket.result(30)
    counted = emulator.counters.snapshot()
    assert (counted.batches, counted.flex) == (0, 5)


def test_where_the_service_has_no_such_window_bursts_travel_one_by_one_from_then_on() -> None:
    with Emulator(completion_windows=("24h",)) as emulator, bursting(emulator) as engine:
        for _ in range(2):
            for ticket in [engine.submit(step(f"q{n}")) for n in range(30)]:
                ticket.result(30)
        counted = emulator.counters.snapshot()
        assert (counted.batches, counted.flex, counted["POST /batches"]) == (0, 60, 1)


def test_a_step_of_a_burst_that_nobody_waits_for_is_dropped_on_either_way() -> None:
    with Emulator(latency=30.0, batch_latency=30.0) as emulator, bursting(emulator) as engine:
        few = [engine.submit(step(f"few{n}")) for n in range(3)]
        assert eventually(lambda: all(ticket.accepted_at for ticket in few))
        many = [engine.submit(step(f"many{n}")) for n in range(40)]
        assert eventually(lambda: all(ticket.accepted_at for ticket in many))
        for ticket in [*few, *many]:
            ticket.cancel()
        assert eventually(lambda: not emulator.running())
        assert engine.snapshot() == {"waiting": 0, "submitting": 0, "queued": 0, "in_progress": 0}


def test_a_burst_that_a_process_left_behind_is_collected_whatever_the_setting_is_then(tmp_path: Path) -> None:
    with Emulator(batch_latency=1.0) as emulator:
        engine = bursting(emulator, journal=tmp_path / "j.db")
        tickets = [engine.submit(step(f"q{n}")) for n in range(40)]
        assert eventually(lambda: all(ticket.accepted_at for ticket in tickets))
        engine.close()
        with Engine(api_key=emulator.api_key, base_url=emulator.base_url, journal=tmp_path / "j.db") as later:
            for ticket in [later.submit(step(f"q{n}")) for n in range(40)]:
                ticket.result(30)
            assert later.receipt().reattached == 40
        counted = emulator.counters.snapshot()
        assert (counted.batches, counted.batch, counted.flex) == (1, 40, 0)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="flex_bursts"):
        Engine(api_key="k", flex_bursts="sideways")  # type: ignore[arg-type]
