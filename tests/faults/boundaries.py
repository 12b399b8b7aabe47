"""The moments at which a process may die: before and after each commit, and before, during and after each request.

Production code has no hooks for this. What a child does is watched from outside, by wrapping the two doors through
which everything goes: ``SqliteStore.apply`` to the disk, ``Connection.request`` and ``download`` to the network.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from dw_agents.journal.sqlite import SqliteStore
from dw_agents.wire.http import Connection, Incoming, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dw_agents.journal.rows import Found, Group

_ID = re.compile(r"/(resp_)?[0-9a-f]{8}-[0-9a-f-]{27}")
_UNDER_WAY = 0.05
"""Seconds given to a request to reach the server before its process dies."""


class Boundaries:
    """Counts the boundaries of this process, writes each one's name down, and kills the process at one of them.

    Args:
        log: the file for the names, one JSON string a line; what was written before the death stays.
        die_at: the boundary to die at: its number, from 1, or its name, at its first time; ``""`` is none.
    """

    def __init__(self, log: str, die_at: int | str) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self._die_at = die_at
        self._count = 0
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        """Pass a boundary, or die there."""
        if self._die_at in (self._number(), name):
            self._die(name)
        self._write(name)

    async def reach_under_way(self, name: str) -> None:
        """Pass a boundary, or die there, but not before a request that was just begun has had time to leave."""
        if self._die_at in (self._number(), name):
            await asyncio.sleep(_UNDER_WAY)
            self._die(name)
        self._write(name)

    def _number(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def _write(self, name: str) -> None:
        os.write(self._log, json.dumps(name).encode() + b"\n")

    def _die(self, name: str) -> None:
        self._write(name)
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Wrap the doors of this process; it is meant to end soon, so nothing is ever unwrapped."""
        boundaries = self
        apply, request, download = SqliteStore.apply, Connection.request, Connection.download

        def watched_apply(store: SqliteStore, group: Group, now: float) -> list[Found | None]:
            name = f"the commit of {_named(group)}"
            boundaries.reach(f"before {name}")
            found = apply(store, group, now)
            boundaries.reach(f"after {name}")
            return found

        async def watched_request(connection: Connection, method: str, path: str, *args: Any, **more: Any) -> Reply:
            name = _labelled(method, path)
            boundaries.reach(f"before {name} leaves")
            sent = asyncio.ensure_future(request(connection, method, path, *args, **more))
            await boundaries.reach_under_way(f"while {name} is under way")
            reply = await sent
            boundaries.reach(f"after the reply to {name}")
            return reply

        @asynccontextmanager
        async def watched_download(connection: Connection, path: str, **more: Any) -> AsyncIterator[Incoming]:
            name = _labelled("GET", path)
            boundaries.reach(f"before {name} leaves")
            async with download(connection, path, **more) as incoming:
                boundaries.reach(f"after the head of the reply to {name}")
                yield incoming
            boundaries.reach(f"after the reply to {name}")

        # Not methods of ours to assign to, as far as a type checker can see.
        doors: list[tuple[Any, str, Any]] = [
            (SqliteStore, "apply", watched_apply),
            (Connection, "request", watched_request),
            (Connection, "download", watched_download),
        ]
        for owner, name, watched in doors:
            setattr(owner, name, watched)


def _named(group: Group) -> str:
    kinds = [field.name for field in fields(group) if getattr(group, field.name)]
    states = {end.state for end in group.ended}
    return "+".join(f"ended ({', '.join(sorted(states))})" if kind == "ended" else kind for kind in kinds)


def _labelled(method: str, path: str) -> str:
    return f"{method} {_ID.sub('/{id}', path.partition('?')[0])}"
