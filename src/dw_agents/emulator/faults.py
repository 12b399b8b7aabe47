"""Seeded faults: which request or job goes wrong, and how. Decisions only; others apply them.

Owns: ``Fault`` (one rule), ``Faults`` (the rules in force) and the text form of a rule. Must not import the
server.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["ARRIVAL_KINDS", "JOB_KINDS", "REPLY_KINDS", "Fault", "Faults"]

ARRIVAL_KINDS = frozenset({"garbage", "lost_request", "rate_limit", "redirect", "slow", "stall", "status"})
"""Kinds that strike before the request is handled: nothing is accepted (``slow`` only delays)."""

REPLY_KINDS = frozenset({"lost_reply", "reset_body", "slow_reply", "stall_reply"})
"""Kinds that strike after the request was handled: a submission was accepted."""

JOB_KINDS = frozenset(
    {
        "cancelled",
        "fail_job",
        "omit_usage",
        "omit_usage_details",
        "parallel_calls",
        "reasoning",
        "refuse",
        "truncate",
    }
)
"""Kinds that strike the model call behind an accepted request."""

_KINDS = ARRIVAL_KINDS | REPLY_KINDS | JOB_KINDS


@dataclass(frozen=True)
class Fault:
    """One rule: when its turn comes, something goes wrong.

    The kinds:

    * before handling, nothing accepted: ``lost_request`` (connection reset), ``status`` (an error reply),
      ``rate_limit`` (429 above ``per_second``), ``stall`` (no answer until the client leaves), ``slow``
      (handled after ``delay``), ``garbage`` (200 with a body that is no JSON), ``redirect`` (302 to
      ``location``);
    * after handling: ``lost_reply`` (reset before any byte), ``reset_body`` (reset in mid-body),
      ``slow_reply`` (answered after ``delay``), ``stall_reply`` (never answered);
    * in the model call: ``fail_job`` (fails with ``code``), ``cancelled`` (the service cancels it),
      ``truncate``, ``refuse``, ``reasoning`` (adds a reasoning item), ``parallel_calls`` (calls several tools
      at once), ``omit_usage``, ``omit_usage_details``.

    Attributes:
        kind: one of the above.
        route: a route label such as ``"POST /responses"``, or a method alone; ``None`` means every route. For
            a model call it is the route that submitted it.
        times: how often it may fire; ``None`` means without end.
        rate: chance to fire, 0 to 1, drawn from the seed.
        after: how many matching requests pass first.
        match: text that the path or the body must contain, or a function of path and body.
        status: for ``status``: the HTTP status.
        code: for ``fail_job``: the upstream HTTP status, or ``None`` for a network error without one.
        retry_after: seconds in ``Retry-After``, by the client's clock; ``None`` leaves the header away.
        delay: for the slow kinds: service seconds.
        message: text of the error, in place of the usual one.
        location: for ``redirect``: where to.
        per_second: for ``rate_limit``: requests accepted per service second.
        burst: for ``rate_limit``: how many may come at once; by default one second's worth, at least one.

    Raises:
        ValueError: an unknown kind, or a field out of range.
    """

    kind: str
    _: KW_ONLY
    route: str | None = None
    times: int | None = None
    rate: float = 1.0
    after: int = 0
    match: str | Callable[[str, bytes], bool] | None = None
    status: int = 500
    code: int | None = 500
    retry_after: float | None = None
    delay: float = 1.0
    message: str = ""
    location: str = ""
    per_second: float = 0.0
    burst: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}: use one of {', '.join(sorted(_KINDS))}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is a chance between 0 and 1, not {self.rate!r}")
        if self.kind == "rate_limit" and not self.per_second > 0:
            raise ValueError("a rate_limit fault needs per_second, a number above zero")
        if self.kind == "redirect" and not self.location:
            raise ValueError("a redirect fault needs location, the address to send the client to")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read a rule from a command line.

        Args:
            text: kind, colon, fields: ``"status:route=POST /responses,status=429,retry_after=1,times=3"``.

        Raises:
            ValueError: the text names an unknown kind or field, or a value cannot be read.
        """
        kind, _, rest = text.partition(":")
        rule: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in rest.split(","))):
            name, equals, value = part.partition("=")
            if not equals or name not in _READERS:
                raise ValueError(
                    f"cannot read {part!r} in the fault {text!r}: fields are {', '.join(sorted(_READERS))}"
                )
            rule[name] = _READERS[name](value)
        return cls(kind.strip(), **rule)

    def wants(self, route: str, path: str, body: bytes) -> bool:
        """Whether this request is one that the rule speaks of."""
        if self.route is not None and route != self.route and not route.startswith(f"{self.route} "):
            return False
        if self.match is None:
            return True
        if callable(self.match):
            return self.match(path, body)
        return self.match in path or self.match.encode() in body


def _optional_int(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "after": int,
    "burst": float,
    "code": _optional_int,
    "delay": float,
    "location": str,
    "match": str,
    "message": str,
    "per_second": float,
    "rate": float,
    "retry_after": float,
    "route": str,
    "status": int,
    "times": _optional_int,
}


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
