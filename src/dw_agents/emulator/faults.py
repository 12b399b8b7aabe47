"""Seeded faults: which request, job, line or batch goes wrong. Decisions only; others apply them.

Owns: ``Faults``, the rules in force and the chances they draw. Must not import the server.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from dw_agents.emulator.fault import (
    ARRIVAL_KINDS,
    BATCH_KINDS,
    DOWNLOAD_KINDS,
    JOB_KINDS,
    LINE_KINDS,
    REPLY_KINDS,
    Fault,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Faults"]


class _Armed:
    """A rule in force, with its own random numbers and what it has done so far."""

    def __init__(self, fault: Fault, seed: str) -> None:
        self.fault = fault
        self.seen = 0
        self.hits = 0
        self._rng = random.Random(seed)  # noqa: S311 - repeatable faults, not secrets
        self._capacity = fault.burst if fault.burst is not None else max(1.0, fault.per_second)
        self._tokens = self._capacity
        self._stamp: float | None = None

    def fires(self, now: float) -> bool:
        fault = self.fault
        self.seen += 1
        if self.seen <= fault.after or (fault.times is not None and self.hits >= fault.times):
            return False
        if fault.kind == "rate_limit" and self._within_limit(now):
            return False
        if fault.rate < 1 and self._rng.random() >= fault.rate:
            return False
        self.hits += 1
        return True

    def _within_limit(self, now: float) -> bool:
        if self._stamp is not None:
            earned = (now - self._stamp) * self.fault.per_second
            self._tokens = min(self._capacity, self._tokens + earned)
        self._stamp = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Faults:
    """The rules in force; they may be changed from any thread while the emulator runs.

    The same seed, rules and order of requests give the same faults.

    Args:
        faults: the first rules.
        seed: where the chances come from; ``None`` takes the emulator's.
    """

    def __init__(self, *faults: Fault, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self._seed = seed
        self._added = 0
        self._armed: list[_Armed] = []
        self.replace(*faults)

    def seed_if_unset(self, seed: int) -> None:
        """Take the emulator's seed, unless this set of faults was given its own."""
        with self._lock:
            if self._seed is None:
                self._seed = seed
                self._arm(armed.fault for armed in self._armed)

    def add(self, fault: Fault | str, **rule: Any) -> Fault:
        """Put one more rule in force: a ``Fault``, or its kind and fields."""
        made = fault if isinstance(fault, Fault) else Fault(fault, **rule)
        with self._lock:
            self._append(made)
        return made

    def rate_limit(
        self,
        per_second: float,
        *,
        retry_after: float | None = None,
        route: str | None = "POST /responses",
        burst: float | None = None,
    ) -> Fault:
        """Refuse with 429 what comes faster than ``per_second`` (by service time) on ``route``."""
        return self.add("rate_limit", per_second=per_second, retry_after=retry_after, route=route, burst=burst)

    def replace(self, *faults: Fault) -> None:
        """Drop every rule and put these in force, counted from zero."""
        with self._lock:
            self._arm(faults)

    def clear(self) -> None:
        """Drop every rule."""
        self.replace()

    @property
    def hits(self) -> dict[str, int]:
        """How often the rules in force have fired, by kind."""
        with self._lock:
            counted: Counter[str] = Counter()
            for armed in self._armed:
                counted[armed.fault.kind] += armed.hits
            return dict(counted)

    def __iter__(self) -> Iterator[Fault]:
        return iter([armed.fault for armed in self._armed])

    def __bool__(self) -> bool:
        return bool(self._armed)

    def for_request(self, route: str, path: str, body: bytes, now: float) -> list[Fault]:
        """The faults that strike this request, in the order of the rules.

        A fault that ends the handling is the last one; rules after it neither fire nor count.

        Args:
            route: label of the route.
            path: path and query as sent.
            body: the request's bytes.
            now: service time, in seconds.
        """
        return self._strike(ARRIVAL_KINDS | REPLY_KINDS, route, path, body, now)

    def for_job(self, route: str, path: str, body: bytes, now: float) -> list[Fault]:
        """The faults that strike the model call which this accepted request asks for."""
        return self._strike(JOB_KINDS, route, path, body, now)

    def for_line(self, route: str, url: str, line: bytes, now: float) -> list[Fault]:
        """The faults that strike one line of a batch.

        Args:
            route: the route that created the batch.
            url: where the line wants to go.
            line: the line as stored.
            now: service time, in seconds.
        """
        return self._strike(JOB_KINDS | LINE_KINDS, route, url, line, now)

    def for_batch(self, route: str, path: str, body: bytes, now: float) -> list[Fault]:
        """The faults that will strike the batch which this request creates."""
        return self._strike(BATCH_KINDS, route, path, body, now)

    def for_download(self, route: str, path: str, now: float) -> list[Fault]:
        """The faults that strike the content of a file on its way out."""
        return self._strike(DOWNLOAD_KINDS, route, path, b"", now)

    def _strike(self, kinds: frozenset[str], route: str, path: str, body: bytes, now: float) -> list[Fault]:
        struck: list[Fault] = []
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if fault.kind not in kinds or not fault.wants(route, path, body) or not armed.fires(now):
                    continue
                struck.append(fault)
                if fault.kind in ARRIVAL_KINDS and fault.kind != "slow":
                    break
        return struck

    def _arm(self, faults: Iterable[Fault]) -> None:
        kept = list(faults)
        self._armed = []
        self._added = 0
        for fault in kept:
            self._append(fault)

    def _append(self, fault: Fault) -> None:
        self._added += 1
        self._armed.append(_Armed(fault, f"{self._seed or 0}/{self._added}/{fault.kind}"))
