"""What the journal keeps, and what it tells.

Owns: the states of a step on its way, the records that cross between the engine and the store, and the key by which an
equal step is known again. Must not do I/O.

    waiting ──> sending ──> accepted ──> settled ──> delivered
       │           │            │                        the answer reached its caller
       │           │            ├──> failed, lost        it ended without one
       └───────────┴────────────┴──> cancelled           nobody wants it any more

``waiting`` was not sent. ``sending`` was or is about to be: what a process that died in this state leaves behind is
unknown. ``settled`` is set by ``dw-agents jobs wait``: it ended at the service, and no caller has it yet.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from dw_agents.config import Account
    from dw_agents.step import Step

__all__ = [
    "ENDED", "OPEN", "Ask", "BatchNews", "End", "Found", "Group", "Kind", "Line", "State", "Store", "account_mark",
    "step_key", "storable",
]  # fmt: skip

State = Literal["waiting", "sending", "accepted", "settled", "delivered", "failed", "lost", "cancelled"]

OPEN: Final[frozenset[State]] = frozenset({"waiting", "sending", "accepted", "settled"})
ENDED: Final[frozenset[State]] = frozenset({"delivered", "failed", "lost", "cancelled"})


class Kind(NamedTuple):
    """What many steps have in common; stored once."""

    account: str
    base_url: str
    endpoint: str
    model: str
    tier: str
    window: str
    run: str


class Ask(NamedTuple):
    """A step that is asked.

    Attributes:
        key: of ``step_key``.
        replay: whether a delivered answer may be given again: the step belongs to a named run or to a scope.
        kind: what it has in common with others.
        label: for people.
    """

    key: str
    replay: bool
    kind: Kind
    label: str


class Line(NamedTuple):
    """Where a step is in a batch.

    Attributes:
        token: unique to the batch, in its metadata and its file's name.
        number: of the line, from 0; the ``custom_id`` is ``token-number``.
        batch_id: None as long as its creation is not confirmed.
        file_id: None as long as its upload is not confirmed.
        lines: how many the batch has.
    """

    token: str
    number: int
    batch_id: str | None
    file_id: str | None
    lines: int


class Found(NamedTuple):
    """What a step that is asked gets.

    Attributes:
        row: the journal's number for it.
        state: ``waiting``: it is to be submitted; ``sending``: it may have been accepted, and nobody knows;
            else there is a job, to be read.
        response_id: of the job, unless it is a line.
        line: of the batch.
        ours: False for a job of another process that is alive, or one whose answer was delivered before: reading it
            changes nothing in the journal.
        replayed: whether it was delivered before.
        place: of a job that is not ours in a named run: its key and which of the key's rows it is. To be given back
            when the answer could not be read, so that the next ask gets the same.
    """

    row: int
    state: State
    response_id: str | None = None
    line: Line | None = None
    ours: bool = True
    replayed: bool = False
    place: tuple[str, int] | None = None


class End(NamedTuple):
    """How a step ended."""

    row: int
    state: State
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None


class BatchNews(NamedTuple):
    """What became known of a batch."""

    token: str
    file_id: str | None = None
    batch_id: str | None = None


@dataclass
class Group:
    """Changes that are committed together.

    Attributes:
        accepted: (row, response id).
        unsent: rows whose submission surely was not accepted.
        ended: steps that ended.
        released: rows that go on at the service with nobody here to wait.
        unread: places of answers of others' that were not read after all.
        asks: each gets one ``Found``, or None for "ask again soon".
        sending: (row, whether the one before may have been accepted).
        shipping: (token, rows in the order of their lines).
        batches: news of batches.
    """

    accepted: list[tuple[int, str]] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)
    ended: list[End] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    unread: list[tuple[str, int]] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    sending: list[tuple[int, bool]] = field(default_factory=list)
    shipping: list[tuple[str, list[int]]] = field(default_factory=list)
    batches: list[BatchNews] = field(default_factory=list)


class Store(Protocol):
    """Where rows are kept. Used by one thread; several processes may have the same rows open."""

    def apply(self, group: Group, now: float) -> list[Found | None]:
        """Commit a group durably, all or nothing; returns what its asks got.

        Args:
            group: the changes.
            now: wall-clock seconds.

        Raises:
            JournalError: nothing of it was kept.
        """

    def close(self) -> None:
        """Give up every row of this process and close."""

    def disown(self) -> None:
        """Close in a forked child, where every row is the parent's."""


def account_mark(account: Account) -> str:
    """Return what stands for an account in the journal: nothing that leads back to its key."""
    secret = account.api_key.get_secret_value().encode()
    return hashlib.blake2b(account.base_url.encode(), key=hashlib.sha256(secret).digest(), digest_size=6).hexdigest()


def storable(text: str) -> str:
    """Return a label or a run's name as the file can hold it: what is no text of Unicode is escaped."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def step_key(mark: str, run: str, step: Step, body: bytes) -> str:
    """Return the key of a step: equal for equal work, whatever process asks.

    Args:
        mark: of the account, which holds its address.
        run: the run that the step belongs to.
        step: says where it goes and in which scope.
        body: as it is sent.
    """
    head = "\0".join((mark, run, step.scope, step.endpoint, step.service_tier, step.completion_window or ""))
    # What comes from the command line or the environment may hold what no UTF-8 can.
    return hashlib.blake2b(b"%b\0%b" % (head.encode(errors="surrogatepass"), body), digest_size=16).hexdigest()
