"""What the emulator counts, readable from any thread.

Owns: ``Counters`` and its frozen ``CounterSnapshot``. Must not import the server.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CounterSnapshot", "Counters"]


@dataclass(frozen=True)
class CounterSnapshot:
    """The counts at one moment.

    Attributes:
        requests: HTTP requests that arrived, whatever became of them.
        routes: the same by route label, such as ``"GET /responses/{id}"``.
        statuses: replies by HTTP status. A request whose reply was cut off or withheld counts in none.
        replies: replies by route label and HTTP status.
        accepted: jobs stored: every submission that the service would run and bill later.
        realtime: model calls taken at the realtime price, embeddings and plain completions included.
        flex: model calls taken on the flex tier.
        background: model calls taken on the ``background`` tier.
        batch: lines of batches that were run: model calls taken at the batch price.
        files: files uploaded and stored.
        batches: batches created.
        lines: lines of those batches.
        faults: faults that fired, by kind.
    """

    requests: int = 0
    routes: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[int, int] = field(default_factory=dict)
    replies: Mapping[tuple[str, int], int] = field(default_factory=dict)
    accepted: int = 0
    realtime: int = 0
    flex: int = 0
    background: int = 0
    batch: int = 0
    files: int = 0
    batches: int = 0
    lines: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, route: str) -> int:
        """Requests of one route label; zero when none came."""
        return self.routes.get(route, 0)


class Counters:
    """Live counts: written by the server's thread, read (and reset) by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._routes: Counter[str] = Counter()
        self._replies: Counter[tuple[str, int]] = Counter()
        self._tiers: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._accepted = 0
        self._files = 0
        self._batches = 0
        self._lines = 0

    def reset(self) -> None:
        """Start again from zero."""
        with self._lock:
            self._clear()

    def arrived(self, route: str) -> None:
        """Count one request of a route."""
        with self._lock:
            self._routes[route] += 1

    def replied(self, route: str, status: int) -> None:
        """Count one reply of a route."""
        with self._lock:
            self._replies[route, status] += 1

    def called(self, tier: str) -> None:
        """Count one model call taken at a tier: ``"realtime"``, ``"flex"``, ``"background"`` or ``"batch"``."""
        with self._lock:
            self._tiers[tier] += 1

    def stored(self) -> None:
        """Count one job that was stored and will be run."""
        with self._lock:
            self._accepted += 1

    def file_stored(self) -> None:
        """Count one file that was uploaded and stored."""
        with self._lock:
            self._files += 1

    def batch_created(self, lines: int) -> None:
        """Count one batch that was created, and its lines."""
        with self._lock:
            self._batches += 1
            self._lines += lines

    def fired(self, kind: str) -> None:
        """Count one fault that fired."""
        with self._lock:
            self._faults[kind] += 1

    def snapshot(self) -> CounterSnapshot:
        """All counts at this moment, consistent with each other."""
        with self._lock:
            statuses: Counter[int] = Counter()
            for (_, status), number in self._replies.items():
                statuses[status] += number
            return CounterSnapshot(
                requests=self._routes.total(),
                routes=dict(self._routes),
                statuses=dict(statuses),
                replies=dict(self._replies),
                accepted=self._accepted,
                realtime=self._tiers["realtime"],
                flex=self._tiers["flex"],
                background=self._tiers["background"],
                batch=self._tiers["batch"],
                files=self._files,
                batches=self._batches,
                lines=self._lines,
                faults=dict(self._faults),
            )

    def __getitem__(self, route: str) -> int:
        """Requests of one route label so far; zero when none came."""
        return self.snapshot()[route]

    @property
    def requests(self) -> int:
        """HTTP requests that arrived."""
        return self.snapshot().requests

    @property
    def statuses(self) -> Mapping[int, int]:
        """Replies by HTTP status."""
        return self.snapshot().statuses

    @property
    def accepted(self) -> int:
        """Jobs stored."""
        return self._accepted

    @property
    def realtime(self) -> int:
        """Model calls taken at the realtime price."""
        return self.snapshot().realtime

    @property
    def flex(self) -> int:
        """Model calls taken on the flex tier."""
        return self.snapshot().flex

    @property
    def background(self) -> int:
        """Model calls taken on the ``background`` tier."""
        return self.snapshot().background

    @property
    def batch(self) -> int:
        """Lines of batches that were run."""
        return self.snapshot().batch

    @property
    def files(self) -> int:
        """Files uploaded and stored."""
        return self._files

    @property
    def batches(self) -> int:
        """Batches created."""
        return self._batches

    @property
    def lines(self) -> int:
        """Lines of the batches created."""
        return self._lines

    @property
    def faults(self) -> Mapping[str, int]:
        """Faults that fired, by kind."""
        return self.snapshot().faults

    def __repr__(self) -> str:
        return repr(self.snapshot()).replace("CounterSnapshot", "Counters", 1)
