"""Which journal a process writes.

Owns: the order in which a place is looked for (argument, environment, the platform's state directory) and the one
journal of a process for each file. Must not know what is written.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dw_agents.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.journal.writer import Writer

__all__ = ["VARIABLE", "default_place", "find_place", "open_journal"]

VARIABLE: Final = "DW_AGENTS_JOURNAL"
_PATIENCE: Final = 40.0
"""Seconds that a fork waits for a transaction to end: longer than one waits for other processes."""
_OFF: Final = frozenset({"off", "0", "false", "no", "none"})

log = logging.getLogger("dw_agents")

_writers: dict[Path, Writer] = {}
_lock = threading.Lock()
_warned = False

_forking = 0
"""The thread that holds the lock because it forks."""
_resting: list[Writer] = []
"""Those that wait for a fork to be over."""
_inherited: list[Writer] = []
"""Of the parent, where one could not be made to wait: it must not even be collected here."""


def _before_fork() -> None:
    # In the middle of a transaction, or of the opening of a file, SQLite's state would be of no use to the child.
    global _forking  # noqa: PLW0603 - for what runs after the fork
    if _lock.acquire(timeout=_PATIENCE):
        _forking = threading.get_ident()
        _resting.extend(writer for writer in _writers.values() if writer.rest(_PATIENCE))


def _after_fork_in_parent() -> None:
    global _forking  # noqa: PLW0603 - see above
    if _forking == threading.get_ident():
        _forking = 0
        for writer in _resting:
            writer.go_on()
        _resting.clear()
        _lock.release()


def _after_fork_in_child() -> None:
    # The parent's thread is not here, and its rows are not ours. SQLite remembers, for each file, which locks the
    # process has, and would take the parent's for ours as long as its connection is open here: the parent, the last to
    # close the file as it thinks, would delete what we write. To close it is safe, as it rests.
    global _lock, _forking
    rested = list(_resting) if _forking == threading.get_ident() else []
    _lock, _forking = threading.Lock(), 0
    for writer in rested:
        writer.disown()
    _inherited.extend(writer for writer in _writers.values() if writer not in rested)
    _resting.clear()
    _writers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def default_place(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return where the journal is unless the user says otherwise: in the platform's state directory."""
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or Path.home())
    if platform == "win32":
        state = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        state = home / "Library" / "Application Support"
    else:
        state = Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state")
    return state / "dw-agents" / "journal.db"


def find_place(journal: object = None) -> tuple[Path | None, bool]:
    """Return the journal's file, None for off, and whether the user chose it.

    Args:
        journal: a path, False for off, True or None for ``DW_AGENTS_JOURNAL`` and then the default place.

    Raises:
        ConfigurationError: it is none of these.
    """
    if journal is False:
        return None, True
    if isinstance(journal, str | os.PathLike) and str(journal):
        return Path(journal).expanduser().absolute(), True
    if journal is not None and journal is not True:
        raise ConfigurationError(f"journal={journal!r} must be a path, or False for none.", field="journal")
    setting = os.environ.get(VARIABLE, "")
    if setting.lower() in _OFF:
        return None, True
    if setting:
        return Path(setting).expanduser().absolute(), True
    return default_place(), False


def open_journal(path: Path | None, *, chosen: bool) -> Writer | None:
    """Return this process's journal in a file, or None where there is to be none.

    Args:
        path: of ``find_place``.
        chosen: whether the user named it. The default place is allowed to fail, with one warning.

    Raises:
        JournalError: the file that the user named cannot be used.
    """
    if path is None:
        return None
    from dw_agents.journal.sqlite import SqliteStore
    from dw_agents.journal.writer import Writer

    with _lock:
        writer = _writers.get(path)
        if writer is None or not writer.open():
            try:
                writer = _writers[path] = Writer(SqliteStore(path))
            except JournalError as error:
                if chosen:
                    raise
                _warn(error)
                return None
            writer.open()
        return writer


def _warn(error: JournalError) -> None:
    global _warned  # noqa: PLW0603 - once a process
    if not _warned:
        _warned = True
        log.warning("%s Going on without a journal.", error)
