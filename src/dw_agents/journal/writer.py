"""The thread that commits.

Owns: group commit: whatever was handed over while the last group was being written to disk is the next group. Whoever
handed something over is told on its own event loop once it is durable. Must not know what the rows mean.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from dw_agents.errors import JournalError
from dw_agents.journal.rows import End, Found, Group

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from dw_agents.journal.rows import Store

__all__ = ["Change", "Writer"]

log = logging.getLogger("dw_agents")

_ASK_AGAIN: Final = 0.2
"""Seconds between looks at a step that another process is just sending."""
_WRITE_AGAIN: Final = 1.0
"""Seconds between tries to write what has happened to a journal that cannot be written."""
_COMPANY: Final = 0.02
"""Seconds that a group in which nobody waits for the disk is collected."""
_MOST: Final = 5_000
"""Changes in one group: a larger one would keep other processes waiting."""


class Change(NamedTuple):
    """One thing to be written.

    Attributes:
        kind: the list of ``Group`` that it belongs to.
        what: the entry.
        loop: of who is told; None when nobody is.
        told: called there with what an ask got or with None, once it is durable; or with the error.
        unwanted: says, from any thread, whether nobody waits for what an ask gets any more; it is dropped then.
    """

    kind: str
    what: Any
    loop: asyncio.AbstractEventLoop | None = None
    told: Callable[[Any], None] | None = None
    unwanted: Callable[[], bool] | None = None


_Call: TypeAlias = "tuple[Callable[[Any], None], Any]"


class Writer:
    """Commits changes in groups; from any thread.

    Args:
        store: is used by this object's thread alone, and closed by it.
    """

    def __init__(self, store: Store) -> None:
        self._users = 0
        """Who opened it and has not closed it yet."""
        self._closed = False
        self._lock = threading.Lock()
        self._store = store
        self._at_work = threading.Lock()
        """Held while the store is used."""
        self._inbox: SimpleQueue[Change | None] = SimpleQueue()
        self._asked_again: list[Change] = []
        self._owed: list[Change] = []
        """What has happened and could not be written yet."""
        self._underway: list[tuple[asyncio.AbstractEventLoop, deque[_Call]]] = []
        """Who is being told; each takes its own out."""
        self._thread = threading.Thread(target=self._run, name="dw-agents-journal", daemon=True)
        self._thread.start()

    def open(self) -> bool:
        """Count one more who uses it; False when the last has closed it, so that another is needed."""
        with self._lock:
            self._users += not self._closed
            return not self._closed

    def put(self, change: Change) -> None:
        """Hand over a change; it is written soon."""
        self._inbox.put(change)

    def close(self, timeout: float = 5.0) -> None:
        """Write what was handed over, give up all rows and end, once everyone who opened it has closed it."""
        with self._lock:
            self._users -= 1
            if self._users > 0 or self._closed:
                return
            self._closed = True
        self._inbox.put(None)
        self._thread.join(timeout)

    def rest(self, timeout: float) -> bool:
        """Wait until nothing is being written, and begin nothing until ``go_on``; False where that took too long."""
        return self._at_work.acquire(timeout=timeout)

    def go_on(self) -> None:
        """End a rest."""
        self._at_work.release()

    def disown(self) -> None:
        """Close the file in a forked child, after a rest; the rows stay the parent's."""
        self._store.disown()

    def _run(self) -> None:
        going_on = True
        while going_on:
            changes, going_on = self._collect()
            self._write(changes)
        with self._at_work:
            self._store.close()

    def _collect(self) -> tuple[list[Change], bool]:
        """Wait for changes and return those that are there; and whether more may come."""
        pause = _ASK_AGAIN if self._asked_again or self._underway else _WRITE_AGAIN if self._owed else None
        changes: list[Change] = []
        with contextlib.suppress(Empty):
            change = self._inbox.get(timeout=pause)
            until = time.monotonic() + _COMPANY
            while change is not None:
                changes.append(change)
                if len(changes) >= _MOST:
                    break
                if change.told is not None:
                    until = 0.0
                # What has happened can wait for company; what is about to happen waits for the disk.
                left = until - time.monotonic()
                change = self._inbox.get(timeout=left) if left > 0.0 else self._inbox.get_nowait()
            else:
                return self._with_waiting(changes), False
        return self._with_waiting(changes), True

    def _with_waiting(self, changes: list[Change]) -> list[Change]:
        changes = [*self._owed, *self._given_back(), *self._asked_again, *changes]
        self._owed, self._asked_again = [], []
        # Who has left, or whose engine has, would take a row or a place from who asks the same step now.
        return [change for change in changes if change.kind != "asks" or not _is_over(change)]

    def _given_back(self) -> list[Change]:
        """Return what gives rows back that were found for engines which stopped before they were told.

        They would be held for as long as this process lives, and whoever asks these steps again would pay again.
        """
        untold = [call for loop, calls in self._underway if loop.is_closed() for call in calls]
        self._underway = [(loop, calls) for loop, calls in self._underway if calls and not loop.is_closed()]
        changes: list[Change] = []
        for _, found in untold:
            if not isinstance(found, Found):
                continue
            if not found.ours:
                changes += [Change("unread", found.place)] if found.place is not None else []
            elif found.state == "waiting":
                changes.append(Change("ended", End(found.row, "cancelled")))
            else:
                changes.append(Change("released", found.row))
        return changes

    def _tell(self, told: dict[asyncio.AbstractEventLoop, deque[_Call]]) -> None:
        for loop, calls in told.items():
            self._underway.append((loop, calls))
            with contextlib.suppress(RuntimeError):  # the loop is closed, and who waited there is gone
                loop.call_soon_threadsafe(_call_all, calls)

    def _write(self, changes: list[Change]) -> None:
        if not changes:
            return
        group = Group()
        for change in changes:
            getattr(group, change.kind).append(change.what)
        try:
            with self._at_work:
                found = self._store.apply(group, time.time())
        except JournalError as error:
            self._refused(changes, error)
            return
        except Exception as error:
            log.exception("dw-agents: an internal error of the journal; please report it")
            self._refused(changes, JournalError(f"The journal failed: {error!r}."))
            return
        answers = iter(found)
        told: dict[asyncio.AbstractEventLoop, deque[_Call]] = {}
        for change in changes:
            result: Found | None = None
            if change.kind == "asks":
                result = next(answers)
                if result is None:
                    self._asked_again.append(change)
                    continue
            if change.loop is not None and change.told is not None:
                told.setdefault(change.loop, deque()).append((change.told, result))
        self._tell(told)

    def _refused(self, changes: list[Change], error: JournalError) -> None:
        """Tell who waits that nothing was written; what has happened is written later."""
        told: dict[asyncio.AbstractEventLoop, deque[_Call]] = {}
        for change in changes:
            if change.loop is not None and change.told is not None:
                told.setdefault(change.loop, deque()).append((change.told, error))
            else:
                if not self._owed:
                    log.error("%s What the service accepted is known to this process alone for now.", error)
                self._owed.append(change)
        self._tell(told)


def _is_over(ask: Change) -> bool:
    return (ask.loop is not None and ask.loop.is_closed()) or (ask.unwanted is not None and ask.unwanted())


def _call_all(calls: deque[_Call]) -> None:
    while calls:
        call, result = calls.popleft()
        call(result)
