"""`dw-agents jobs list`.

Owns: what is listed, and the remarks below it. Must not ask the service.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from dw_agents.commands.tables import HEAD, as_object, lay_out, out, out_json, plural, rows, say
from dw_agents.journal.jobs import STATES

if TYPE_CHECKING:
    from dw_agents.commands.jobs import Desk

__all__ = ["run"]

_ROWS: Final = 200
"""Of a table that nobody asked to be longer."""


def run(desk: Desk) -> int:
    """Show the steps that are meant, oldest first; returns the exit status."""
    options = desk.options
    entries = desk.selected()
    if options.json:
        for entry in entries[-options.limit :] if options.limit else entries:
            out_json(as_object(entry, desk.now))
        return 0
    if not entries:
        say(f"No such steps in {desk.jobs.path}.")
        return 0
    table = rows(entries, desk.now, lines=options.lines)
    limit = options.limit if options.limit is not None else _ROWS
    shown = table[-limit:] if limit else table
    for line in lay_out(HEAD, shown):
        out(line)
    counts = Counter(entry.state for entry in entries)
    text = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])
    say(f"{plural(len(entries), 'step')}: {text}.")
    if len(shown) < len(table):
        say(f"{len(table) - len(shown):,} older rows are not shown (--limit 0 shows all).")
    unknown = sum(entry.unknown for entry in entries)
    if unknown:
        say(
            f"{plural(unknown, 'step')} in `sending` that no process works on: whether the service accepted them is "
            "not known; see `dw-agents jobs reconcile`."
        )
    return 0
