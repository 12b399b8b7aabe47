# ruff: noqa: S608 - the statements are put together from constants of this module alone
"""The journal in a SQLite file.

Owns: the SQL. Each kind of change of a group is one statement over a JSON array:
Python's SQLite lets go of the interpreter at each step of a statement, and with a busy engine beside it every such
hand-over would cost milliseconds. Used by one thread. Must not import the engine.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dw_agents.errors import JournalError
from dw_agents.journal.leases import Lease, is_held
from dw_agents.journal.matching import Known, Places, match, starts_anew
from dw_agents.journal.rows import Ask, Found, Group, Kind, Line
from dw_agents.journal.schema import cannot_use, connect, identity, transaction

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SqliteStore", "bury"]

_SWEEP_EVERY: Final = 0.5
"""Seconds between looks for processes that have died."""
_DAY: Final = 86_400.0
_KEPT: Final = 30 * _DAY
"""How long ended steps of named runs are kept: as long as the service keeps the files of a batch."""
_KEPT_OTHERWISE: Final = 7 * _DAY

_ROW: Final = "s.id, s.key, s.ordinal, s.state, s.owner"
_V0, _V1, _V2, _V3, _V4 = (f"json_extract(value, '$[{n}]')" for n in range(5))
"""The fields of an entry of the JSON array."""


class SqliteStore:
    """One process's hold on a journal file.

    Args:
        path: the file.

    Raises:
        JournalError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = connect(path)
        self._file = identity(path)
        self._leases = path.with_name(path.name + "-leases")
        self._kinds: dict[Kind, int] = {}
        self._places = Places()
        self._placed: dict[int, tuple[str, int]] = {}
        """Of rows that this process works on and whose place counts."""
        self._swept_at = -_SWEEP_EVERY
        with ExitStack() as undo:
            undo.callback(self._database.close)
            try:
                self._lease = Lease(self._leases)
                undo.callback(self._lease.release)
                with transaction(self._database):
                    now = time.time()
                    self._owner = self._database.execute(
                        "INSERT INTO owners (lease, pid, since) VALUES (?, ?, ?)", (self._lease.name, os.getpid(), now)
                    ).lastrowid
                    self._prune(now)
            except (OSError, sqlite3.Error) as error:
                raise JournalError(cannot_use(path, error)) from error
            undo.pop_all()
        # Unique among all processes without asking any of them.
        self._next_row = (self._owner or 0) << 32

    def apply(self, group: Group, now: float) -> list[Found | None]:
        """See ``Store``."""
        # Before places are taken: who failed and asks again within one group gets the same place.
        returned = self._return(group)
        places = [self._places.take(ask.key) if ask.replay else None for ask in group.asks]
        try:
            with transaction(self._database):
                self._note(group, now)
                found = self._ask(group.asks, places, now) if group.asks else []
                self._send(group, now)
        except BaseException as error:
            for ask, place in zip(group.asks, places, strict=True):
                if place is not None:
                    self._places.give_back(ask.key, place)
            for placed in returned:
                self._places.keep(*placed)
            if isinstance(error, sqlite3.Error):
                raise JournalError(f"The journal {self._path} cannot be written: {error}.") from error
            raise
        self._after(group, places, found)
        return found

    def close(self) -> None:
        """See ``Store``."""
        with suppress(sqlite3.Error):  # whoever opens it next sees that this process is gone
            with transaction(self._database):
                bury(self._database, self._owner or 0)
            self._database.close()
        self._lease.release()

    def disown(self) -> None:
        """See ``Store``."""
        with suppress(sqlite3.Error):
            self._database.close()

    def _return(self, group: Group) -> list[tuple[str, int]]:
        """Give the places of steps back that end without an answer; returns them."""
        rows = [*(end.row for end in group.ended if end.state != "delivered"), *group.released]
        returned = [*group.unread, *(self._placed[row] for row in rows if row in self._placed)]
        for placed in returned:
            self._places.give_back(*placed)
        return returned

    def _after(self, group: Group, places: list[int | None], found: list[Found | None]) -> None:
        """Follow in memory what was committed."""
        for row in (*(end.row for end in group.ended), *group.released):
            self._placed.pop(row, None)
        for ask, place, one in zip(group.asks, places, found, strict=True):
            if place is not None:
                if one is None:
                    self._places.give_back(ask.key, place)
                elif one.ours:
                    self._placed[one.row] = (ask.key, place)

    def _run(self, sql: str, rows: list[Any], *values: object) -> None:
        """Execute one statement over all rows; it reads them with ``json_each(?1)``."""
        if rows:
            self._database.execute(sql, (msgspec.json.encode(rows).decode(), *values))

    def _read(self, sql: str, *values: object) -> list[list[Any]]:
        """Return the rows of a query that puts them all into one JSON array."""
        text = self._database.execute(sql, values).fetchone()[0]
        rows: list[list[Any]] = msgspec.json.decode(text)
        return rows

    def _note(self, group: Group, now: float) -> None:
        """Write what has happened."""
        self._run(
            f"UPDATE batches SET file_id = coalesce({_V1}, file_id), batch_id = coalesce({_V2}, batch_id) "
            f"FROM json_each(?1) WHERE token = {_V0}",
            group.batches,
        )
        self._run(
            f"UPDATE steps SET state = 'accepted', response_id = {_V1}, batch = NULL, updated = ?2 "
            f"FROM json_each(?1) WHERE steps.id = {_V0}",
            group.accepted,
            now,
        )
        self._run(
            "UPDATE steps SET state = 'waiting', updated = ?2 WHERE id IN (SELECT value FROM json_each(?1))",
            group.unsent,
            now,
        )
        self._run(
            f"UPDATE steps SET state = {_V1}, owner = NULL, input_tokens = {_V2}, "
            f"output_tokens = {_V3}, error = {_V4}, updated = ?2 "
            f"FROM json_each(?1) WHERE steps.id = {_V0}",
            group.ended,
            now,
        )
        self._run("UPDATE steps SET owner = 0 WHERE id IN (SELECT value FROM json_each(?1))", group.released)

    def _send(self, group: Group, now: float) -> None:
        """Write what is about to happen, but for steps that were given up in the same group."""
        # The plus keeps SQLite from looking the rows up by their owner, which has all of them.
        self._run(
            "UPDATE steps SET state = 'sending', response_id = NULL, batch = NULL, posts = posts + 1, "
            f"possible_duplicates = possible_duplicates + ({_V1}), updated = ?2 "
            f"FROM json_each(?1) WHERE steps.id = {_V0} AND +steps.owner = ?3",
            group.sending,
            now,
            self._owner,
        )
        for token, rows in group.shipping:
            self._database.execute(
                "INSERT INTO batches (token, kind, lines, created) SELECT ?1, kind, ?2, ?3 FROM steps WHERE id = ?4 "
                "ON CONFLICT (token) DO UPDATE SET lines = excluded.lines, file_id = NULL",
                (token, len(rows), now, rows[0]),
            )
            self._run(
                "UPDATE steps SET state = 'sending', response_id = NULL, line = j.key, posts = posts + 1, "
                "batch = (SELECT id FROM batches WHERE token = ?2), updated = ?3 "
                "FROM json_each(?1) AS j WHERE steps.id = j.value AND +steps.owner = ?4",
                rows,
                token,
                now,
                self._owner,
            )

    def _ask(self, asks: list[Ask], places: list[int | None], now: float) -> list[Found | None]:
        self._sweep()
        keys = sorted({ask.key for ask, place in zip(asks, places, strict=True) if place is None})
        wanted = [(ask.key, place) for ask, place in zip(asks, places, strict=True) if place is not None]
        free, highest = self._free(keys) if keys else ([], {})
        placed = self._at(wanted) if wanted else {}
        matches = match(asks, places, free=free, placed=placed, highest=highest)
        found: list[Found | None] = [None] * len(asks)
        made: list[list[object]] = []
        for number, ordinal in matches.new:
            found[number] = Found(self._next_row, "waiting")
            ask = asks[number]
            made.append([self._next_row, ask.key, ordinal, self._kind(ask.kind), ask.label or None])
            self._next_row += 1
        self._run(
            f"INSERT INTO steps (id, key, ordinal, kind, label, state, owner, created, updated) SELECT {_V0}, "
            f"{_V1}, {_V2}, {_V3}, {_V4}, 'waiting', ?2, ?3, ?3 FROM json_each(?1)",
            made,
            self._owner,
            now,
        )
        taken = {number: row for number, row in enumerate(matches.taken) if row is not None}
        self._claim([row for row in taken.values() if row.owner != -1 and row.state != "delivered"], now)
        jobs = self._jobs([row.row for row in taken.values()]) if taken else {}
        for number, row in taken.items():
            found[number] = _found(row, jobs[row.row], placed=places[number] is not None)
        return found

    def _claim(self, rows: list[Known], now: float) -> None:
        anew = [row.row for row in rows if starts_anew(row)]
        self._run("UPDATE steps SET owner = ?2 WHERE id IN (SELECT value FROM json_each(?1))", [r.row for r in rows],
                  self._owner)  # fmt: skip
        self._run(
            "UPDATE steps SET state = 'waiting', response_id = NULL, batch = NULL, error = NULL, updated = ?2 "
            "WHERE id IN (SELECT value FROM json_each(?1))",
            anew,
            now,
        )

    def _free(self, keys: list[str]) -> tuple[list[Known], dict[str, int]]:
        """Return the open rows of these keys on which nobody works, and the highest ordinals."""
        text = msgspec.json.encode(keys).decode()
        free: list[list[Any]] = []
        if self._database.execute("SELECT EXISTS (SELECT 1 FROM steps WHERE owner = 0)").fetchone()[0]:
            free = self._read(
                f"SELECT json_group_array(json_array(id, key, ordinal, state, owner)) FROM (SELECT {_ROW} "
                "FROM json_each(?1) AS j CROSS JOIN steps AS s "
                "WHERE s.owner = 0 AND s.key = j.value ORDER BY s.key, s.ordinal)",
                text,
            )
        highest = self._read(
            "SELECT json_group_array(json_array(value, m)) FROM (SELECT value, "
            "(SELECT max(ordinal) FROM steps WHERE key = value) AS m FROM json_each(?1)) WHERE m IS NOT NULL",
            text,
        )
        return [Known(*row) for row in free], {str(key): int(ordinal) for key, ordinal in highest}

    def _at(self, wanted: list[tuple[str, int]]) -> dict[tuple[str, int], Known]:
        """Return the rows at these places of their keys."""
        rows = self._read(
            f"SELECT json_group_array(json_array({_ROW})) FROM json_each(?1) AS j CROSS JOIN steps AS s "
            "WHERE s.key = json_extract(j.value, '$[0]') AND s.ordinal = json_extract(j.value, '$[1]')",
            msgspec.json.encode(wanted).decode(),
        )
        known = [Known(*row) for row in rows]
        others = {row.owner for row in known} - {None, 0, self._owner}
        return {(row.key, row.ordinal): row._replace(owner=-1) if row.owner in others else row for row in known}

    def _jobs(self, rows: list[int]) -> dict[int, tuple[str | None, Line | None]]:
        """Return where the jobs of rows are."""
        known = self._read(
            "SELECT json_group_array(json_array(s.id, s.response_id, b.token, s.line, b.batch_id, b.file_id, b.lines"
            ")) FROM json_each(?1) AS j CROSS JOIN steps AS s LEFT JOIN batches AS b ON b.id = s.batch "
            "WHERE s.id = j.value",
            msgspec.json.encode(rows).decode(),
        )
        return {
            row: (response_id, Line(token, line, batch_id, file_id, lines) if token else None)
            for row, response_id, token, line, batch_id, file_id, lines in known
        }

    def _kind(self, kind: Kind) -> int:
        number = self._kinds.get(kind)
        if number is None:
            self._database.execute(
                "INSERT OR IGNORE INTO kinds (account, base_url, endpoint, model, tier, window, run) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                kind,
            )
            number = self._kinds[kind] = self._database.execute(
                "SELECT id FROM kinds WHERE (account, base_url, endpoint, model, tier, window, run) "
                "= (?, ?, ?, ?, ?, ?, ?)",
                kind,
            ).fetchone()[0]
        return number

    def _sweep(self) -> None:
        """Free what processes that have died worked on; refuse to go on in a file that no later process would find."""
        if time.monotonic() - self._swept_at < _SWEEP_EVERY:
            return
        if identity(self._path) != self._file:
            raise JournalError(
                f"The journal {self._path} was deleted or replaced while it was in use; once every engine of this "
                "process that uses it is closed, a new engine makes a new one."
            )
        self._swept_at = time.monotonic()
        others = self._database.execute("SELECT id, lease FROM owners WHERE id != ?", (self._owner,)).fetchall()
        for owner, lease in others:
            if not is_held(self._leases, lease):
                bury(self._database, owner)

    def _prune(self, now: float) -> None:
        """Forget what can be of no use any more."""
        self._database.execute(
            "DELETE FROM steps WHERE owner IS NULL AND updated < "
            "CASE WHEN (SELECT run FROM kinds WHERE id = kind) = '' THEN ?1 ELSE ?2 END",
            (now - _KEPT_OTHERWISE, now - _KEPT),
        )
        self._database.execute(
            "DELETE FROM batches WHERE created < ?1 AND id NOT IN (SELECT batch FROM steps WHERE batch IS NOT NULL)",
            (now - _KEPT,),
        )


def bury(database: sqlite3.Connection, owner: int) -> int:
    """Free what a process worked on that works no more; inside a transaction.

    Returns:
        How many steps it had not sent: there is nothing to remember of them.
    """
    unsent = database.execute("DELETE FROM steps WHERE owner = ? AND state = 'waiting'", (owner,)).rowcount
    database.execute("UPDATE steps SET owner = 0 WHERE owner = ?", (owner,))
    database.execute("DELETE FROM owners WHERE id = ?", (owner,))
    return unsent


def _found(row: Known, job: tuple[str | None, Line | None], *, placed: bool) -> Found:
    response_id, line = job
    if starts_anew(row):
        return Found(row.row, "waiting")
    ours = row.owner != -1 and row.state != "delivered"
    return Found(
        row.row,
        row.state,
        response_id,
        line,
        ours=ours,
        replayed=row.state == "delivered",
        place=(row.key, row.ordinal) if placed and not ours else None,
    )
