"""The journal's file: its schema, its migrations, and who may read it.

Owns: opening and migrating. What the rows mean is ``rows.py``'s, who reads and writes them ``sqlite.py``'s.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from dw_agents.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SCHEMA_VERSION", "cannot_use", "connect", "identity", "transaction"]

_MIGRATIONS: Final = (
    """
    CREATE TABLE owners (id INTEGER PRIMARY KEY AUTOINCREMENT, lease TEXT NOT NULL, pid INTEGER, since REAL);
    CREATE TABLE kinds (
        id INTEGER PRIMARY KEY, account TEXT, base_url TEXT, endpoint TEXT, model TEXT, tier TEXT, window TEXT,
        run TEXT, UNIQUE (account, base_url, endpoint, model, tier, window, run)
    );
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, file_id TEXT, batch_id TEXT,
        lines INTEGER NOT NULL, created REAL NOT NULL
    );
    CREATE TABLE steps (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, ordinal INTEGER NOT NULL, kind INTEGER NOT NULL, label TEXT,
        state TEXT NOT NULL, owner INTEGER, response_id TEXT, batch INTEGER, line INTEGER,
        posts INTEGER NOT NULL DEFAULT 0, possible_duplicates INTEGER NOT NULL DEFAULT 0,
        input_tokens INTEGER, output_tokens INTEGER, error TEXT, created REAL NOT NULL, updated REAL NOT NULL
    );
    CREATE UNIQUE INDEX steps_by_key ON steps (key, ordinal);
    CREATE INDEX steps_by_owner ON steps (owner, key) WHERE owner IS NOT NULL;
    """,
)
"""One script a version; ``user_version`` counts those that a file has had. Never change one that was released."""

SCHEMA_VERSION: Final = len(_MIGRATIONS)

_LEAST_SQLITE: Final = (3, 33)
"""The first with ``UPDATE ... FROM``."""
_BUSY: Final = 30.0
"""Seconds to wait for another process that writes."""
_BUSY_LOOK: Final = 0.005
"""Seconds between looks where SQLite does not do the waiting."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal's file, making and migrating it where needed; only its owner can read it.

    Raises:
        JournalError: it cannot be used; names the file and the reason.
    """
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        raise JournalError(cannot_use(path, RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old")))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made before SQLite would make it, so that it is never readable by others; the files beside it inherit this.
        # One that is there is not touched: to close it here would drop the locks of this process's other connections.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        # Handed to the thread that uses it, and to no other.
        database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise JournalError(cannot_use(path, error)) from error
    try:
        _use_wal(database)
        database.execute("PRAGMA synchronous=FULL")
        _migrate(database, path)
    except sqlite3.Error as error:
        database.close()
        raise JournalError(cannot_use(path, error)) from error
    except BaseException:
        database.close()
        raise
    return database


def cannot_use(path: Path, error: Exception) -> str:
    """Say that a file cannot be used, why, and what to do."""
    return (
        f"The journal {path} cannot be used: {error}. Give another file with journal=... or DW_AGENTS_JOURNAL, or "
        "turn it off with journal=False or DW_AGENTS_JOURNAL=off; then a crash forgets what was accepted."
    )


def _use_wal(database: sqlite3.Connection) -> None:
    until = time.monotonic() + _BUSY
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # Of several processes that make the same new file, all but one are refused without being made to wait.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_BUSY_LOOK)
        else:
            return


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"The journal {path} was written by a newer dw-agents (format {version}, this one knows {SCHEMA_VERSION}); "
            "update dw-agents, or give another file with journal=... or DW_AGENTS_JOURNAL."
        )
    if version == SCHEMA_VERSION:
        return
    with transaction(database):
        # Another process may have been faster.
        version = database.execute("PRAGMA user_version").fetchone()[0]
        for script in _MIGRATIONS[version:]:
            for statement in script.split(";"):
                database.execute(statement)
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, or nothing of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled it back already
            database.execute("ROLLBACK")
        raise
