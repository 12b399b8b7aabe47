"""Stored batches: what a batch is, the states of its lines, and the store that finds them.

Owns: ``Batch`` and ``BatchStore``. Must not import routes, the runner or backends.
"""

from __future__ import annotations

import uuid
from array import array
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dw_agents.emulator.filestore import plain_uuid

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.filestore import StoredFile

__all__ = ["CANCELLED", "COMPLETED", "FAILED", "PENDING", "RUNNING", "Batch", "BatchState", "BatchStore", "mentions"]

BatchState = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = range(5)
"""States of one line."""

_UNFINISHED = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_LINE_BITS = 32


class Batch:
    """One batch. Times are service time in Unix seconds.

    Attributes:
        id: bare UUID, or ``batch_...`` in the OpenAI profile.
        owner: whose it is.
        endpoint: as given.
        window: the completion window as given.
        metadata: as given.
        input: the uploaded file; ``None`` once it was deleted.
        filename: name of the uploaded file.
        output: the file of answers.
        errors: the file of failures.
        state: where it is in its life.
        created: when it was accepted.
        expires: when its window ends.
        stamps: the other times by their names in the API, such as ``in_progress_at``.
        problems: what stands under ``errors.data`` of a batch that failed as a whole.
        faults: the faults that strike it.
        models: lines by model.
        enqueued: in the OpenAI profile: tokens that count against the limit, once its lines have been checked.
        total: number of its lines, zero until they have been read.
        completed: lines with an answer.
        failed: lines without one.
        cancelled: lines that were cancelled.
        lines: state of each line, by its number in the input file.
        rows: for each line, the number of its result in the output or error file; -1 while it has none.
        error_order: for each line of the error file, the number of its input line.
        usage: tokens so far: ``prompt``, ``completion``, ``reasoning``.
        busy: service seconds that its lines took, summed.
        tasks: what runs it.
        deleted: whether clients see it no more.
    """

    def __init__(
        self,
        ident: str,
        *,
        source: StoredFile,
        output: StoredFile,
        errors: StoredFile,
        endpoint: str,
        window: str,
        metadata: dict[str, str] | None,
        created: float,
        expires: float,
        faults: Sequence[Fault] = (),
    ) -> None:
        self.id = ident
        self.owner = source.owner
        self.endpoint = endpoint
        self.window = window
        self.metadata = metadata
        self.input: StoredFile | None = source
        self.filename = source.filename
        self.models = dict(source.models)
        self.output = output
        self.errors = errors
        self.state: BatchState = "validating"
        self.created = created
        self.expires = expires
        self.stamps: dict[str, float] = {}
        self.problems: list[dict[str, Any]] = []
        self.faults = tuple(faults)
        self.enqueued = 0
        self.total = self.completed = self.failed = self.cancelled = 0
        self.lines = bytearray()
        self.rows = array("l")
        self.error_order = array("L")
        self.usage = {"prompt": 0, "completion": 0, "reasoning": 0}
        self.busy = 0.0
        self.tasks: set[asyncio.Task[None]] = set()
        self.deleted = False
        # The id of a line is the batch's own random part and the number of the line: nothing to store.
        self._line_ids = uuid.uuid4().int >> _LINE_BITS << _LINE_BITS
        output.batch = errors.batch = self

    @property
    def unfinished(self) -> bool:
        """Whether lines of it may still be run, and paid for."""
        return self.state in _UNFINISHED and not self.deleted

    @property
    def hides_output(self) -> bool:
        """Whether a fault says that it has no output file."""
        return any(fault.kind == "no_output_file" for fault in self.faults)

    @property
    def settled(self) -> bool:
        """Whether every line has its last state."""
        return self.completed + self.failed + self.cancelled == self.total

    def waiting(self, model: str) -> int:
        """About how many lines of a model are still to be run: all of one that has not begun."""
        lines = self.models.get(model, 0)
        if not self.total:
            return lines
        return lines * (self.total - self.completed - self.failed - self.cancelled) // self.total

    def line_id(self, number: int) -> str:
        """The UUID of a line, without ``batch_req_``."""
        return str(uuid.UUID(int=self._line_ids + number))

    def line_number(self, ident: str) -> int | None:
        """The number of the line with this UUID (``batch_req_`` is taken off), or ``None``."""
        plain = plain_uuid(ident.removeprefix("batch_req_"))
        if plain is None:
            return None
        number = uuid.UUID(plain).int - self._line_ids
        return number if 0 <= number < self.total else None

    def stamp(self, name: str, now: float) -> None:
        """Note when something happened, the first time that it does."""
        self.stamps.setdefault(name, now)

    def populate(self, count: int, now: float) -> None:
        """Validating to in progress, with ``count`` lines."""
        self.total = count
        self.lines = bytearray(count)
        self.rows = array("l", [-1]) * count
        self.state = "in_progress"
        self.stamp("in_progress_at", now)

    def settle(self, number: int, state: int) -> None:
        """Give one line its last state."""
        self.lines[number] = state
        if state == COMPLETED:
            self.completed += 1
        elif state == FAILED:
            self.failed += 1
        else:
            self.cancelled += 1

    def reopen(self, numbers: Iterable[int]) -> None:
        """Put failed and cancelled lines back to pending, and the batch back to work."""
        for number in numbers:
            if self.lines[number] == FAILED:
                self.failed -= 1
            elif self.lines[number] == CANCELLED:
                self.cancelled -= 1
            self.lines[number] = PENDING
            self.rows[number] = -1
        self.state = "in_progress"
        for name in ("cancelling_at", "cancelled_at", "failed_at", "completed_at", "finalizing_at"):
            self.stamps.pop(name, None)

    def cancel_rest(self) -> None:
        """Cancel every line that has no last state."""
        for number, state in enumerate(self.lines):
            if state in (PENDING, RUNNING):
                self.settle(number, CANCELLED)

    def stop(self) -> None:
        """Stop what runs it."""
        for task in self.tasks:
            task.cancel()

    def __repr__(self) -> str:
        counts = f"{self.completed}+{self.failed}+{self.cancelled}/{self.total}"
        return f"<Batch {self.id} {self.state} {counts} {self.endpoint}>"


class BatchStore:
    """Every batch since the start; lists are safe to take from any thread.

    Args:
        now: service time, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._batches: dict[str, Batch] = {}

    def add(self, batch: Batch) -> None:
        """Store a batch."""
        self._batches[batch.id] = batch

    def get(self, ident: str) -> Batch | None:
        """The batch of an id, whosever it is, deleted ones included."""
        return self._batches.get(ident) or self._batches.get(plain_uuid(ident) or "")

    def find(self, ident: str, owner: str, *, visible_after: float = 0.0) -> Batch | None:
        """The batch as a client may see it: its own, not deleted, old enough for the read replica.

        Args:
            ident: id as sent.
            owner: who asks.
            visible_after: service seconds between acceptance and the first sight of a batch.
        """
        batch = self.get(ident)
        return batch if batch is not None and self._shows(batch, owner, visible_after) else None

    def listed(self, owner: str, *, visible_after: float) -> list[Batch]:
        """What a client may see, newest first."""
        return [batch for batch in reversed(self.all()) if self._shows(batch, owner, visible_after)]

    def all(self) -> list[Batch]:
        """Every batch, oldest first."""
        return list(self._batches.values())

    def unfinished(self) -> list[Batch]:
        """The batches whose lines may still be run."""
        return [batch for batch in self.all() if batch.unfinished]

    def _shows(self, batch: Batch, owner: str, visible_after: float) -> bool:
        return (
            batch.owner == owner
            and not batch.deleted
            and (not visible_after or self._now() >= batch.created + visible_after)
        )


def mentions(batch: Batch, text: str) -> bool:
    """Whether the metadata (as JSON text), the input's filename or the id of a batch hold ``text``."""
    wanted = text.lower()
    told = msgspec.json.encode(batch.metadata or {}).decode()
    return any(wanted in place.lower() for place in (told, batch.filename, batch.id))
