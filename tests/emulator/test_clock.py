"""The emulator's clock and durations."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest

from dw_agents.emulator.clock import Clock, parse_duration, window_seconds


class Ticks:
    def __init__(self) -> None:
        self.value = 100.0

    def __call__(self) -> float:
        return self.value


def test_service_time_runs_speed_times_as_fast_as_the_wall() -> None:
    ticks = Ticks()
    clock = Clock(60, monotonic=ticks)
    before = clock.now()
    ticks.value += 2

    assert clock.now() - before == pytest.approx(120)
    assert clock.real(30) == pytest.approx(0.5)


async def test_sleeping_for_nothing_or_less_returns_at_once() -> None:
    clock = Clock(1e-9)

    await clock.sleep(0)
    await clock.sleep(-5)


async def test_a_fast_clock_makes_an_hour_short() -> None:
    ticks = Clock(1e6)

    await ticks.sleep(3600)


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_a_speed_that_cannot_be_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        Clock(speed)


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [(2.5, 2.5, 2.5), ("2.5", 2.5, 2.5), ((1, 3), 1, 3), ("1,3", 1, 3), ("uniform:low=1,high=3", 1, 3)],
)
def test_a_duration_is_a_number_or_a_range_in_either_form(spec: Any, low: float, high: float) -> None:
    draw = parse_duration(spec)
    drawn = [draw(random.Random(n)) for n in range(50)]

    assert low <= min(drawn)
    assert max(drawn) <= high
    assert (len(set(drawn)) > 10) == (low < high)


def test_a_lognormal_duration_has_the_median_that_was_asked_for() -> None:
    draw = parse_duration("lognormal:median=90,sigma=0.3")
    rng = random.Random(1)

    assert statistics.median(draw(rng) for _ in range(2000)) == pytest.approx(90, rel=0.05)


def test_an_exponential_duration_has_the_mean_that_was_asked_for() -> None:
    draw = parse_duration({"kind": "exponential", "mean": 4})
    rng = random.Random(1)

    assert statistics.mean(draw(rng) for _ in range(5000)) == pytest.approx(4, rel=0.1)


def test_the_same_seed_draws_the_same_durations() -> None:
    draw = parse_duration({"kind": "lognormal", "median": 2, "sigma": 1})

    assert draw(random.Random(7)) == draw(random.Random(7)) != draw(random.Random(8))


@pytest.mark.parametrize(
    "spec",
    [
        "soon",
        "1,2,3",
        -1,
        (3, 1),
        (-1, 1),
        "normal:mean=3",
        {"kind": "uniform", "low": 1},
        "exponential:mean=1,x=2",
        {},
    ],
)
def test_a_duration_that_cannot_be_read_is_refused(spec: Any) -> None:
    with pytest.raises(ValueError):
        parse_duration(spec)


@pytest.mark.parametrize(
    ("window", "seconds"), [("24h", 86_400), ("1h", 3600), ("30m", 1800), ("5s", 5), ("2d", 172_800)]
)
def test_a_window_is_a_number_and_a_unit(window: str, seconds: float) -> None:
    assert window_seconds(window) == seconds


@pytest.mark.parametrize("window", ["", "h", "24", "1.5h", "-1h", "1w"])
def test_a_window_that_cannot_be_read_is_refused(window: str) -> None:
    with pytest.raises(ValueError, match="24h"):
        window_seconds(window)
