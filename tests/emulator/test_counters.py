"""The counters."""

from __future__ import annotations

import threading

from dw_agents.emulator.counters import Counters


def test_a_snapshot_does_not_change_while_the_counters_go_on() -> None:
    counters = Counters()
    counters.arrived("GET /models")
    counters.replied("GET /models", 200)
    before = counters.snapshot()
    counters.arrived("GET /models")
    counters.replied("GET /models", 500)

    assert before["GET /models"] == before.requests == 1
    assert dict(before.statuses) == {200: 1}
    assert counters["GET /models"] == counters.requests == 2
    assert counters.statuses == {200: 1, 500: 1}


def test_a_route_that_was_never_asked_counts_zero() -> None:
    assert Counters()["POST /responses"] == 0


def test_model_calls_are_counted_by_tier() -> None:
    counters = Counters()
    for tier in ("flex", "flex", "realtime", "background"):
        counters.called(tier)
    counters.stored()
    counters.fired("stall")

    assert (counters.flex, counters.realtime, counters.background, counters.accepted) == (2, 1, 1, 1)
    assert counters.faults == {"stall": 1}


def test_files_batches_and_lines_are_counted_apart_from_the_lines_that_ran() -> None:
    counters = Counters()
    counters.file_stored()
    counters.batch_created(7)
    counters.batch_created(3)
    counters.called("batch")
    counts = counters.snapshot()

    assert (counters.files, counters.batches, counters.lines, counters.batch) == (1, 2, 10, 1)
    assert (counts.files, counts.batches, counts.lines, counts.batch) == (1, 2, 10, 1)


def test_reset_starts_from_zero() -> None:
    counters = Counters()
    counters.file_stored()
    counters.batch_created(7)
    counters.arrived("GET /models")
    counters.called("flex")
    counters.stored()
    counters.reset()

    assert counters.snapshot() == Counters().snapshot()


def test_counts_from_several_threads_are_all_kept() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(2000):
            counters.arrived("GET /models")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counters["GET /models"] == 8000


def test_the_text_form_shows_the_counts() -> None:
    counters = Counters()
    counters.called("flex")

    assert repr(counters).startswith("Counters(requests=0")
    assert "flex=1" in repr(counters)
