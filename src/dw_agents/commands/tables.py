"""How steps look on a terminal and as JSON.

Owns: the words and the layout. Must not read the journal or ask the service.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dw_agents.journal.jobs import Entry

__all__ = ["age", "as_object", "clean", "lay_out", "out", "out_json", "plural", "rows", "say"]

_LONGEST_LABEL: Final = 32
_AGES: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))


def out(text: str) -> None:
    """Write a line to stdout."""
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:  # labels are people's, and not every terminal or pipe takes all of Unicode
        sys.stdout.write(text.encode("ascii", "backslashreplace").decode() + "\n")


def out_json(value: object) -> None:
    """Write a line of JSON to stdout."""
    text = msgspec.json.encode(value).decode()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), separators=(",", ":"))
    out(text)


def say(text: str) -> None:
    """Write a remark to stderr."""
    sys.stderr.write(text + "\n")


def clean(text: str) -> str:
    """Make others' text safe for a terminal and fit for one line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def plural(number: int, what: str) -> str:
    """Count things: ``1 step``, ``2 steps``, ``3 batches``."""
    ending = "" if number == 1 else "es" if what.endswith("ch") else "s"
    return f"{number:,} {what}{ending}"


def age(seconds: float) -> str:
    """Say how long ago something was, in one unit."""
    for unit, name in _AGES:
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f}{name}"
    return f"{max(0.0, seconds):.0f}s"


def as_object(entry: Entry, now: float) -> dict[str, Any]:
    """Make the JSON object of a step; times are ISO 8601 in UTC."""
    kind, batch = entry.kind, entry.batch
    return {
        "id": entry.id,
        "state": entry.state,
        "outcome_unknown": entry.unknown,
        "endpoint": kind.endpoint,
        "model": kind.model,
        "service_tier": kind.tier,
        "completion_window": kind.window or None,
        "run": kind.run or None,
        "label": entry.label or None,
        "base_url": kind.base_url,
        "key": entry.key,
        "ordinal": entry.ordinal,
        "response_id": entry.response_id,
        "batch": None
        if batch is None
        else {
            "id": batch.batch_id,
            "token": batch.token,
            "file_id": batch.file_id,
            "lines": batch.lines,
            "line": entry.line,
        },
        "posts": entry.posts,
        "possible_duplicates": entry.possible_duplicates,
        "input_tokens": entry.input_tokens,
        "output_tokens": entry.output_tokens,
        "error": entry.error,
        "created": _moment(entry.created),
        "updated": _moment(entry.updated),
        "age_seconds": round(max(0.0, now - entry.created), 3),
        "owner": None if entry.owner is None else {"pid": entry.owner.pid, "alive": entry.owner.alive},
    }


def rows(entries: Sequence[Entry], now: float, *, lines: bool) -> list[tuple[str, ...]]:
    """Make the rows of a table.

    Args:
        entries: the steps.
        now: wall-clock seconds.
        lines: make one row a step; else all steps of a batch that are in the same state have one.
    """
    groups: dict[object, list[Entry]] = {}
    for entry in entries:
        together: object = entry.row
        if entry.batch is not None and not lines:
            together = (entry.batch.number, entry.state, entry.owner, entry.kind.run)
        groups.setdefault(together, []).append(entry)
    return [_row(group, now) for group in groups.values()]


HEAD: Final = ("ID", "STATE", "MODEL", "TIER", "RUN", "LABEL", "AGE", "JOB", "TOKENS", "OWNER")


def lay_out(head: Sequence[str], table: Iterable[Sequence[str]]) -> list[str]:
    """Lay out columns, as wide as what is in them."""
    lines = [head, *table]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _row(group: Sequence[Entry], now: float) -> tuple[str, ...]:
    first, kind = group[0], group[0].kind
    labels = list(dict.fromkeys(clean(entry.label) for entry in group if entry.label))
    label = labels[0] if labels else "-"
    if len(label) > _LONGEST_LABEL:
        label = label[: _LONGEST_LABEL - 3] + "..."
    return (
        first.id + (f" +{len(group) - 1}" if len(group) > 1 else ""),
        first.state,
        clean(kind.model),
        f"{kind.tier} {kind.window}".strip(),
        clean(kind.run) or "-",
        label + (f" +{len(labels) - 1}" if len(labels) > 1 else ""),
        age(now - first.created),
        _job(group),
        _tokens(group),
        "-" if first.owner is None else f"pid {first.owner.pid}" if first.owner.alive else "gone",
    )


def _job(group: Sequence[Entry]) -> str:
    first = group[0]
    if first.batch is None:
        return clean(first.response_id or "-")
    name = first.batch.batch_id or "batch without an id yet"
    if len(group) == 1:
        return clean(f"{name}/{first.line}")
    return clean(f"{name}: {len(group):,} of {plural(first.batch.lines, 'line')}")


def _tokens(group: Sequence[Entry]) -> str:
    counted = [entry for entry in group if entry.input_tokens is not None or entry.output_tokens is not None]
    if not counted:
        return "-"
    return f"{sum(e.input_tokens or 0 for e in counted):,} + {sum(e.output_tokens or 0 for e in counted):,}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
