"""Who is alive.

Owns: the lease that a process holds on the rows that it works on. A lease is a locked file: the operating system lets
go of it when the process ends, however it ends, and no clock has a say in it, so neither a suspended laptop nor a
changed date makes a living process look dead. Must not know what is leased.
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Lease", "is_held"]


class Lease:
    """A sign of life of this process.

    Args:
        folder: where leases of the same journal lie; made if it is not there.

    Raises:
        OSError: the file cannot be made or locked.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = uuid.uuid4().hex
        self._path = folder / self.name
        self._pid = os.getpid()
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
        if not _lock(self._file):  # nobody else knows the name
            raise OSError(f"{self._path} cannot be locked")
        _held.append(self)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        _held.remove(self)
        if self._pid == os.getpid():
            self._path.unlink(missing_ok=True)

    def disown(self) -> None:
        """Close the file in a forked child, which would otherwise keep the parent's lease alive."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def is_held(folder: Path, name: str) -> bool:
    """Whether the process that took a lease still lives; removes the file of one that does not."""
    path = folder / name
    try:
        file = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return False
    try:
        if not _lock(file):
            return True
    finally:
        os.close(file)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return False


_held: list[Lease] = []


def _after_fork() -> None:
    for lease in _held:
        lease.disown()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
