"""What is remembered of steps that ended without their answer, so that asking again does not pay again.

Owns: ``Recall``: jobs that were accepted and could not be read, and steps whose tries are used up. It lives as long as
the engine; the journal outlives it. Must not do I/O or read a clock.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dw_agents.errors import StepError
    from dw_agents.ticket import Ticket

__all__ = ["Recall"]

_KEPT: Final = 10_000
_SPENT_FOR: Final = 60.0
"""Seconds for which a retry around the engine is taken for the same step: longer than such retries wait."""


class Recall:
    """Jobs to re-attach to, and steps that were tried enough, by what was asked."""

    def __init__(self) -> None:
        self._parked: OrderedDict[bytes, deque[str]] = OrderedDict()
        self._spent: OrderedDict[bytes, tuple[float, StepError]] = OrderedDict()

    def park(self, ticket: Ticket, response_id: str) -> None:
        """Keep the id of an accepted job whose answer could not be read."""
        self._parked.setdefault(_key(ticket), deque()).append(response_id)
        while len(self._parked) > _KEPT:
            self._parked.popitem(last=False)

    def take(self, ticket: Ticket) -> str | None:
        """Hand out, once, a job that was accepted for an equal step."""
        if not self._parked:
            return None
        key = _key(ticket)
        ids = self._parked.get(key)
        if not ids:
            return None
        found = ids.popleft()
        if not ids:
            del self._parked[key]
        return found

    def spend(self, ticket: Ticket, error: StepError, now: float) -> None:
        """Note that the tries that this step may have are used up."""
        key = _key(ticket)
        self._spent[key] = (now, error)
        self._spent.move_to_end(key)
        while len(self._spent) > _KEPT:
            self._spent.popitem(last=False)

    def spent(self, ticket: Ticket, now: float) -> StepError | None:
        """Return how an equal step ended within the last minute, when its tries were used up."""
        while self._spent and next(iter(self._spent.values()))[0] <= now - _SPENT_FOR:
            self._spent.popitem(last=False)
        found = self._spent.get(_key(ticket)) if self._spent else None
        return found[1] if found else None


def _key(ticket: Ticket) -> bytes:
    step = ticket.step
    return hashlib.sha256(f"{step.scope}\0{step.endpoint}\0".encode() + ticket.body).digest()
