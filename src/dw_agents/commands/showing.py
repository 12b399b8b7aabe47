"""`dw-agents jobs show`.

Owns: what is said of one step. Changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dw_agents.commands.service import Seen, Service
from dw_agents.commands.tables import age, as_object, clean, lay_out, out, out_json, plural

if TYPE_CHECKING:
    from dw_agents.commands.jobs import Desk
    from dw_agents.config import Account
    from dw_agents.journal.jobs import Entry

__all__ = ["run"]


def run(desk: Desk) -> int:
    """Show one step; returns the exit status."""
    entry = desk.one(desk.options.id)
    seen = None
    if entry.job is not None and desk.owns(entry):
        seen = asyncio.run(_ask(entry, desk.payer, desk.options.patience))
    if desk.options.json:
        out_json({**as_object(entry, desk.now), "at_the_service": None if seen is None else _as_object(seen)})
        return 0
    table = [(name, value) for name, value in _facts(entry, desk.now) if value]
    table.append(("at the service", clean(_words(entry, seen, asked=desk.owns(entry)))))
    for line in lay_out(*_headless(table)):
        out(line)
    return 0


async def _ask(entry: Entry, account: Account, patience: float) -> Seen:
    async with Service(account, patience=patience) as service:
        if entry.batch is not None:
            return await service.look_at_batch(entry.batch, entry)
        return await service.look(entry)


def _facts(entry: Entry, now: float) -> list[tuple[str, str]]:
    kind, batch, owner = entry.kind, entry.batch, entry.owner
    facts = [
        ("id", entry.id),
        ("state", entry.state + (": its process died, whether it was accepted is not known" if entry.unknown else "")),
        ("label", clean(entry.label)),
        ("run", clean(kind.run)),
        ("model", clean(kind.model)),
        ("service tier", f"{kind.tier} {kind.window}".strip()),
        ("endpoint", kind.endpoint),
        ("address", clean(kind.base_url)),
        ("key", f"{entry.key}, number {entry.ordinal} of it"),
        ("response", clean(entry.response_id or "")),
    ]
    if batch is not None:
        facts += [
            ("batch", f"{clean(batch.batch_id or 'not created, as far as is known')}"),
            ("line", f"{entry.line} (from 0) of {batch.lines:,}; custom_id {batch.token}-{entry.line}"),
            ("input file", clean(batch.file_id or "")),
        ]
    return [
        *facts,
        ("sent", plural(entry.posts, "time")),
        ("possible duplicates", str(entry.possible_duplicates or "")),
        (
            "tokens",
            "" if entry.input_tokens is None else f"{entry.input_tokens:,} in, {entry.output_tokens or 0:,} out",
        ),
        ("error", clean(entry.error or "")),
        ("asked", f"{age(now - entry.created)} ago"),
        ("last change", f"{age(now - entry.updated)} ago"),
        ("worked on by", "" if owner is None else f"process {owner.pid}" + ("" if owner.alive else ", which is gone")),
    ]


def _words(entry: Entry, seen: Seen | None, *, asked: bool) -> str:
    if seen is not None:
        tokens = {name: (seen.usage or {}).get(name) for name in ("input_tokens", "output_tokens")}
        counted = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in tokens.items() if value is not None)
        return f"{seen}{f' ({counted})' if counted else ''}"
    if entry.job is None:
        return "nothing that could be asked for" if entry.open else "-"
    return "-" if asked else "not asked: the key that is set, if any, is another account's"


def _as_object(seen: Seen) -> dict[str, object]:
    return {
        "status": seen.status or None,
        "ended": seen.ended,
        "gone": seen.gone,
        "trouble": seen.trouble or None,
        "usage": seen.usage,
        "lines_answered": seen.answered,
        "lines": seen.total,
    }


def _headless(table: list[tuple[str, str]]) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    return table[0], table[1:]
