"""Stored files: uploaded ones, and the output and error files of batches.

Owns: ``StoredFile`` and ``FileStore``. Must not import routes or the service.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dw_agents.emulator.spool import Spool

if TYPE_CHECKING:
    from dw_agents.emulator.batchstore import Batch

__all__ = ["FileStore", "Purpose", "StoredFile", "new_object_id", "plain_uuid"]

Purpose = Literal["batch", "batch_output", "batch_error"]


def new_object_id(kind: Literal["file", "batch"], *, openai: bool) -> str:
    """A fresh id: a bare UUID, or at OpenAI ``file-...`` and ``batch_...``."""
    ident = uuid.uuid4()
    if not openai:
        return str(ident)
    return f"{kind}{'-' if kind == 'file' else '_'}{ident.hex}"


def plain_uuid(text: str) -> str | None:
    """The usual spelling of a UUID in any of its spellings; ``None`` when it is none."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


class StoredFile:
    """One file.

    Attributes:
        id: bare UUID, or ``file-...`` in the OpenAI profile.
        owner: whose it is.
        filename: as uploaded.
        purpose: ``batch``, ``batch_output`` or ``batch_error``.
        created: service time, Unix seconds.
        expires: service time from which it shows as expired, or ``None``.
        spool: its lines.
        models: for uploads: lines by model.
        batch: for output and error files: the batch that writes it.
    """

    def __init__(
        self,
        ident: str,
        *,
        owner: str,
        filename: str,
        purpose: Purpose,
        created: float,
        expires: float | None = None,
        batch: Batch | None = None,
    ) -> None:
        self.id = ident
        self.owner = owner
        self.filename = filename
        self.purpose = purpose
        self.created = created
        self.expires = expires
        self.spool = Spool()
        self.models: Counter[str] = Counter()
        self.batch = batch

    def lines(self) -> list[Any]:
        """Every line, decoded; for tests. The undecodable ones come as bytes."""
        found: list[Any] = []
        for number in range(len(self.spool)):
            line = self.spool.line(number)
            try:
                found.append(msgspec.json.decode(line))
            except msgspec.DecodeError:
                found.append(line)
        return found

    def __repr__(self) -> str:
        return f"<StoredFile {self.id} {self.purpose} {self.filename!r} {len(self.spool)} lines>"


class FileStore:
    """Every file that can be seen, oldest first; lists are safe to take from any thread."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}

    def add(self, file: StoredFile) -> None:
        """Store a file."""
        self._files[file.id] = file

    def get(self, ident: str) -> StoredFile | None:
        """The file of an id, whosever it is."""
        return self._files.get(ident) or self._files.get(plain_uuid(ident) or "")

    def remove(self, file: StoredFile) -> None:
        """Forget a file and give its space back."""
        del self._files[file.id]
        file.spool.close()

    def all(self) -> list[StoredFile]:
        """Every file, oldest first."""
        return list(self._files.values())

    def close(self) -> None:
        """Give the space of every file back."""
        for file in self.all():
            file.spool.close()
