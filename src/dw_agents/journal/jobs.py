# ruff: noqa: S608 - the statements are put together from constants of this module alone
"""The journal as people look at it.

Owns: reading its steps and batches, whoever wrote them, for the commands `dw-agents jobs ...`. What the commands write
is ``amend.py``'s. Takes no part in the work: it holds no rows and no lease. Must not import the engine or the routes.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, get_args

import msgspec

from dw_agents.errors import JournalError
from dw_agents.journal.leases import is_held
from dw_agents.journal.rows import OPEN, Kind, State, storable
from dw_agents.journal.schema import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["OPEN_STATES", "STATES", "Entry", "Jobs", "Owner", "Selection", "SentBatch"]

STATES: Final[tuple[State, ...]] = get_args(State)
"""In the order of a step's life."""
OPEN_STATES: Final[tuple[State, ...]] = tuple(state for state in STATES if state in OPEN)

_SHORTEST_PREFIX: Final = 4
_ROW_ID: Final = re.compile(r"(\d{1,10})-(\d{1,10})")
_NUMBER_BITS: Final = 32
_MOST_OWNERS: Final = (1 << 31) - 1
_LONGEST_NUMBER: Final = 10
"""Digits; SQLite takes no number of any length."""

_STATE: Final = "CASE WHEN s.state = 'sending' AND b.batch_id IS NOT NULL THEN 'accepted' ELSE s.state END"
_FROM: Final = "FROM steps AS s JOIN kinds AS k ON k.id = s.kind LEFT JOIN batches AS b ON b.id = s.batch"
_SELECT: Final = f"""
    SELECT s.id, s.key, s.ordinal, {_STATE}, s.state, s.label, s.owner, s.response_id, s.line, s.posts,
    s.possible_duplicates, s.input_tokens, s.output_tokens, s.error, s.created, s.updated,
    k.account, k.base_url, k.endpoint, k.model, k.tier, k.window, k.run,
    b.id, b.token, b.batch_id, b.file_id, b.lines, b.created {_FROM}
"""


class Owner(NamedTuple):
    """Who works on a step, or did when it died."""

    pid: int | None
    alive: bool


class SentBatch(NamedTuple):
    """A batch that steps were sent in; see ``rows.Line``.

    Attributes:
        number: the journal's, for it.
        created: wall-clock seconds of when it was about to be sent.
    """

    number: int
    token: str
    batch_id: str | None
    file_id: str | None
    lines: int
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One step, with all that the journal knows of it.

    Attributes:
        row: the journal's number for it.
        key: equal for equal work.
        ordinal: which one of its key's steps it is, from 0.
        state: where it is on its way; a line of a batch that is known to be at the service counts as ``accepted``.
        written: the state as it stands in the file, which knows no ``accepted`` lines.
        owner: who works on it; None where nobody does.
        posts: how often it was sent.
        possible_duplicates: how many of these the service may have accepted without our knowing.
        created, updated: wall-clock seconds.
    """

    row: int
    key: str
    ordinal: int
    state: State
    written: State
    kind: Kind
    label: str
    owner: Owner | None
    response_id: str | None
    batch: SentBatch | None
    line: int | None
    posts: int
    possible_duplicates: int
    input_tokens: int | None
    output_tokens: int | None
    error: str | None
    created: float
    updated: float

    @property
    def id(self) -> str:
        """What people type: the number of the process that asked the step first, and which one of its steps."""
        return f"{self.row >> _NUMBER_BITS}-{self.row & (1 << _NUMBER_BITS) - 1}"

    @property
    def job(self) -> str | None:
        """Where it is at the service: a response id, or ``batch/line``; None where that is not known."""
        if self.batch is not None and self.batch.batch_id is not None:
            return f"{self.batch.batch_id}/{self.line}"
        return self.response_id

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN

    @property
    def held(self) -> bool:
        """Whether a living process works on it."""
        return self.owner is not None and self.owner.alive

    @property
    def unknown(self) -> bool:
        """Whether it was being sent when its process died, so that nobody knows whether it was accepted."""
        return self.state == "sending" and not self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which steps are meant; what is None does not matter.

    Attributes:
        account: the mark of one account.
        run: the name of one run; empty for steps of none.
        states: see ``Entry.state``.
        created_before, created_after: wall-clock seconds.
    """

    account: str | None = None
    run: str | None = None
    states: frozenset[State] | None = None
    created_before: float | None = None
    created_after: float | None = None


class Jobs:
    """A journal's file, open for looking.

    Args:
        path: of a journal that is there.

    Raises:
        JournalError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.leases = path.with_name(path.name + "-leases")
        self.database = connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def entries(self, selection: Selection) -> list[Entry]:
        """Return the steps that are meant, in the order in which they were first asked.

        Raises:
            JournalError: the file cannot be read.
        """
        return self._read(
            f"WHERE (?1 IS NULL OR k.account = ?1) AND (?2 IS NULL OR k.run = ?2) AND (?3 IS NULL OR s.created < ?3) "
            f"AND (?4 IS NULL OR s.created > ?4) AND (?5 IS NULL OR {_STATE} IN (SELECT value FROM json_each(?5)))",
            selection.account,
            None if selection.run is None else storable(selection.run),
            selection.created_before,
            selection.created_after,
            None if selection.states is None else msgspec.json.encode(sorted(selection.states)).decode(),
        )

    def open_lines(self, batch: SentBatch) -> list[Entry]:
        """Return the steps of a batch that have not ended.

        Raises:
            JournalError: the file cannot be read.
        """
        return [entry for entry in self._read("WHERE s.batch = ?1", batch.number) if entry.open]

    def find(self, ident: str, account: str | None) -> list[Entry]:
        """Return the steps that an id stands for: several where it is a batch's, or where it is too short.

        Args:
            ident: of a step, as ``Entry.id``; or the beginning (four characters at least) of a response id, with or
                without ``resp_``, or of a batch's id, with ``/line`` behind a whole one for one step of it.
            account: the mark of the account whose steps count; None for all.

        Raises:
            JournalError: the file cannot be read.
        """
        mine = "AND (?2 IS NULL OR k.account = ?2)"
        numbers = _ROW_ID.fullmatch(ident)
        if numbers is not None and int(numbers[1]) <= _MOST_OWNERS and int(numbers[2]) >> _NUMBER_BITS == 0:
            found = self._read(f"WHERE s.id = ?1 {mine}", (int(numbers[1]) << _NUMBER_BITS) + int(numbers[2]), account)
            if found:
                return found
        ident = storable(ident)
        batch, _, line = ident.rpartition("/")
        if batch and line.isdecimal() and len(line) <= _LONGEST_NUMBER:
            return self._read(f"WHERE b.batch_id = ?1 {mine} AND s.line = ?3", batch, account, int(line))
        if len(ident.removeprefix("resp_")) < _SHORTEST_PREFIX:
            return []
        return self._read(
            f"WHERE (substr(s.response_id, 1, length(?1)) = ?1 OR substr(s.response_id, 6, length(?1)) = ?1 "
            f"OR substr(b.batch_id, 1, length(?1)) = ?1) {mine}",
            ident,
            account,
        )

    def elsewhere(self, account: str) -> int:
        """Count the open steps of other accounts.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading():
            found: int = self.database.execute(
                "SELECT count(*) FROM steps AS s JOIN kinds AS k ON k.id = s.kind WHERE k.account != ? AND s.state IN "
                "(SELECT value FROM json_each(?))",
                (account, msgspec.json.encode(sorted(OPEN)).decode()),
            ).fetchone()[0]
        return found

    def tokens(self) -> set[str]:
        """Return the tokens of all batches that the journal knows.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading():
            return {token for (token,) in self.database.execute("SELECT token FROM batches")}

    def usage(self) -> Mapping[tuple[str, str, str], tuple[int, int, int]]:
        """Add up what answered steps came to.

        Returns:
            By (model, tier, window): how many there were, their input tokens and their output tokens.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading():
            return {
                (model, tier, window): (steps, input_tokens, output_tokens)
                for model, tier, window, steps, input_tokens, output_tokens in self.database.execute(
                    "SELECT k.model, k.tier, k.window, count(*), sum(s.input_tokens), sum(s.output_tokens) "
                    "FROM steps AS s JOIN kinds AS k ON k.id = s.kind WHERE s.state = 'delivered' "
                    "AND s.input_tokens IS NOT NULL AND s.output_tokens IS NOT NULL GROUP BY 1, 2, 3"
                )
            }

    def owners(self) -> dict[int, Owner]:
        """Return who has the journal open, or had it when they died.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading():
            rows = self.database.execute("SELECT id, lease, pid FROM owners").fetchall()
        return {number: Owner(pid, is_held(self.leases, lease)) for number, lease, pid in rows}

    def _read(self, where: str, *values: object) -> list[Entry]:
        owners = self.owners()
        with self._reading():
            rows = self.database.execute(f"{_SELECT} {where} ORDER BY s.created, s.id", values).fetchall()
        return [_entry(row, owners) for row in rows]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"The journal {self.path} cannot be read: {error}.") from error


def _entry(row: tuple[Any, ...], owners: Mapping[int, Owner]) -> Entry:
    (
        number, key, ordinal, state, written, label, owner, response_id, line, posts, possible_duplicates, input_tokens,
        output_tokens, error, created, updated, *rest,
    ) = row  # fmt: skip
    kind, batch = rest[:7], rest[7:]
    return Entry(
        row=number,
        key=key,
        ordinal=ordinal,
        state=state,
        written=written,
        kind=Kind(*kind),
        label=label or "",
        # A process that gave its rows up in good order between the two reads is as gone as one that died.
        owner=owners.get(owner, Owner(None, alive=False)) if owner else None,
        response_id=response_id,
        batch=SentBatch(*batch) if batch[0] is not None else None,
        line=line if batch[0] is not None else None,
        posts=posts,
        possible_duplicates=possible_duplicates,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        error=error,
        created=created,
        updated=updated,
    )
