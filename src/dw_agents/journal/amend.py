# ruff: noqa: S608 - the statements are put together from constants of this module alone
"""What people change in the journal from outside of an engine.

Owns: the writing of the commands `dw-agents jobs ...`. Every change is one short transaction, and is made only to rows
that still are as they were read and that no other process works on: an engine may take a row over at any time. Must not
import the engine or the routes.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

import msgspec

from dw_agents.errors import JournalError
from dw_agents.journal.leases import Lease
from dw_agents.journal.schema import transaction
from dw_agents.journal.sqlite import bury as bury_one

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from dw_agents.journal.jobs import Entry, Jobs
    from dw_agents.journal.rows import State

__all__ = ["Hold", "adopt", "attach", "bury", "end", "prune", "settle", "unsend"]

_AT_ONCE: Final = 5_000
"""Rows of one transaction: a larger one would keep engines waiting."""
_BATCHES_KEPT: Final = 30 * 86_400.0
"""Seconds for which the service keeps the files of a batch."""

_SAME: Final = """
    id IN (SELECT s.id FROM json_each(?1) AS j CROSS JOIN steps AS s ON s.id = json_extract(j.value, '$[0]')
    WHERE +s.owner IS ?2 AND s.state = json_extract(j.value, '$[1]')
    AND s.response_id IS json_extract(j.value, '$[2]') AND s.batch IS json_extract(j.value, '$[3]'))
"""
"""The rows that are as they were read, and whose owner is the second value; found by their numbers, whatever SQLite
thinks of its index of owners."""
_NOBODY: Final = 0


def bury(jobs: Jobs) -> int:
    """Free what processes that have died worked on, as an engine does when it next looks.

    Returns:
        How many steps had not been sent; nothing is remembered of them.

    Raises:
        JournalError: the file cannot be written.
    """
    dead = [number for number, owner in jobs.owners().items() if not owner.alive]
    if not dead:
        return 0
    with _writing(jobs):
        return sum(bury_one(jobs.database, owner) for owner in dead)


def settle(jobs: Jobs, entries: Iterable[Entry], now: float) -> int:
    """Note that jobs have ended at the service and that their answers wait there; returns how many rows changed.

    Raises:
        JournalError: the file cannot be written.
    """
    return sum(_settle(jobs, part, now, _NOBODY) for part in _parts(entries))


def end(jobs: Jobs, entries: Iterable[Entry], state: State, now: float, error: str | None = None) -> int:
    """Note that steps have ended on which nobody works; returns how many rows changed.

    Raises:
        JournalError: the file cannot be written.
    """
    return sum(_end(jobs, part, state=state, now=now, error=error, owner=_NOBODY) for part in _parts(entries))


def unsend(jobs: Jobs, entries: Iterable[Entry]) -> int:
    """Forget steps that surely were not accepted, as if they had never been sent; returns how many rows went.

    Raises:
        JournalError: the file cannot be written.
    """
    changed = 0
    for part in _parts(entries):
        with _writing(jobs):
            changed += jobs.database.execute(f"DELETE FROM steps WHERE {_SAME}", (_as_read(part), _NOBODY)).rowcount
    return changed


def attach(jobs: Jobs, token: str, batch_id: str) -> None:
    """Note the service's id of a batch.

    Raises:
        JournalError: the file cannot be written.
    """
    with _writing(jobs):
        jobs.database.execute(
            "UPDATE batches SET batch_id = coalesce(batch_id, ?2) WHERE token = ?1", (token, batch_id)
        )


def adopt(jobs: Jobs, entry: Entry, response_id: str, state: State, now: float) -> bool:
    """Give a step whose outcome was unknown its job at the service.

    Args:
        jobs: the journal.
        entry: the step.
        response_id: the job's.
        state: ``accepted``, or ``settled`` where the job has ended.
        now: wall-clock seconds.

    Returns:
        Whether the row was still as it was read.

    Raises:
        JournalError: the file cannot be written.
    """
    with _writing(jobs):
        changed = jobs.database.execute(
            f"UPDATE steps SET state = ?3, response_id = ?4, updated = ?5 WHERE {_SAME}",
            (_as_read([entry]), _NOBODY, state, response_id, now),
        ).rowcount
    return changed == 1


def prune(jobs: Jobs, *, before: float, account: str | None, open_too: bool, now: float) -> tuple[int, int]:
    """Forget steps that last changed before some time.

    Args:
        jobs: the journal.
        before: wall-clock seconds.
        account: the mark of the account whose steps go; None for all.
        open_too: also those that have not ended, where nobody works on them.
        now: wall-clock seconds.

    Returns:
        How many ended steps went, and how many open ones.

    Raises:
        JournalError: the file cannot be written.
    """
    gone = [_delete(jobs, "s.owner IS NULL", before, account)]
    gone.append(_delete(jobs, "s.owner = 0", before, account) if open_too else 0)
    with _writing(jobs):
        jobs.database.execute(
            "DELETE FROM batches WHERE created < ?1 AND id NOT IN (SELECT batch FROM steps WHERE batch IS NOT NULL)",
            (now - _BATCHES_KEPT,),
        )
    return gone[0], gone[1]


class Hold:
    """This process as the owner of some rows, so that no engine takes them over meanwhile.

    Args:
        jobs: the journal.

    Raises:
        JournalError: the file cannot be written.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def __enter__(self) -> Self:
        try:
            self._lease = Lease(self._jobs.leases)
        except OSError as error:
            raise JournalError(f"The journal {self._jobs.path} cannot be written: {error}.") from error
        with _writing(self._jobs):
            self._owner = self._jobs.database.execute(
                "INSERT INTO owners (lease, pid, since) VALUES (?, ?, ?)", (self._lease.name, os.getpid(), time.time())
            ).lastrowid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(JournalError), _writing(self._jobs):  # whoever looks next sees that this process is gone
            self._jobs.database.execute("UPDATE steps SET owner = 0 WHERE owner = ?", (self._owner,))
            self._jobs.database.execute("DELETE FROM owners WHERE id = ?", (self._owner,))
        self._lease.release()

    def take(self, entries: Sequence[Entry]) -> list[Entry]:
        """Take rows over on which nobody works; returns those that were still as they were read.

        Raises:
            JournalError: the file cannot be written.
        """
        with _writing(self._jobs):
            same = {
                row
                for (row,) in self._jobs.database.execute(
                    f"SELECT id FROM steps WHERE {_SAME}", (_as_read(entries), _NOBODY)
                )
            }
            self._jobs.database.execute(
                "UPDATE steps SET owner = ?2 WHERE id IN (SELECT value FROM json_each(?1))",
                (msgspec.json.encode(sorted(same)).decode(), self._owner),
            )
        return [entry for entry in entries if entry.row in same]

    def end(self, entries: Sequence[Entry], state: State, now: float, error: str | None = None) -> None:
        """Note how steps ended that were taken.

        Raises:
            JournalError: the file cannot be written.
        """
        _end(self._jobs, entries, state=state, now=now, error=error, owner=self._owner)

    def settle(self, entries: Sequence[Entry], now: float) -> None:
        """Note that jobs have ended at the service whose steps were taken.

        Raises:
            JournalError: the file cannot be written.
        """
        _settle(self._jobs, entries, now, self._owner)


def _settle(jobs: Jobs, entries: Sequence[Entry], now: float, owner: int | None) -> int:
    with _writing(jobs):
        return jobs.database.execute(
            f"UPDATE steps SET state = 'settled', updated = ?3 WHERE {_SAME}", (_as_read(entries), owner, now)
        ).rowcount


def _end(
    jobs: Jobs, entries: Sequence[Entry], *, state: State, now: float, error: str | None, owner: int | None
) -> int:
    with _writing(jobs):
        return jobs.database.execute(
            f"UPDATE steps SET state = ?3, error = ?4, updated = ?5, owner = NULL WHERE {_SAME}",
            (_as_read(entries), owner, state, error, now),
        ).rowcount


def _delete(jobs: Jobs, which: str, before: float, account: str | None) -> int:
    gone, last = 0, _AT_ONCE
    while last == _AT_ONCE:
        with _writing(jobs):
            last = jobs.database.execute(
                "DELETE FROM steps WHERE id IN (SELECT s.id FROM steps AS s JOIN kinds AS k ON k.id = s.kind "
                f"WHERE {which} AND s.updated < ?1 AND (?2 IS NULL OR k.account = ?2) LIMIT ?3)",
                (before, account, _AT_ONCE),
            ).rowcount
        gone += last
    return gone


def _as_read(entries: Iterable[Entry]) -> str:
    """Say how rows were when they were read, for ``_SAME``."""
    return msgspec.json.encode(
        [
            (entry.row, entry.written, entry.response_id, entry.batch.number if entry.batch is not None else None)
            for entry in entries
        ]
    ).decode()


def _parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    every = list(entries)
    for start in range(0, len(every), _AT_ONCE):
        yield every[start : start + _AT_ONCE]


@contextmanager
def _writing(jobs: Jobs) -> Iterator[None]:
    try:
        with transaction(jobs.database):
            yield
    except sqlite3.Error as error:
        raise JournalError(f"The journal {jobs.path} cannot be written: {error}.") from error
