"""Processes in simulated time: the engine's own code above the network and below the threads, many hours in a second.

Real here: ``Runtime`` (starting, asking, stopping), the routes, the schedules, ``Book``, the writer's grouping,
``SqliteStore`` on a file, matching and leases. Simulated: the network (``service.py``), the clocks, the threads (each
process has one event loop, and its journal is written on it), and death.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

from dw_agents.config import Account, Secret, Settings
from dw_agents.journal.schema import connect
from dw_agents.journal.sqlite import SqliteStore
from dw_agents.journal.writer import Change, Writer
from dw_agents.receipt import Tally
from dw_agents.runtime import Runtime
from dw_agents.schedule.polling import PollSchedule
from dw_agents.schedule.retries import Retries
from dw_agents.schedule.window import Limits
from dw_agents.ticket import Ticket
from dw_agents.wire.responses import encode
from tests.faults.service import Door, Service

if TYPE_CHECKING:
    import sqlite3
    from types import TracebackType

    from dw_agents import Step
    from dw_agents.journal.rows import Found, Group
    from dw_agents.step import OnUnknown

_SLICE = 0.05
"""Seconds for which one process runs before the next has its turn."""
_MOMENT = 1e-5
_ACCOUNT = Account(Secret("a-key"), "http://service/v1")


class World:
    """One service, one journal, one time, and processes that come and go.

    Args:
        journal: the file.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        journal.write_bytes(_empty_journal())
        self._observer = _connect_without_sync(journal)
        self.now = 1000.0
        self._began = time.time()
        self.disk = 0.002
        """Seconds that a commit takes."""
        self.jump = 0.0
        """How far the wall clock was set forward or back."""
        self.service = Service(lambda: self.now)
        self.processes: list[Process] = []
        self.new_rows_in_vain: list[str] = []
        """Keys of steps outside a run that got a new row although one could have been taken over."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill everyone, and let go of the file."""
        for process in list(self.processes):
            process.kill()
        self._observer.close()

    def rows(self) -> list[dict[str, Any]]:
        """Every row of the journal, as it is on the disk."""
        names = "id, key, ordinal, label, state, owner, response_id, batch, possible_duplicates, posts"
        found = self._observer.execute(f"SELECT {names} FROM steps").fetchall()
        return [dict(zip(names.split(", "), row, strict=True)) for row in found]

    def wall(self) -> float:
        """What the clock on the wall says."""
        return self._began + self.now + self.jump

    def process(self, on_unknown: OnUnknown = "resend", retries: Retries | None = None) -> Process:
        """Start a process."""
        process = Process(self, on_unknown, retries)
        self.processes.append(process)
        return process

    def run(self, seconds: float) -> None:
        """Let time pass for everyone."""
        until = self.now + seconds
        while self.now < until:
            step = until - self.now if len(self.processes) == 1 else min(_SLICE, until - self.now)
            for process in list(self.processes):
                process.live(step)
            self.now = min(until, self.now + step)


class _Selector(selectors.DefaultSelector):
    """Never waits: where there is nothing to do, time has passed; to do something takes a moment, too."""

    loop: _Loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.loop.virtual += max(timeout, _MOMENT)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is its own."""

    def __init__(self, now: float) -> None:
        selector = _Selector()
        self.virtual = now
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.virtual


def _connect_without_sync(path: Path) -> sqlite3.Connection:
    """Open the journal; what is simulated is the death of processes, not of the machine."""
    database = connect(path)
    database.execute("PRAGMA synchronous=OFF")
    return database


@functools.cache
def _empty_journal() -> bytes:
    """The file as it is after it was made, so that not every history makes one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        SqliteStore(path).close()
        return path.read_bytes()


class _Store:
    """A store that writes the world's time and looks for the dead at each ask.

    It also watches that no step outside a run gets a new row where an open one could have been taken over.
    """

    def __init__(self, world: World) -> None:
        with (
            mock.patch("dw_agents.journal.sqlite.connect", _connect_without_sync),
            mock.patch("dw_agents.journal.sqlite.time.time", world.wall),
        ):
            self.real = SqliteStore(world.journal)
        self.world = world

    def apply(self, group: Group, now: float) -> list[Found | None]:
        asks = Counter(ask.key for ask in group.asks if not ask.replay)
        free = self._free(asks) if asks else Counter()
        released = bool(group.released)
        self.real._swept_at = time.monotonic() - 1.0
        found = self.real.apply(group, self.world.wall())
        if asks and not released:
            new = Counter(
                ask.key
                for ask, one in zip(group.asks, found, strict=True)
                if not ask.replay and one is not None and one.state == "waiting"
            )
            self.world.new_rows_in_vain += [key for key in asks if new[key] > max(0, asks[key] - free[key])]
        return found

    def _free(self, asks: Counter[str]) -> Counter[str]:
        owners = {process.owner for process in self.world.processes}
        rows = self.real._database.execute(
            "SELECT key, owner FROM steps WHERE state IN ('sending', 'accepted', 'settled') AND owner IS NOT NULL"
        ).fetchall()
        return Counter(key for key, owner in rows if key in asks and owner not in owners)

    def close(self) -> None:
        self.real.close()

    def disown(self) -> None:
        self.real.disown()


class _Writer(Writer):
    """The writer without its thread: it commits what came up within some milliseconds."""

    def __init__(self, loop: _Loop, store: _Store) -> None:
        self._loop = loop
        self._disk = store.world.disk
        self._store = store
        self._asked_again: list[Change] = []
        self._owed: list[Change] = []
        self._underway = []
        self._at_work = threading.Lock()
        self._pending: list[Change] = []
        self._timer: asyncio.TimerHandle | None = None
        self.dead = False

    def put(self, change: Change) -> None:
        if not self.dead:
            self._pending.append(change)
            self._wake(self._disk)

    def close(self, timeout: float = 0.0) -> None:
        if not self.dead:
            self._flush()
            self.dead = True
            self._store.close()

    def _wake(self, seconds: float) -> None:
        if self._timer is not None and self._timer.when() > self._loop.time() + seconds:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self.dead:
            return
        changes, self._pending = self._with_waiting(self._pending), []
        self._write(changes)
        if self._asked_again:
            self._wake(0.2)


class _NoThread:
    """Does what the engine's thread does before its loop runs, and no more."""

    ident = 0

    def __init__(self, *, target: Any, args: tuple[Any, ...], **_: Any) -> None:
        self._runtime: Process = target.__self__
        self._args = args

    def start(self) -> None:
        self._runtime.loop.run_until_complete(self._runtime._build(*self._args))
        self._runtime._started.set()


class Process(Runtime):
    """A process of the world: the engine's runtime on a loop of its own."""

    def __init__(self, world: World, on_unknown: OnUnknown, retries: Retries | None) -> None:
        self.world = world
        self.asked: list[Ticket] = []
        self.loop = _Loop(world.now)
        self.store = _Store(world)
        self.owner = self.store.real._owner
        self.journal = _Writer(self.loop, self.store)
        self.door = Door(world.service)
        settings = Settings(
            on_unknown=on_unknown,
            retries=retries or Retries(patience=60.0),
            headers={},
            ssl_context=None,
            max_polls_per_second=2000.0,
            batch_limits=Limits(quiet=0.05),
        )
        schedule = mock.patch("dw_agents.routes.poller.PollSchedule", functools.partial(PollSchedule, seed=1))
        with (
            schedule,
            mock.patch.multiple(
                "dw_agents.runtime",
                Connection=mock.Mock(return_value=self.door),
                threading=mock.Mock(Thread=_NoThread, Event=threading.Event, get_ident=threading.get_ident),
                running=set(),
                watch_exit=mock.Mock(),
                _journal=mock.Mock(return_value=self.journal),
                _new_loop=mock.Mock(return_value=self.loop),
            ),
        ):
            super().__init__(_ACCOUNT, settings, Tally())
        self._shared.clock = self.loop.time

    def submit(self, step: Step) -> Ticket:
        """Ask a step, as ``Engine.submit`` does."""
        ticket = Ticket(step, body=encode(step), submitted_at=self.loop.time(), on_cancel=self.on_cancel)
        self.asked.append(ticket)
        self.loop.call_soon(self._start, ticket)
        return ticket

    def live(self, seconds: float) -> None:
        """Run for a while."""
        until = self.world.now + seconds
        handle = self.loop.call_at(until, self.loop.stop)
        self.loop.run_forever()
        handle.cancel()

    def kill(self) -> None:
        """Die: nothing of this process reaches the disk or the network any more, and its lease is nobody's."""
        self.journal.dead = self.door.dead = True
        self.store.real._lease.disown()
        self.store.real._database.close()
        self._bury()

    def end(self) -> None:
        """End in good order, as at the end of a program."""
        self._begin_stop(5.0, lambda: None)
        self.loop.run_forever()
        self.door.dead = True
        self._bury()

    def _bury(self) -> None:
        self.world.processes.remove(self)
        for _ in range(20):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()
