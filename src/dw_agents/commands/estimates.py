"""What steps may have cost whose tokens nobody knows.

Owns: the estimate: what answered steps of the same model and tier came to on average, at the catalogue's price. The
journal keeps no prompts, so nothing better can be had. Must not do I/O but for the price catalogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dw_agents.receipt import Line, Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.journal.jobs import Entry
    from dw_agents.prices import Prices

__all__ = ["Estimate", "estimate"]


class Estimate(NamedTuple):
    """What one submission may have cost.

    Attributes:
        dollars: None where no price or no comparable step is known.
        steps: how many answered steps it is the average of; 0 where it is the step's own usage.
    """

    dollars: float | None
    steps: int = 0

    def __str__(self) -> str:
        if self.dollars is None:
            return "cost unknown"
        basis = f"the average of {self.steps:,} like it" if self.steps else "as its answer cost"
        return f"about ${self.dollars:.6f}, {basis}"


def estimate(entry: Entry, usage: Mapping[tuple[str, str, str], tuple[int, int, int]], prices: Prices) -> Estimate:
    """Estimate what one submission of a step cost, if it was accepted.

    Args:
        entry: the step.
        usage: of ``Jobs.usage``.
        prices: the catalogue.
    """
    kind = entry.kind
    if entry.input_tokens is not None and entry.output_tokens is not None:
        return Estimate(_cost(entry, Line(1, 0, entry.input_tokens, entry.output_tokens), prices))
    steps, input_tokens, output_tokens = usage.get((kind.model, kind.tier, kind.window), (0, 0, 0))
    if not steps:
        return Estimate(None)
    total = _cost(entry, Line(steps, 0, input_tokens, output_tokens), prices)
    return Estimate(None if total is None else total / steps, steps)


def _cost(entry: Entry, line: Line, prices: Prices) -> float | None:
    kind = entry.kind
    tier = f"{kind.tier} 1h" if kind.window == "1h" else kind.tier
    amount = Receipt(lines={(kind.model, tier): line}).cost(prices=prices)
    return None if amount.unknown else amount.dollars
