"""`dw-agents jobs prune`.

Owns: what is said of it. Must not ask the service.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from dw_agents.commands.tables import out, out_json, plural, say
from dw_agents.journal import amend

if TYPE_CHECKING:
    from dw_agents.commands.jobs import Desk

__all__ = ["run"]


def run(desk: Desk) -> int:
    """Forget steps; returns the exit status."""
    options = desk.options
    amend.bury(desk.jobs)
    ended, left_open = amend.prune(
        desk.jobs, before=desk.now - options.older, account=desk.mark, open_too=options.lost, now=desk.now
    )
    status = 0
    if options.vacuum:
        try:
            desk.jobs.database.execute("VACUUM")
        except sqlite3.Error as error:
            say(f"dw-agents: the file was not made smaller: {error}. Try again when no program uses it.")
            status = 1
    if options.json:
        out_json({"ended": ended, "open": left_open})
    else:
        out(f"Forgot {plural(ended, 'ended step')}" + (f" and {plural(left_open, 'open step')}." if left_open else "."))
    return status
