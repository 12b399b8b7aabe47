"""How many requests may be under way."""

from __future__ import annotations

from dw_agents.schedule.pace import Pace


def fill(pace: Pace, now: float) -> list[int]:
    """Begin as many requests as the pace allows."""
    begun = []
    while pace.opens_in(now) == 0.0:
        begun.append(pace.begin())
    return begun


def test_at_first_as_many_leave_as_the_limit_says() -> None:
    pace = Pace(5)
    assert len(fill(pace, 0.0)) == 5
    assert pace.opens_in(0.0) is None


def test_a_refusal_makes_everyone_wait_as_long_as_the_server_asks() -> None:
    pace = Pace(5)
    epoch = pace.begin()
    pace.end(epoch, 10.0, pushed_back=True, wait=3.0)
    assert pace.opens_in(10.0) == 3.0
    assert pace.opens_in(13.0) == 0.0


def test_without_a_word_from_the_server_the_pauses_double_up_to_half_a_minute() -> None:
    pace, now, pauses = Pace(5), 0.0, []
    for _ in range(9):
        pace.end(pace.begin(), now, pushed_back=True)
        wait = pace.opens_in(now)
        assert wait is not None
        pauses.append(wait)
        now += wait
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_burst_of_refusals_is_one_piece_of_news() -> None:
    one, many = Pace(64), Pace(64)
    one.end(one.begin(), 0.0, pushed_back=True, wait=1.0)
    epochs = fill(many, 0.0)
    for epoch in epochs[:2]:
        many.end(epoch, 0.0)
    for epoch in epochs[2:]:
        many.end(epoch, 0.0, pushed_back=True, wait=1.0)
    assert many.opens_in(0.0) == 1.0
    assert len(fill(many, 1.0)) == 2, "as many go out next as were taken before"


def test_success_makes_room_again() -> None:
    pace = Pace(8)
    pace.end(pace.begin(), 0.0, pushed_back=True, wait=1.0)
    now, sizes = 1.0, []
    for _ in range(4):
        begun = fill(pace, now)
        sizes.append(len(begun))
        for epoch in begun:
            pace.end(epoch, now)
    assert sizes == [1, 2, 4, 8]


def test_two_accepted_a_second_need_about_one_refusal_for_each_accepted() -> None:
    pace, now, accepted, sent = Pace(64), 0.0, 0, 0
    tokens, filled_at = 2.0, 0.0
    while accepted < 200:
        wait = pace.opens_in(now)
        if wait:
            now += wait
        tokens, filled_at = min(2.0, tokens + (now - filled_at) * 2.0), now
        for epoch in fill(pace, now):
            sent += 1
            taken = tokens >= 1.0
            tokens -= taken
            accepted += taken
            pace.end(epoch, now, pushed_back=not taken, wait=None if taken else 1.0)
    assert now <= 130.0
    assert sent <= 500
