"""The journal's file: made, migrated, refused; and the names in it, which later versions must go on reading."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from dw_agents.errors import JournalError
from dw_agents.journal import schema
from dw_agents.journal.sqlite import SqliteStore
from tests.faults.rows import accept, one, query, states

COLUMNS = {
    "owners": ["id", "lease", "pid", "since"],
    "kinds": ["id", "account", "base_url", "endpoint", "model", "tier", "window", "run"],
    "batches": ["id", "token", "kind", "file_id", "batch_id", "lines", "created"],
    "steps": [
        "id", "key", "ordinal", "kind", "label", "state", "owner", "response_id", "batch", "line", "posts",
        "possible_duplicates", "input_tokens", "output_tokens", "error", "created", "updated",
    ],
}  # fmt: skip
"""Of version 1. A file with these is on users' disks: change them by a migration only."""

VERSION_1 = """
CREATE TABLE owners (id INTEGER PRIMARY KEY AUTOINCREMENT, lease TEXT NOT NULL, pid INTEGER, since REAL);
CREATE TABLE kinds (id INTEGER PRIMARY KEY, account TEXT, base_url TEXT, endpoint TEXT, model TEXT, tier TEXT,
    window TEXT, run TEXT, UNIQUE (account, base_url, endpoint, model, tier, window, run));
CREATE TABLE batches (id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, file_id TEXT,
    batch_id TEXT, lines INTEGER NOT NULL, created REAL NOT NULL);
CREATE TABLE steps (id INTEGER PRIMARY KEY, key TEXT NOT NULL, ordinal INTEGER NOT NULL, kind INTEGER NOT NULL,
    label TEXT, state TEXT NOT NULL, owner INTEGER, response_id TEXT, batch INTEGER, line INTEGER,
    posts INTEGER NOT NULL DEFAULT 0, possible_duplicates INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER,
    output_tokens INTEGER, error TEXT, created REAL NOT NULL, updated REAL NOT NULL);
CREATE UNIQUE INDEX steps_by_key ON steps (key, ordinal);
CREATE INDEX steps_by_owner ON steps (owner, key) WHERE owner IS NOT NULL;
PRAGMA user_version = 1;
INSERT INTO owners (id, lease, pid, since) VALUES (3, 'a-lease-whose-file-is-gone', 4711, 1.7e9);
INSERT INTO kinds VALUES (1, 'mark', 'http://127.0.0.1/v1', '/responses', 'a-model', 'flex', '', '');
INSERT INTO kinds VALUES (2, 'mark', 'http://127.0.0.1/v1', '/responses', 'a-model', 'batch', '24h', '');
INSERT INTO kinds VALUES (3, 'mark', 'http://127.0.0.1/v1', '/responses', 'a-model', 'flex', '', 'tuesday');
INSERT INTO batches VALUES (1, 'a-token', 2, 'a-file', 'a-batch', 2, 4e9);
INSERT INTO steps VALUES (12884901888, 'flex', 0, 1, NULL, 'accepted', 3, 'resp_1', NULL, NULL, 1, 0, NULL, NULL, NULL,
    4e9, 4e9);
INSERT INTO steps VALUES (12884901889, 'batch', 0, 2, NULL, 'sending', 0, NULL, 1, 1, 1, 0, NULL, NULL, NULL, 4e9, 4e9);
INSERT INTO steps VALUES (12884901890, 'run', 0, 3, 'first', 'delivered', NULL, 'resp_2', NULL, NULL, 1, 0, 5, 7, NULL,
    4e9, 4e9);
"""
"""What version 1 left on a disk: a killed process's flex job, a line of a batch, a finished step of a run."""


def open_files() -> int:
    """How many files this process has open, where the system tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_the_names_in_the_file_are_those_that_were_released(path: Path) -> None:
    SqliteStore(path).close()
    found = {table: [row[1] for row in query(path, f"PRAGMA table_info({table})")] for table in COLUMNS}
    assert found == COLUMNS
    tables = query(path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    assert {name for (name,) in tables} == set(COLUMNS)
    assert query(path, "PRAGMA user_version") == [(1,)]


def test_a_file_of_version_1_is_opened_and_its_work_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    store = SqliteStore(path)
    flex, batch, delivered = one(store, "flex"), one(store, "batch"), one(store, "run", run=True)
    store.close()
    assert (flex.state, flex.response_id, flex.ours) == ("accepted", "resp_1", True)
    assert batch.line == ("a-token", 1, "a-batch", "a-file", 2)
    assert (delivered.response_id, delivered.replayed) == ("resp_2", True)


def test_the_fixture_of_version_1_is_what_version_1_makes(path: Path, tmp_path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(tmp_path / "fixture.db")) as database:
        database.executescript(VERSION_1)
    made, fixture = (
        sorted(re.sub(r"\s+", "", sql) for (sql,) in query(file, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
        for file in (path, tmp_path / "fixture.db")
    )
    assert made == fixture


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    path.touch()
    store = SqliteStore(path)
    accept(store, one(store, "a"))
    store.close()
    assert list(states(path).values()) == ["accepted"]


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    with pytest.raises(JournalError, match=r"newer dw-agents .* update dw-agents"):
        SqliteStore(path)
    assert query(path, "PRAGMA user_version") == [(schema.SCHEMA_VERSION + 1,)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteStore(path).close()
    monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, "CREATE TABLE more (a); CREATE nonsense"))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    with pytest.raises(JournalError, match="syntax error"):
        SqliteStore(path)
    assert query(path, "PRAGMA user_version") == [(schema.SCHEMA_VERSION - 1,)]
    assert not query(path, "SELECT name FROM sqlite_master WHERE name = 'more'")


def test_a_further_migration_is_run_once_on_a_file_that_holds_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path)
    accept(store, one(store, "a"))
    store.close()
    monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, "ALTER TABLE steps ADD COLUMN extra TEXT"))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    for _ in range(2):
        store = SqliteStore(path)
        assert one(store, "a").state == "accepted"
        store.close()
    assert query(path, "SELECT count(*) FROM pragma_table_info('steps') WHERE name = 'extra'") == [(1,)]


def test_nobody_but_its_owner_can_read_the_file_or_what_lies_beside_it(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "state" / "dw-agents" / "journal.db")
        accept(store, one(store, "a"))
    finally:
        os.umask(previous)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state" / "dw-agents").iterdir()}
    store.close()
    assert modes.pop("journal.db-leases") == 0o700
    assert set(modes) >= {"journal.db", "journal.db-wal"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("kind", ["directory", "text", "below a file"])
def test_a_place_that_can_hold_no_journal_is_refused_with_its_name_and_the_mend(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if kind == "directory":
        place.mkdir()
    else:
        place.write_text("this is no database at all\n" * 100)
    if kind == "below a file":
        place /= "journal.db"
    with pytest.raises(JournalError, match=r"cannot be used: .* journal=False or DW_AGENTS_JOURNAL=off") as caught:
        SqliteStore(place)
    assert str(place) in str(caught.value)


def test_nothing_is_left_held_by_a_journal_that_could_not_be_opened(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE owners")
    before = open_files()
    with pytest.raises(JournalError, match="owners"):
        SqliteStore(path)
    assert list((path.parent / "journal.db-leases").iterdir()) == []
    assert open_files() == before


def test_what_was_committed_is_synced_to_the_disk(path: Path) -> None:
    store = SqliteStore(path)
    setting = [store._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    store.close()
    assert setting == ["wal", 2]


def test_many_processes_that_make_the_same_journal_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from dw_agents.journal.sqlite import SqliteStore
for number in range(12):
    while time.time() < float(sys.argv[2]) + number / 25:
        pass
    SqliteStore(Path(sys.argv[1]) / f"{number}.db").close()
"""
    start = str(time.time() + 0.6)
    command = [sys.executable, "-c", program, str(tmp_path), start]
    makers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [maker.communicate()[1] for maker in makers] == [""] * 4


@pytest.mark.skipif(sys.platform == "win32", reason="the locks in question are those of POSIX")
def test_opening_the_file_a_second_time_in_a_process_drops_no_lock_of_the_first(path: Path) -> None:
    # SQLite's lock of a reader; whoever gets it all for himself takes the file for unused and may tidy it away.
    probe = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
"""
    store = SqliteStore(path)
    schema.connect(path).close()
    got = subprocess.run([sys.executable, "-c", probe, str(path)], stderr=subprocess.PIPE, text=True, check=False)
    store.close()
    assert "BlockingIOError" in got.stderr
