"""What is remembered of steps that ended without their answer, so that asking again does not pay again.

Owns: ``Recall``: jobs that were accepted and could not be read, and steps whose tries are used up. It lives as long as
the engine; the journal outlives it. Must not do I/O or read a clock.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from dw_agents.errors import StepError
    from dw_agents.step import Step

__all__ = ["Recall"]

_KEPT: Final = 10_000
_SPENT_FOR: Final = 60.0
"""Seconds for which a retry around the engine is taken for the same step: longer than such retries wait."""


class Recall:
    """Jobs to re-attach to, and steps that were tried enough, by what was asked."""

    def __init__(self) -> None:
        self._parked: OrderedDict[bytes, deque[str]] = OrderedDict()
        self._spent: OrderedDict[bytes, tuple[float, StepError]] = OrderedDict()

    def park(self, step: Step, response_id: str) -> None:
        """Keep the id of an accepted job whose answer could not be read."""
        self._parked.setdefault(_key(step), deque()).append(response_id)
        while len(self._parked) > _KEPT:
            self._parked.popitem(last=False)

    def take(self, step: Step) -> str | None:
        """Hand out, once, a job that was accepted for an equal step."""
        if not self._parked:
            return None
        key = _key(step)
        ids = self._parked.get(key)
        if not ids:
            return None
        found = ids.popleft()
        if not ids:
            del self._parked[key]
        return found

    def spend(self, step: Step, error: StepError, now: float) -> None:
        """Note that the tries that this step may have are used up."""
        key = _key(step)
        self._spent[key] = (now, error)
        self._spent.move_to_end(key)
        while len(self._spent) > _KEPT:
            self._spent.popitem(last=False)

    def spent(self, step: Step, now: float) -> StepError | None:
        """Return how an equal step ended within the last minute, when its tries were used up."""
        while self._spent and next(iter(self._spent.values()))[0] <= now - _SPENT_FOR:
            self._spent.popitem(last=False)
        found = self._spent.get(_key(step)) if self._spent else None
        return found[1] if found else None


def _key(step: Step) -> bytes:
    asked = (step.scope, step.endpoint, step.service_tier, step.body)
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).digest()
