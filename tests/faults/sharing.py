"""What one of several processes on one journal does, against the store alone: it asks, "sends" and "delivers".

A POST is a line in a file, so that hundreds of thousands of them can be counted in seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from dw_agents.journal.rows import End, Found, Group
from dw_agents.journal.sqlite import SqliteStore
from tests.faults.rows import ask

_CHUNK = 1_000
_AGAIN = 0.02


def work(journal: str, posts: str, *, me: int, processes: int, keys: int, under_way: float = 0.0) -> None:
    """Ask all keys of a named run, beginning with an own share of them, and do what nobody else has done.

    Args:
        journal: the file.
        posts: where a line is appended for each submission: the key, who sent it, and whether it was sent before.
        me: the number of this process.
        processes: how many there are.
        keys: how many keys.
        under_way: seconds between sending a chunk and learning that it was accepted.
    """
    store = SqliteStore(Path(journal))
    log = os.open(posts, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    first = keys * me // processes
    for begin in range(first, first + keys, _CHUNK):
        left = [f"key-{n % keys}" for n in range(begin, min(begin + _CHUNK, first + keys))]
        while left:
            found = store.apply(Group(asks=[ask(key, run=True) for key in left]), time.time())
            mine = [(key, one) for key, one in zip(left, found, strict=True) if one is not None and one.ours]
            _do(store, log, me, mine, under_way)
            left = [key for key, one in zip(left, found, strict=True) if one is None]
            if left:
                time.sleep(_AGAIN)
    store.close()


def _do(store: SqliteStore, log: int, me: int, mine: list[tuple[str, Found]], under_way: float) -> None:
    unsent = [(key, one) for key, one in mine if one.state in {"waiting", "sending"}]
    if unsent:
        store.apply(Group(sending=[(one.row, one.state == "sending") for _, one in unsent]), time.time())
        lines = "".join(f"{key} {me} {one.state}\n" for key, one in unsent)
        os.write(log, lines.encode())
        time.sleep(under_way)
        store.apply(Group(accepted=[(one.row, f"resp_{key}") for key, one in unsent]), time.time())
    if mine:
        store.apply(Group(ended=[End(one.row, "delivered") for _, one in mine]), time.time())
