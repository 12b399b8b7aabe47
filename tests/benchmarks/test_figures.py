"""What the benchmarks make of what their clients report."""

from __future__ import annotations

import statistics

import pytest
from benchmarks.figures import Spread, derive, spread
from benchmarks.table import cell, missed, work_table
from benchmarks.works import WORKS, Figure, Side, Work

REPORTED = {
    "started": 100.0, "wall": 3.5, "cpu": 1.2, "calls": 2000, "held_mean": 102.8, "held_first": 102.1, "peak_mb": 50.0,
}  # fmt: skip
STATS = {
    "jobs": 2000, "finished_mean": 102.5, "took_mean": 2.0, "created_last": 101.0, "cpu": 0.7,
    "routes": {"POST /responses": 2001, "GET /responses/{id}": 2400},
}  # fmt: skip
WORK = Work(
    "w", "a work", (Side("ours", "clients.x", must={"cpu_ms": 0.6}), Side("peer", "clients.y", peers=True)),
    (Figure("cpu_ms", "CPU ms"), Figure("extra", "extra s")),
)  # fmt: skip


def test_the_extra_delay_is_from_the_servers_end_to_the_callers_hands() -> None:
    figures = derive(REPORTED, STATS, 2.0)
    assert figures["extra"] == pytest.approx(0.3)
    assert figures["share"] == pytest.approx(0.15)
    assert figures["beyond"] == pytest.approx(1.5)


def test_look_ups_and_cpu_are_counted_for_each_call() -> None:
    figures = derive(REPORTED, STATS, 2.0)
    assert figures["polls"] == pytest.approx(1.2)
    assert figures["cpu_ms"] == pytest.approx(0.6)
    assert figures["requests_per_call"] == pytest.approx(4401 / 2000)
    assert figures["polls_at_5"] == pytest.approx(1.2 * 0.15 / 0.05)


def test_the_first_result_and_the_last_submission_are_seconds_since_the_start() -> None:
    figures = derive(REPORTED, STATS, 2.0)
    assert [figures["first"], figures["last_submit"]] == pytest.approx([2.1, 1.0])


def test_what_a_client_measured_itself_is_passed_on() -> None:
    assert derive({**REPORTED, "bytes_per_step": 812}, {}, 0.0)["bytes_per_step"] == 812


def test_what_no_server_saw_is_left_out() -> None:
    assert not {"polls", "extra", "requests"} & derive(REPORTED, {}, 0.0).keys()


def test_runs_are_summed_up_by_their_median() -> None:
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0, 3)
    with pytest.raises(statistics.StatisticsError):
        spread([])


def test_a_cell_shows_the_median_its_spread_the_ratio_and_the_bound() -> None:
    found = Spread(7.2, 7.0, 7.5, 3)
    assert cell(found, 1) == "7.2 (7.0 to 7.5)"
    assert cell(found, 1, reference=0.6) == "7.2 (7.0 to 7.5), 12x"
    assert cell(Spread(0.5, 0.5, 0.5, 1), 2, must=0.6) == "0.50 ✓ ≤ 0.6"
    assert cell(Spread(0.7, 0.7, 0.7, 1), 2, must=0.6) == "0.70 ✗ ≤ 0.6"


def test_a_table_gives_ratios_to_the_first_row_of_ours_and_says_why_a_row_is_empty() -> None:
    lines = work_table(WORK, {"ours": [{"cpu_ms": 0.5, "extra": 0.1}], "peer": [{"cpu_ms": 7.5, "extra": 5.0}]})
    assert "| ours | 0.50 ✓ ≤ 0.6 | 0.10 | 1 |" in lines
    assert "| peer | 7.50, 15x | 5.00, 50x | 1 |" in lines
    assert "| peer | stopped after 9 s | | |" in work_table(WORK, {"ours": [], "peer": ["stopped after 9 s"]})


def test_what_a_side_needs_more_than_the_first_is_their_difference_and_can_be_bound() -> None:
    over = Figure("cpu_ms", "more ms", over_first=True)
    work = Work("w", "a work", (Side("ours", "x"), Side("ours too", "x", must={"cpu_ms_over_first": 0.2})), (over,))
    results = {"ours": [{"cpu_ms": 1.0}], "ours too": [{"cpu_ms": 1.25}]}
    assert "| ours too | 0.25 ✗ ≤ 0.2 | 1 |" in work_table(work, results)
    assert missed(work, results) == ["w: ours too: more ms: 0.25, not <= 0.2"]
    assert missed(work, {**results, "ours": [{"cpu_ms": 1.1}]}) == []


def test_a_bound_is_missed_by_what_is_above_it_and_by_what_was_not_measured() -> None:
    assert missed(WORK, {"ours": [{"cpu_ms": 0.6}]}) == []
    assert "0.7, not <= 0.6" in missed(WORK, {"ours": [{"cpu_ms": 0.7}]})[0]
    assert "not measured" in missed(WORK, {"ours": ["failed"]})[0]


def test_the_median_decides_whether_a_bound_is_missed_and_not_the_worst_run() -> None:
    assert missed(WORK, {"ours": [{"cpu_ms": 0.5}, {"cpu_ms": 0.5}, {"cpu_ms": 9.0}]}) == []


def test_every_work_has_a_name_of_its_own_and_bounds_only_on_what_it_shows() -> None:
    assert len({work.name for work in WORKS}) == len(WORKS)
    for work in WORKS:
        assert len({side.name for side in work.sides}) == len(work.sides), work.name
        shown = {figure.name for figure in work.figures}
        assert all(side.must.keys() <= shown for side in work.sides), work.name
