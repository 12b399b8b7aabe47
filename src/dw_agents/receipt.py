"""What was done and what it cost.

Owns: ``Tally`` (counts that the engine keeps) and ``Receipt`` (an unchanging copy that adds up to money). Must not
import the engine or the routes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dw_agents.prices import Prices
    from dw_agents.step import Step

__all__ = ["Amount", "Line", "Receipt", "Tally"]

_REALTIME: Final = "realtime"
_PRICED_AS: Final = {"batch 1h": "flex"}
"""A batch with a window of an hour is sold at the async price."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the steps of one model and tier came to.

    Attributes:
        steps: how many ended with an answer.
        failed: how many ended otherwise, cancelled ones included.
        input_tokens, output_tokens: the sums of ``usage``, as the service counted.
        cached_tokens, reasoning_tokens: the parts of these that ``usage`` details name.
        unmetered: answers that came without a ``usage``.
    """

    steps: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    unmetered: int = 0

    def __add__(self, other: Line) -> Line:
        return Line(*(getattr(self, name) + getattr(other, name) for name in Line.__slots__))

    def __sub__(self, other: Line) -> Line:
        return Line(*(getattr(self, name) - getattr(other, name) for name in Line.__slots__))


_STEPS, _FAILED, _INPUT, _OUTPUT, _CACHED, _REASONING, _UNMETERED = range(7)
_FIELDS: Final[tuple[tuple[int, tuple[str, ...], str | None], ...]] = (
    (_INPUT, ("input_tokens", "prompt_tokens"), None),
    (_OUTPUT, ("output_tokens", "completion_tokens"), None),
    (_CACHED, ("input_tokens_details", "prompt_tokens_details"), "cached_tokens"),
    (_REASONING, ("output_tokens_details", "completion_tokens_details"), "reasoning_tokens"),
)
"""Where in ``usage`` a count stands: at Responses and at chat completions, and in which object there."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of money of which parts may be unknown: an unknown price is never counted as zero.

    Attributes:
        dollars: the known part.
        unknown: the models whose steps are not in it, because the catalogue has no price or no usage came.
    """

    dollars: float = 0.0
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.unknown:
            return f"${self.dollars:.6f}"
        names = ", ".join(self.unknown)
        return f"unknown ({names})" if not self.dollars else f"${self.dollars:.6f} + unknown ({names})"


@dataclass(frozen=True)
class Receipt:
    """What an engine did so far. ``later - earlier`` is what happened in between.

    Attributes:
        lines: by (model, tier); the tier is ``"realtime"``, ``"flex"``, ``"background"``, ``"batch"`` or
            ``"batch 1h"``.
        requests: HTTP requests sent, by kind: ``submit``, ``poll``, ``cancel``; for batches also ``upload``,
            ``create``, ``look-up`` and ``download``.
        retries: submissions sent again after one that surely was not accepted.
        resubmitted: jobs submitted again after the service failed them for a passing cause.
        possible_duplicates: submissions sent again although the first may have been accepted (and be billed).
        reattached: steps that took over a job accepted earlier, instead of paying again.
        replayed: steps of a named run whose answer had been delivered before, or is another process's; they are in no
            line, as nothing was paid for them here.
    """

    lines: Mapping[tuple[str, str], Line] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    resubmitted: int = 0
    possible_duplicates: int = 0
    reattached: int = 0
    replayed: int = 0

    @property
    def steps(self) -> int:
        """How many steps ended with an answer."""
        return sum(line.steps for line in self.lines.values())

    def __sub__(self, other: Receipt) -> Receipt:
        lines = {key: line - other.lines.get(key, Line()) for key, line in self.lines.items()}
        return Receipt(
            lines={key: line for key, line in lines.items() if line != Line()},
            requests={kind: n - other.requests.get(kind, 0) for kind, n in self.requests.items()},
            retries=self.retries - other.retries,
            resubmitted=self.resubmitted - other.resubmitted,
            possible_duplicates=self.possible_duplicates - other.possible_duplicates,
            reattached=self.reattached - other.reattached,
            replayed=self.replayed - other.replayed,
        )

    def cost(self, *, tier: str | None = None, prices: Prices | None = None) -> Amount:
        """Add up what the steps cost.

        Args:
            tier: price every step as if it had travelled on this tier; default: on the tier it took.
            prices: the catalogue; default: the one that ships with the package, or ``DW_AGENTS_PRICES``.
        """
        from dw_agents.prices import Prices

        catalogue = prices or Prices.load()
        dollars, unknown = 0.0, dict[str, None]()
        for (model, own), line in self.lines.items():
            asked = tier or own
            price = catalogue.get(model, _PRICED_AS.get(asked, asked))
            if price is None:
                unknown[model] = None
                continue
            if line.unmetered:
                unknown[f"{line.unmetered} answers of {model} without usage"] = None
            dollars += (line.input_tokens * price.input + line.output_tokens * price.output) / 1e6
        return Amount(dollars, tuple(unknown))

    def __str__(self) -> str:
        table = _table(
            ("model", "tier", "steps", "failed", "input", "output", "cost"),
            *(
                (
                    model,
                    tier,
                    f"{line.steps:,}",
                    f"{line.failed:,}",
                    f"{line.input_tokens:,}",
                    f"{line.output_tokens:,}",
                    str(Receipt(lines={(model, tier): line}).cost()).split(" (")[0],
                )
                for (model, tier), line in sorted(self.lines.items())
            ),
        )
        sent = sum(self.requests.values())
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.requests.items()) if n)
        table.append(f"HTTP requests: {sent:,}" + (f" ({kinds})" if kinds else ""))
        notes = {
            "retries": self.retries,
            "resubmitted": self.resubmitted,
            "possible duplicates": self.possible_duplicates,
            "re-attached": self.reattached,
            "replayed": self.replayed,
        }
        if any(notes.values()):
            table.append(", ".join(f"{name}: {n:,}" for name, n in notes.items() if n))
        table.append(f"cost: {self.cost()}; the same at realtime: {self.cost(tier='realtime')}")
        return "\n".join(table)


def _table(*rows: tuple[str, ...]) -> list[str]:
    """Lay out columns: the first two are names and stand left, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class Tally:
    """The counts behind a receipt; written on the engine's thread, copied on any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[tuple[str, str], list[int]] = {}
        """By model and tier, in the order of ``Line``'s fields."""
        self._counts: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()

    def request(self, kind: str) -> None:
        """Count one HTTP request."""
        self._requests[kind] += 1

    def count(self, what: str) -> None:
        """Count ``retries``, ``resubmitted``, ``possible_duplicates``, ``reattached`` or ``replayed``."""
        self._counts[what] += 1

    def ended(self, step: Step, *, answered: bool, usage: Mapping[str, Any] | None) -> None:
        """Count the end of a step and add its ``usage`` up; chat and Responses field names are both read."""
        tier = _REALTIME if step.service_tier == "priority" else step.service_tier
        key = (step.model, f"{tier} 1h" if step.completion_window == "1h" else tier)
        with self._lock:
            counts = self._lines.get(key)
            if counts is None:
                counts = self._lines[key] = [0] * len(Line.__slots__)
            counts[_FAILED if not answered else _STEPS] += 1
            if answered and not usage:
                counts[_UNMETERED] += 1
            elif answered and usage:
                for place, names, within in _FIELDS:
                    for name in names:
                        value = usage.get(name)
                        if within is not None and isinstance(value, Mapping):
                            value = value.get(within)
                        if isinstance(value, int):
                            counts[place] += value
                            break

    def receipt(self) -> Receipt:
        """Copy what was counted so far."""
        with self._lock:
            lines = {key: Line(*counts) for key, counts in self._lines.items()}
        return Receipt(lines=lines, requests=dict(self._requests), **self._counts)
