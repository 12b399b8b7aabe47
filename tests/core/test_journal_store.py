"""The journal's file as one process and several use it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from dw_agents.errors import JournalError
from dw_agents.journal.rows import BatchNews, End, Found, Group
from dw_agents.journal.sqlite import SqliteStore
from tests.faults.rows import accept, ask, asked, deliver, one, query, send, ship, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    opened.close()


@pytest.fixture
def other(path: Path, store: SqliteStore) -> Iterator[SqliteStore]:
    """The hold of a second process on the same file."""
    opened = SqliteStore(path)
    yield opened
    opened.close()


def die(store: SqliteStore) -> None:
    """Leave as a killed process does: nothing is written, and the operating system lets go of the lease."""
    store._lease.disown()
    store._database.close()


def look_again(store: SqliteStore) -> None:
    """Make the store look for the dead at the next ask, and not only half a second after the last time."""
    store._swept_at -= 1.0


def test_steps_that_are_new_get_rows_of_their_own_even_when_they_are_equal(store: SqliteStore) -> None:
    found = asked(store, "a", "a", "b")
    assert len({each.row for each in found if each is not None}) == 3
    assert all(each is not None and each.state == "waiting" and each.ours for each in found)


def test_an_open_row_is_taken_over_after_its_process_closed(path: Path) -> None:
    first = SqliteStore(path)
    sent, accepted, waiting = (one(first, key) for key in "sax")
    send(first, sent)
    accept(first, accepted)
    first.close()
    second = SqliteStore(path)
    assert [(f.state, f.response_id) for f in (one(second, key) for key in "sax")] == [
        ("sending", None), ("accepted", f"resp_{accepted.row}"), ("waiting", None),
    ]  # fmt: skip
    assert waiting.row not in states(path), "nothing is remembered of what was never sent"
    second.close()


def test_open_rows_of_a_killed_process_are_taken_over_each_once(store: SqliteStore, other: SqliteStore) -> None:
    for found in [one(store, "a") for _ in range(3)]:
        accept(store, found)
    die(store)
    look_again(other)
    found_again = asked(other, "a", "a", "a", "a")
    assert [each.state for each in found_again if each is not None] == ["accepted"] * 3 + ["waiting"]
    assert len({each.response_id for each in found_again if each is not None}) == 4


def test_a_living_process_keeps_what_it_works_on(store: SqliteStore, other: SqliteStore) -> None:
    accept(store, one(store, "a"))
    look_again(other)
    assert one(other, "a").state == "waiting", "outside a run this is one more answer to the same question"


def test_the_dead_are_looked_for_only_now_and_then(store: SqliteStore, other: SqliteStore) -> None:
    assert one(other, "x").state == "waiting"
    accept(store, one(store, "a"))
    die(store)
    assert one(other, "a").state == "waiting"
    look_again(other)
    assert one(other, "a").state == "accepted"


def test_delivered_work_is_not_given_again_outside_a_run(store: SqliteStore, other: SqliteStore) -> None:
    found = one(store, "a")
    accept(store, found)
    deliver(store, found)
    assert one(store, "a").state == "waiting"
    assert one(other, "a").state == "waiting"


def test_in_a_run_the_nth_ask_of_a_process_gets_the_nth_row(store: SqliteStore, path: Path) -> None:
    rows = [one(store, "a", run=True) for _ in range(3)]
    for found in rows[:2]:
        accept(store, found)
    deliver(store, rows[0])
    store.close()
    again = SqliteStore(path)
    found_again = [one(again, "a", run=True) for _ in range(4)]
    again.close()
    assert [each.row for each in found_again[:2]] == [each.row for each in rows[:2]]
    assert [(each.state, each.ours, each.replayed) for each in found_again] == [
        ("delivered", False, True), ("accepted", True, False), ("waiting", True, False), ("waiting", True, False),
    ]  # fmt: skip


def test_in_a_run_an_equal_step_of_another_living_process_is_waited_for_and_then_shared(
    store: SqliteStore, other: SqliteStore
) -> None:
    mine = one(store, "a", run=True)
    assert asked(other, "a", run=True) == [None], "it may turn out not to be sent"
    send(store, mine)
    assert asked(other, "a", run=True) == [None], "nobody knows yet whether there is a job"
    accept(store, mine)
    shared = one(other, "a", run=True)
    assert (shared.row, shared.state, shared.ours, shared.replayed) == (mine.row, "accepted", False, False)


def test_in_a_run_the_row_of_a_process_that_dies_while_another_waits_for_it_goes_to_the_other(
    store: SqliteStore, other: SqliteStore
) -> None:
    mine = one(store, "a", run=True)
    send(store, mine)
    assert asked(other, "a", run=True) == [None]
    die(store)
    look_again(other)
    found = one(other, "a", run=True)
    assert (found.row, found.state, found.ours) == (mine.row, "sending", True)


@pytest.mark.parametrize("state", ["failed", "lost", "cancelled"])
def test_in_a_run_work_that_ended_without_an_answer_is_done_anew_in_its_place(store: SqliteStore, state: str) -> None:
    found = one(store, "a", run=True)
    accept(store, found)
    store.apply(Group(ended=[End(found.row, state, error="Why")]), time.time())  # type: ignore[arg-type]
    assert one(store, "a", run=True) == Found(found.row, "waiting")


@pytest.mark.parametrize("end", ["failed", "released"])
def test_who_gets_no_answer_and_asks_again_within_one_group_gets_the_same_place(store: SqliteStore, end: str) -> None:
    found = one(store, "a", run=True)
    accept(store, found)
    again = Group(asks=[ask("a", run=True)])
    if end == "failed":
        again.ended.append(End(found.row, "failed"))
    else:
        again.released.append(found.row)
    (second,) = store.apply(again, time.time())
    assert second is not None
    assert second.row == found.row


def test_who_could_not_read_an_answer_of_others_gets_it_again(store: SqliteStore, other: SqliteStore) -> None:
    found = one(store, "a", run=True)
    accept(store, found)
    shared = one(other, "a", run=True)
    assert shared.place == ("a", 0)
    deliver(store, found)
    (again,) = other.apply(Group(unread=[("a", 0)], asks=[ask("a", run=True)]), time.time())
    assert again is not None
    assert (again.row, again.replayed, again.place) == (found.row, True, ("a", 0))


def test_places_given_back_in_a_group_that_fails_are_given_back_once_when_it_succeeds(store: SqliteStore) -> None:
    found = one(store, "a", run=True)
    broken = Group(ended=[End(found.row, "failed")], unread=[], shipping=[("token", [])])
    with pytest.raises(IndexError):
        store.apply(broken, time.time())
    assert one(store, "a", run=True).row != found.row, "it was not given back yet"
    store.apply(Group(ended=[End(found.row, "failed")]), time.time())
    assert one(store, "a", run=True).row == found.row


@pytest.mark.parametrize("how", ["sending", "shipping"])
def test_a_step_that_is_given_up_as_it_is_about_to_be_sent_stays_given_up(
    store: SqliteStore, path: Path, how: str
) -> None:
    found = one(store, "a")
    given_up = Group(ended=[End(found.row, "cancelled")])
    if how == "sending":
        given_up.sending.append((found.row, False))
    else:
        given_up.shipping.append(("token", [found.row]))
    store.apply(given_up, time.time())
    assert states(path) == {found.row: "cancelled"}


def test_a_released_row_is_found_by_the_next_ask_of_the_same_process(store: SqliteStore) -> None:
    for run in (False, True):
        found = one(store, "a", run=run)
        accept(store, found)
        store.apply(Group(released=[found.row]), time.time())
        assert one(store, "a", run=run).response_id == f"resp_{found.row}"


def test_what_surely_was_not_accepted_is_forgotten_with_its_process(path: Path) -> None:
    first = SqliteStore(path)
    found = one(first, "a")
    send(first, found)
    first.apply(Group(unsent=[found.row]), time.time())
    first.close()
    assert states(path) == {}


def test_a_step_sent_again_after_no_reply_is_counted(store: SqliteStore, path: Path) -> None:
    found = one(store, "a")
    send(store, found)
    store.apply(Group(sending=[(found.row, True)]), time.time())
    assert query(path, "SELECT posts, possible_duplicates FROM steps") == [(2, 1)]


def test_a_batch_is_found_by_its_token_and_each_step_by_its_line(path: Path) -> None:
    first = SqliteStore(path)
    found = [one(first, key) for key in "abc"]
    ship(first, "the-token", *found)
    first.apply(Group(batches=[BatchNews("the-token", file_id="file")]), time.time())
    first.apply(Group(batches=[BatchNews("the-token", batch_id="batch")]), time.time())
    first.close()
    second = SqliteStore(path)
    lines = [one(second, key).line for key in "cab"]
    second.close()
    assert lines == [("the-token", number, "batch", "file", 3) for number in (2, 0, 1)]


def test_a_step_left_out_of_a_batch_that_is_sent_once_more_has_the_lines_renumbered(store: SqliteStore) -> None:
    found = [one(store, key) for key in "abc"]
    ship(store, "token", *found)
    store.apply(Group(ended=[End(found[0].row, "failed", error="BadRequest")]), time.time())
    ship(store, "token", *found[1:])
    store.apply(Group(released=[each.row for each in found[1:]]), time.time())
    lines = [one(store, key).line for key in "bc"]
    assert lines == [("token", 0, None, None, 2), ("token", 1, None, None, 2)]


def test_a_batch_line_that_is_sent_again_on_its_own_is_looked_for_in_its_new_batch_only(store: SqliteStore) -> None:
    found = one(store, "a")
    ship(store, "old", found)
    ship(store, "new", found)
    store.apply(Group(released=[found.row]), time.time())
    line = one(store, "a").line
    assert line is not None
    assert line.token == "new"


def test_a_group_that_fails_leaves_nothing_behind_and_keeps_no_place(store: SqliteStore, path: Path) -> None:
    broken = Group(asks=[ask("a", run=True)], shipping=[("token", [])])
    with pytest.raises(IndexError):
        store.apply(broken, time.time())
    assert states(path) == {}
    assert one(store, "a", run=True).state == "waiting"
    assert query(path, "SELECT ordinal FROM steps") == [(0,)]


def test_a_file_that_cannot_be_written_any_more_is_a_journal_error_that_names_it(
    store: SqliteStore, path: Path
) -> None:
    found = one(store, "a")
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=str(path)):
        asked(store, *(f"{'long' * 50}{n}" for n in range(500)))
    assert len(states(path)) == 1
    store._database.execute("PRAGMA max_page_count = 1000000")
    accept(store, found)
    assert states(path) == {found.row: "accepted"}


def test_ended_rows_are_forgotten_after_a_week_and_those_of_named_runs_after_a_month(path: Path) -> None:
    now, day = time.time(), 86_400.0
    first = SqliteStore(path)
    for key, run, days in (("a", False, 6), ("b", False, 8), ("c", True, 29), ("d", True, 31)):
        found = one(first, key, run=run)
        first.apply(Group(ended=[End(found.row, "delivered")]), now - days * day)
    still_open = one(first, "e")
    accept(first, still_open)
    first._database.execute("UPDATE steps SET updated = updated - ? WHERE id = ?", (90 * day, still_open.row))
    first.close()
    SqliteStore(path).close()
    assert [key for (key,) in query(path, "SELECT key FROM steps ORDER BY key")] == ["a", "c", "e"]


def test_row_numbers_are_unique_among_processes_that_never_speak_to_each_other(
    store: SqliteStore, other: SqliteStore
) -> None:
    mine = asked(store, *"abcdef")
    theirs = asked(other, *"abcdef")
    assert len({each.row for each in [*mine, *theirs] if each is not None}) == 12


def test_numbers_of_processes_are_never_given_out_again(path: Path) -> None:
    rows = []
    for _ in range(3):
        store = SqliteStore(path)
        found = one(store, "a")
        accept(store, found)
        deliver(store, found)
        store.close()
        rows.append(found.row)
    assert len(set(rows)) == 3
