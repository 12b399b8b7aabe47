"""When a batch closes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dw_agents.schedule.window import Limits, Window

LIMITS = Limits(lines=1000, bytes=100_000, quiet=0.25, longest=10.0)


def join(window: Window, times: int, now: float, size: int = 10) -> None:
    for _ in range(times):
        window.joined(size, now)


def test_an_empty_batch_never_closes() -> None:
    assert Window(LIMITS).closes_at(0) is None


def test_a_lone_step_waits_for_one_quiet_moment() -> None:
    window = Window(LIMITS)
    join(window, 1, 5.0)
    assert window.closes_at(0) == 5.25


def test_each_newcomer_prolongs_the_wait_but_never_beyond_the_longest() -> None:
    window, now = Window(LIMITS), 0.0
    while (at := window.closes_at(0)) is None or at > now:
        window.joined(10, now)
        now += 0.2
    assert 10.0 <= now <= 10.3


def test_a_thousand_steps_within_two_seconds_are_one_batch() -> None:
    window = Window(Limits())
    for i in range(1000):
        now = i * 0.002
        at = window.closes_at(0)
        assert at is None or at > now
        window.joined(100, now)
    assert window.lines == 1000


def test_when_everyone_who_was_answered_has_come_back_the_batch_closes_at_once() -> None:
    window = Window(LIMITS)
    window.answered(3, 1.0)
    join(window, 2, 1.1)
    assert window.closes_at(0) == 1.35
    join(window, 1, 1.2)
    assert window.closes_at(0) == 1.2


def test_while_answers_are_still_out_their_callers_are_waited_for() -> None:
    window = Window(LIMITS)
    window.answered(3, 1.0)
    join(window, 3, 1.1)
    assert window.closes_at(7) == 1.35


def test_who_was_answered_long_ago_is_not_waited_for_and_does_not_hurry_others() -> None:
    window = Window(LIMITS)
    window.answered(1, 1.0)
    join(window, 1, 100.0)
    assert window.closes_at(0) == 100.25


def test_a_crowd_is_given_twice_the_quiet_moment() -> None:
    window = Window(LIMITS)
    join(window, 10, 5.0)
    assert window.closes_at(0) == 5.5


def test_answers_count_for_the_next_batch_only() -> None:
    window = Window(LIMITS)
    window.answered(1, 1.0)
    join(window, 1, 1.1)
    window.closed()
    join(window, 1, 1.2)
    assert window.closes_at(0) == 1.45


def test_a_full_batch_closes_at_once() -> None:
    lines, size = Window(LIMITS), Window(LIMITS)
    join(lines, 1000, 1.0)
    join(size, 1, 1.0, size=100_000)
    assert lines.closes_at(0) == size.closes_at(0) == 1.0


def test_what_does_not_fit_is_said_before_it_joins() -> None:
    window = Window(LIMITS)
    assert window.fits(100_000)
    assert not window.fits(100_001)
    join(window, 1000, 0.0)
    assert not window.fits(1)


def test_who_leaves_makes_room() -> None:
    window = Window(LIMITS)
    join(window, 1, 0.0, size=100_000)
    window.left(100_000)
    assert window.fits(100_000)
    assert window.closes_at(0) is None


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5000), st.booleans()), max_size=200))
def test_no_step_ever_waits_longer_than_the_longest_wait_and_no_batch_grows_beyond_its_limits(
    events: list[tuple[float, int, bool]],
) -> None:
    window, now, first = Window(LIMITS), 0.0, 0.0
    for wait, size, answered in events:
        now += wait
        at = window.closes_at(0)
        if at is not None and (at <= now or not window.fits(size)):
            assert at - first <= LIMITS.longest + 1e-9
            window.closed()
        if answered:
            window.answered(1, now)
        if not window.lines:
            first = now
        window.joined(size, now)
        assert window.lines <= LIMITS.lines
        assert window.bytes <= LIMITS.bytes
