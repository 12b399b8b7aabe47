"""From what a client and the server report to the figures of a table, and from many runs to median and spread.

Owns: the arithmetic. Pure.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Spread", "derive", "spread"]

_LOOK = "GET /responses/{id}"


@dataclass(frozen=True)
class Spread:
    """What several runs came to.

    Attributes:
        median: of them.
        low: the least.
        high: the most.
        runs: how many.
    """

    median: float
    low: float
    high: float
    runs: int


def derive(reported: Mapping[str, Any], stats: Mapping[str, Any], service: float) -> dict[str, float]:
    """Return the figures of one run by their keys; what cannot be known is left out.

    Args:
        reported: by the client, see ``clients/measure.py``.
        stats: by the server, see ``server.counts``; empty where there was none.
        service: seconds that the service itself takes.
    """
    own = {key: float(value) for key, value in reported.items() if isinstance(value, int | float)}
    calls = own.get("calls", 0.0)
    if calls:
        own["cpu_ms"] = own["cpu"] / calls * 1e3
        own["peak_kb"] = own["peak_mb"] * 1024 / calls
    own["beyond"] = own["wall"] - service
    if "held_first" in own:
        own["first"] = own["held_first"] - own["started"]
    routes: Mapping[str, int] = stats.get("routes", {})
    if routes:
        own["requests"] = float(sum(routes.values()))
        own["requests_per_call"] = own["requests"] / max(1.0, calls)
    if stats.get("jobs"):
        own["polls"] = routes.get(_LOOK, 0) / stats["jobs"]
        own["last_submit"] = stats["created_last"] - own["started"]
        if "held_mean" in own:
            own["extra"] = own["held_mean"] - stats["finished_mean"]
            own["share"] = own["extra"] / stats["took_mean"] if stats["took_mean"] else 0.0
    if "polls" in own and "share" in own:
        # Near the optimum, look-ups and waiting trade against each other one to one.
        own["polls_at_5"] = own["polls"] * own["share"] / 0.05
    if "cpu" in stats and calls:
        own["server_cpu_ms"] = stats["cpu"] / calls * 1e3
    return own


def spread(values: Sequence[float]) -> Spread:
    """Sum up what the runs came to.

    Raises:
        statistics.StatisticsError: there are none.
    """
    return Spread(statistics.median(values), min(values), max(values), len(values))
