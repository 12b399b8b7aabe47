"""The journal as the commands read and amend it: only rows that are as they were read, and that nobody works on."""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from dw_agents import JournalError
from dw_agents.journal import amend
from dw_agents.journal.jobs import OPEN_STATES, Entry, Jobs, Selection
from dw_agents.journal.rows import Ask, BatchNews, End, Group, Kind
from dw_agents.journal.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dw_agents.journal.rows import Found

FLEX = Kind("mark", "http://there/v1", "/responses", "model", "flex", "", "")
BATCH = FLEX._replace(tier="batch", window="1h")
TOKEN = "0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A process that works on the journal."""
    opened = SqliteStore(tmp_path / "journal.db")
    yield opened
    opened.close()


@pytest.fixture
def jobs(store: SqliteStore, tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(tmp_path / "journal.db") as opened:
        yield opened


def ask(store: SqliteStore, *keys: str, kind: Kind = FLEX) -> list[int]:
    found = store.apply(Group(asks=[Ask(key, False, kind, key) for key in keys]), time.time())
    return [one.row for one in found if one is not None]


def accept(store: SqliteStore, *rows: int) -> None:
    store.apply(Group(sending=[(row, False) for row in rows]), time.time())
    store.apply(Group(accepted=[(row, f"resp_{row}") for row in rows]), time.time())


def release(store: SqliteStore, *rows: int) -> None:
    store.apply(Group(released=list(rows)), time.time())


def everything(jobs: Jobs) -> list[Entry]:
    return jobs.entries(Selection())


def only(jobs: Jobs) -> Entry:
    (entry,) = everything(jobs)
    return entry


def test_an_id_is_made_of_the_process_and_the_number_of_the_step(store: SqliteStore, jobs: Jobs) -> None:
    ask(store, "a", "b")

    assert [entry.id for entry in everything(jobs)] == ["1-0", "1-1"]
    assert [jobs.find(entry.id, None) for entry in everything(jobs)] == [[entry] for entry in everything(jobs)]


def test_who_holds_a_row_is_known_by_its_process(store: SqliteStore, jobs: Jobs) -> None:
    (row,) = ask(store, "a")
    assert only(jobs).held
    owner = only(jobs).owner
    assert owner is not None
    assert owner.pid == os.getpid()

    accept(store, row)
    release(store, row)
    assert only(jobs).owner is None


def test_a_line_counts_as_accepted_once_its_batch_has_an_id(store: SqliteStore, jobs: Jobs) -> None:
    rows = ask(store, "a", "b", kind=BATCH)
    store.apply(Group(shipping=[(TOKEN, rows)]), time.time())
    assert [entry.state for entry in everything(jobs)] == ["sending", "sending"]

    store.apply(Group(batches=[BatchNews(TOKEN, batch_id="batch_1")]), time.time())

    assert [entry.job for entry in everything(jobs)] == ["batch_1/0", "batch_1/1"]
    assert len(jobs.entries(Selection(states=frozenset({"accepted"})))) == 2
    assert not jobs.entries(Selection(states=frozenset({"sending"})))


@pytest.mark.parametrize(
    "ident", ["1-2", "res", "resp_", "resp_x", "%%%%", "____", "resp_%", "1-0-0", "/0", "batch_1/9"]
)
def test_what_stands_for_no_step_finds_none(store: SqliteStore, jobs: Jobs, ident: str) -> None:
    accept(store, *ask(store, "a"))

    assert jobs.find(ident, None) == []


def test_steps_of_another_account_are_not_found(store: SqliteStore, jobs: Jobs) -> None:
    ask(store, "a")

    assert len(jobs.find("1-0", "mark")) == 1
    assert jobs.find("1-0", "other") == []
    assert (jobs.elsewhere("mark"), jobs.elsewhere("other")) == (0, 1)


def test_the_usage_of_answered_steps_is_added_up_by_what_they_are_priced_by(store: SqliteStore, jobs: Jobs) -> None:
    first, second = ask(store, "a", "b")
    (third,) = ask(store, "c", kind=BATCH)
    ends = [End(first, "delivered", 10, 20), End(second, "delivered", 1, 2), End(third, "failed", 5, 5)]
    store.apply(Group(ended=ends), time.time())

    assert jobs.usage() == {("model", "flex", ""): (2, 11, 22)}


def test_a_free_row_is_amended_and_one_that_a_process_holds_is_not(store: SqliteStore, jobs: Jobs) -> None:
    free, held = ask(store, "free", "held")
    accept(store, free, held)
    release(store, free)
    entries = everything(jobs)

    assert amend.settle(jobs, entries, time.time()) == 1
    assert [entry.state for entry in everything(jobs)] == ["settled", "accepted"]
    assert amend.end(jobs, everything(jobs), "lost", time.time(), "StepLost") == 1
    assert amend.unsend(jobs, everything(jobs)) == 0
    assert [(entry.state, entry.held) for entry in everything(jobs)] == [("lost", False), ("accepted", True)]


def test_a_row_that_changed_since_it_was_read_is_not_amended(store: SqliteStore, jobs: Jobs) -> None:
    (row,) = ask(store, "a")
    accept(store, row)
    release(store, row)
    read = everything(jobs)
    taken = ask(store, "a")
    assert taken == [row]
    store.apply(Group(sending=[(row, True)]), time.time())
    store.apply(Group(accepted=[(row, "resp_other")]), time.time())
    release(store, row)

    assert amend.settle(jobs, read, time.time()) == 0
    assert amend.end(jobs, read, "lost", time.time()) == 0
    assert amend.unsend(jobs, read) == 0
    with amend.Hold(jobs) as hold:
        assert hold.take(read) == []
    assert (only(jobs).state, only(jobs).response_id) == ("accepted", "resp_other")


def test_a_held_row_is_no_engine_s_to_take_and_is_given_back(store: SqliteStore, jobs: Jobs) -> None:
    (row,) = ask(store, "a")
    accept(store, row)
    release(store, row)

    with amend.Hold(jobs) as hold:
        assert [entry.row for entry in hold.take(everything(jobs))] == [row]
        assert ask(store, "a") != [row]

    (old, _) = everything(jobs)
    assert (old.row, old.owner, old.state) == (row, None, "accepted")
    assert len(list(jobs.leases.iterdir())) == len(jobs.owners()) == 1


def test_what_a_hold_ends_has_ended_for_engines_too(store: SqliteStore, jobs: Jobs) -> None:
    (row,) = ask(store, "a")
    accept(store, row)
    release(store, row)

    with amend.Hold(jobs) as hold:
        hold.end(hold.take(everything(jobs)), "cancelled", time.time())

    assert (only(jobs).state, only(jobs).owner) == ("cancelled", None)
    (again,) = store.apply(Group(asks=[Ask("a", False, FLEX, "")]), time.time())
    assert again is not None
    assert (again.state, again.row != row) == ("waiting", True)


def test_a_hold_does_not_end_rows_of_others(store: SqliteStore, jobs: Jobs) -> None:
    accept(store, *ask(store, "a"))

    with amend.Hold(jobs) as hold:
        assert hold.take(everything(jobs)) == []
        hold.end(everything(jobs), "cancelled", time.time())
        hold.settle(everything(jobs), time.time())

    assert (only(jobs).state, only(jobs).held) == ("accepted", True)


def test_an_engine_reads_a_settled_job_instead_of_sending_it_again(store: SqliteStore, jobs: Jobs) -> None:
    (row,) = ask(store, "a")
    accept(store, row)
    release(store, row)
    amend.settle(jobs, everything(jobs), time.time())

    found: Found | None
    (found,) = store.apply(Group(asks=[Ask("a", False, FLEX, "")]), time.time())

    assert found is not None
    assert (found.row, found.state, found.response_id) == (row, "settled", f"resp_{row}")


def test_the_rows_of_the_dead_are_freed_and_what_they_had_not_sent_is_forgotten(tmp_path: Path) -> None:
    dying = SqliteStore(tmp_path / "journal.db")
    sent, _ = ask(dying, "sent", "waiting")
    accept(dying, sent)
    dying._lease.release()  # as when the process is killed
    with Jobs(tmp_path / "journal.db") as jobs:
        assert [entry.held for entry in everything(jobs)] == [False, False]

        assert amend.bury(jobs) == 1

        assert (only(jobs).row, only(jobs).owner) == (sent, None)
        assert jobs.owners() == {}
        assert amend.bury(jobs) == 0
    dying._database.close()


def test_changes_of_many_rows_are_made_in_several_short_transactions(
    store: SqliteStore, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amend, "_AT_ONCE", 3)
    rows = ask(store, *"abcdefgh")
    accept(store, *rows)
    release(store, *rows)
    begun: list[str] = []
    jobs.database.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)

    assert amend.settle(jobs, everything(jobs), time.time()) == 8
    assert len(begun) == 3
    assert amend.prune(jobs, before=time.time() + 1, account=None, open_too=True, now=time.time()) == (0, 8)
    assert everything(jobs) == []


def test_pruning_forgets_a_batch_only_when_nothing_can_ask_for_it_any_more(store: SqliteStore, jobs: Jobs) -> None:
    rows = ask(store, "a", kind=BATCH)
    store.apply(Group(shipping=[(TOKEN, rows)]), time.time())
    release(store, *rows)
    now, month = time.time(), 31 * 86_400.0

    amend.prune(jobs, before=now + 1, account=None, open_too=False, now=now + month)
    assert jobs.tokens() == {TOKEN}
    amend.prune(jobs, before=now + 1, account=None, open_too=True, now=now)
    assert jobs.tokens() == {TOKEN}
    amend.prune(jobs, before=now + 1, account=None, open_too=True, now=now + month)
    assert jobs.tokens() == set()


def test_rows_to_be_amended_are_found_by_their_numbers(jobs: Jobs) -> None:
    """A scan of all rows of an owner would hold the file for long where there are many."""
    plan = jobs.database.execute(f"EXPLAIN QUERY PLAN SELECT * FROM steps WHERE {amend._SAME}", ("[]", 0)).fetchall()

    details = [str(row[3]) for row in plan]
    assert sum("INTEGER PRIMARY KEY" in detail for detail in details) == 2
    assert not any(detail.startswith("SCAN s") for detail in details)


def test_a_file_that_cannot_be_read_or_written_is_named(store: SqliteStore, jobs: Jobs, tmp_path: Path) -> None:
    ask(store, "a")
    entries = everything(jobs)
    jobs.database.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalError, match=r"journal\.db cannot be written"):
        amend.settle(jobs, entries, time.time())
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute("ALTER TABLE kinds RENAME TO elsewhere")
    other.close()
    with pytest.raises(JournalError, match=r"journal\.db cannot be read"):
        everything(jobs)


def test_the_open_states_come_first() -> None:
    assert OPEN_STATES == ("waiting", "sending", "accepted", "settled")
