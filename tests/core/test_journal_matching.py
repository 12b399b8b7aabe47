"""Which row a step that is asked gets: the decision alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dw_agents.journal.matching import Known, Places, match, starts_anew
from dw_agents.journal.rows import ENDED, OPEN, State
from tests.faults.rows import ask

KEYS = st.sampled_from("abc")
EVERY_STATE: list[State] = [*OPEN, *ENDED]
OPEN_STATES = st.sampled_from(sorted(OPEN))
ALL_STATES = st.sampled_from(sorted(EVERY_STATE))


@st.composite
def free_rows(draw: st.DrawFn) -> list[Known]:
    """Open rows without an owner, of three keys, in the order of their ordinals."""
    rows: list[Known] = []
    for key in "abc":
        ordinals = sorted(draw(st.sets(st.integers(0, 8), max_size=5)))
        rows += [Known(100 * ord(key) + n, key, n, draw(OPEN_STATES), 0) for n in ordinals]
    return rows


@given(st.lists(KEYS, max_size=12), free_rows())
def test_outside_a_run_each_open_row_is_taken_over_once_before_any_new_one_is_made(
    keys: list[str], free: list[Known]
) -> None:
    highest = {key: max(row.ordinal for row in free if row.key == key) for key in {row.key for row in free}}
    found = match([ask(key) for key in keys], [None] * len(keys), free=free, placed={}, highest=highest)

    taken = [row for row in found.taken if row is not None]
    assert len(set(taken)) == len(taken)
    available, wanted = Counter(row.key for row in free), Counter(keys)
    assert Counter(row.key for row in taken) == {k: min(n, available[k]) for k, n in wanted.items() if available[k]}
    assert all(row.key == keys[number] for number, row in enumerate(found.taken) if row is not None)
    assert not found.waiting
    assert len(found.new) + len(taken) == len(keys)


@given(st.lists(KEYS, max_size=12), st.dictionaries(KEYS, st.integers(0, 9)))
def test_new_rows_of_a_key_have_ordinals_of_their_own_above_those_that_are_there(
    keys: list[str], highest: dict[str, int]
) -> None:
    found = match([ask(key) for key in keys], [None] * len(keys), free=[], placed={}, highest=highest)
    made = [(keys[number], ordinal) for number, ordinal in found.new]
    assert len(set(made)) == len(keys)
    assert all(ordinal > highest.get(key, -1) for key, ordinal in made)


@given(st.lists(st.tuples(KEYS, ALL_STATES, st.sampled_from([0, 7, -1, None])), max_size=8))
def test_in_a_run_the_row_at_the_place_is_taken_whatever_it_is_unless_another_is_just_sending_it(
    rows: list[tuple[str, State, int | None]],
) -> None:
    places, counts = [], Counter[str]()
    for key, _, _ in rows:
        places.append(counts[key])
        counts[key] += 1
    placed = {
        (key, place): Known(number, key, place, state, owner)
        for number, ((key, state, owner), place) in enumerate(zip(rows, places, strict=True))
    }
    found = match([ask(key, run=True) for key, _, _ in rows], places, free=[], placed=placed, highest={})

    for number, (_, state, owner) in enumerate(rows):
        if owner == -1 and state in {"waiting", "sending"}:
            assert number in found.waiting
            assert found.taken[number] is None
        else:
            taken = found.taken[number]
            assert taken is not None
            assert taken.row == number
    assert not found.new


@given(st.lists(KEYS, max_size=12))
def test_in_a_run_a_place_without_a_row_gets_one_with_that_very_ordinal(keys: list[str]) -> None:
    places, counts = [], Counter[str]()
    for key in keys:
        places.append(counts[key])
        counts[key] += 1
    found = match([ask(key, run=True) for key in keys], places, free=[], placed={}, highest=dict.fromkeys("abc", 5))
    assert found.new == list(enumerate(places))


def test_a_place_that_was_given_back_can_be_kept_after_all() -> None:
    places = Places()
    for place in range(3):
        assert places.take("a") == place
    places.give_back("a", 1)
    places.give_back("a", 0)
    places.keep("a", 0)
    assert (places.take("a"), places.take("a")) == (1, 3)


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=40))
def test_a_process_never_has_one_place_twice_and_always_gets_the_lowest(moves: list[tuple[str, bool]]) -> None:
    places, held = Places(), {key: set[int]() for key in "abc"}
    for key, gives_back in moves:
        if gives_back and held[key]:
            place = max(held[key])
            held[key].remove(place)
            places.give_back(key, place)
        else:
            place = places.take(key)
            assert place == min(set(range(len(held[key]) + 1)) - held[key])
            held[key].add(place)


def test_work_that_ended_without_an_answer_starts_anew_and_all_other_work_goes_on() -> None:
    anew = {state for state in EVERY_STATE if starts_anew(Known(1, "a", 0, state, 0))}
    assert anew == {"waiting", "failed", "lost", "cancelled"}
