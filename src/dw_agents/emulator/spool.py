"""Lines kept in order without filling the memory: the bytes behind every file of the batch route.

Owns: ``Spool``. Must not know what the lines mean.
"""

from __future__ import annotations

import tempfile
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

__all__ = ["Spool"]

_IN_MEMORY = 1 << 20
_PIECE = 1 << 18


class Spool:
    """An append-only list of lines: the newest megabyte in memory, the rest in an unnamed temporary file."""

    def __init__(self) -> None:
        self._ends = array("Q")
        self._tail = bytearray()
        self._spilled = 0
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        """Number of lines."""
        return len(self._ends)

    @property
    def size(self) -> int:
        """Bytes of all lines, line feeds included."""
        return self._ends[-1] if self._ends else 0

    def append(self, line: bytes) -> None:
        """Add one line, given without its line feed."""
        self._tail += line
        self._tail += b"\n"
        self._ends.append(self._spilled + len(self._tail))
        if len(self._tail) > _IN_MEMORY:
            self._spill()

    def line(self, number: int) -> bytes:
        """One line, counted from zero, without its line feed."""
        return self._read(self._start(number), self._ends[number] - 1)

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """Whole lines ``first`` up to, not including, ``last``, in pieces of moderate size.

        Args:
            first: number of the first line.
            last: where to stop; ``None`` goes to the end, lines included that are added meanwhile.
        """
        number = first
        while number < (len(self) if last is None else min(last, len(self))):
            start, stop = self._start(number), number + 1
            limit = len(self) if last is None else min(last, len(self))
            while stop < limit and self._ends[stop] - start <= _PIECE:
                stop += 1
            yield self._read(start, self._ends[stop - 1])
            number = stop

    def close(self) -> None:
        """Give the temporary file back; what was in it cannot be read any more."""
        if self._file is not None:
            self._file.close()

    def _start(self, number: int) -> int:
        return self._ends[number - 1] if number else 0

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        self._file.seek(self._spilled)
        self._file.write(self._tail)
        self._spilled += len(self._tail)
        self._tail = bytearray()

    def _read(self, start: int, stop: int) -> bytes:
        if start >= self._spilled:
            return bytes(self._tail[start - self._spilled : stop - self._spilled])
        if self._file is None or self._file.closed:
            raise ValueError("the lines are gone: their file was deleted, or the emulator has stopped")
        self._file.seek(start)
        found = self._file.read(min(stop, self._spilled) - start)
        return found + bytes(self._tail[: max(0, stop - self._spilled)])
