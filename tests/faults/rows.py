"""Small ways to make and read the journal's records in tests."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dw_agents.journal.rows import Ask, End, Found, Group, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.journal.rows import Store

KIND = Kind("mark", "http://127.0.0.1/v1", "/responses", "a-model", "flex", "", "")
NAMED = KIND._replace(run="tuesday")


def ask(key: str, *, run: bool = False, label: str = "") -> Ask:
    """A step that is asked, outside or inside a named run."""
    return Ask(key, run, NAMED if run else KIND, label)


def asked(store: Store, *keys: str, run: bool = False) -> list[Found | None]:
    """What steps of these keys get, asked in one group."""
    return store.apply(Group(asks=[ask(key, run=run) for key in keys]), time.time())


def one(store: Store, key: str, *, run: bool = False) -> Found:
    """What one step gets, where it need not wait."""
    (found,) = asked(store, key, run=run)
    assert found is not None
    return found


def send(store: Store, *found: Found) -> None:
    """Note that these are about to be sent."""
    store.apply(Group(sending=[(each.row, False) for each in found]), time.time())


def accept(store: Store, *found: Found) -> None:
    """Note that these were sent and accepted, as ``resp_`` and the row's number."""
    send(store, *found)
    store.apply(Group(accepted=[(each.row, f"resp_{each.row}") for each in found]), time.time())


def deliver(store: Store, *found: Found) -> None:
    """Note that the answers of these reached their callers."""
    store.apply(Group(ended=[End(each.row, "delivered", 10, 20) for each in found]), time.time())


def ship(store: Store, token: str, *found: Found) -> None:
    """Note that these are about to leave in a batch."""
    store.apply(Group(shipping=[(token, [each.row for each in found])]), time.time())


def query(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of the file as it is on disk, read by someone else."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql, values).fetchall()


def states(path: Path) -> dict[int, str]:
    """The state of every row."""
    return dict(query(path, "SELECT id, state FROM steps"))
