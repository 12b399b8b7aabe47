"""Results as Markdown: medians with their spread, ratios to ours, and whether what must be reached is reached.

Owns: the layout. Pure; must not start anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import Spread, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.works import Figure, Side, Work

__all__ = ["Outcome", "cell", "missed", "work_table"]

Outcome = dict[str, float] | str
"""The figures of one run, or why there are none."""


def cell(found: Spread, digits: int, *, reference: float | None = None, must: float | None = None) -> str:
    """Write one cell.

    Args:
        found: of the runs.
        digits: after the point.
        reference: what to give the ratio to; None for no ratio.
        must: the most that it may be; None for no such bound.
    """
    text = f"{found.median:,.{digits}f}"
    if found.runs > 1:
        text += f" ({found.low:,.{digits}f} to {found.high:,.{digits}f})"
    if reference is not None and reference > 0 and found.median > 0:
        ratio = found.median / reference
        text += f", {ratio:.{2 if ratio < 10 else 0}f}x"
    if must is not None:
        text += f" {'✓' if found.median <= must else '✗'} ≤ {must:g}"
    return text


def work_table(work: Work, results: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Lay out one work.

    Args:
        work: what was done.
        results: by the side's name, its runs.
    """
    lines = [f"### {work.title}", "", "| | " + " | ".join(figure.title for figure in work.figures) + " | runs |"]
    lines.append("|---|" + "---|" * (len(work.figures) + 1))
    base = _runs(results, _reference(work))
    for side in work.sides:
        good = _runs(results, side)
        if not good:
            why = next((run for run in results.get(side.name, []) if isinstance(run, str)), "not run")
            lines.append(f"| {side.name} | {why} |" + " |" * len(work.figures))
            continue
        cells = [_cell(side, figure, good, base) for figure in work.figures]
        lines.append(f"| {side.name} | {' | '.join(cells)} | {len(good)} |")
    return [*lines, ""]


def missed(work: Work, results: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Return what was not reached of what must be, in words."""
    found = []
    base = _runs(results, _reference(work))
    for side in work.sides:
        good = _runs(results, side)
        for figure in work.figures:
            must = side.must.get(figure.name)
            if must is None:
                continue
            values = _values(figure, good, base)
            if not values:
                found.append(f"{work.name}: {side.name}: {figure.title} was not measured")
            elif spread(values).median > must:
                found.append(f"{work.name}: {side.name}: {figure.title}: {spread(values).median:.3g}, not <= {must:g}")
    return found


def _reference(work: Work) -> Side | None:
    return next((side for side in work.sides if "ours" in side.name), None)


def _runs(results: Mapping[str, Sequence[Outcome]], side: Side | None) -> list[dict[str, float]]:
    return [run for run in results.get(side.name, []) if isinstance(run, dict)] if side is not None else []


def _values(figure: Figure, good: list[dict[str, float]], base: list[dict[str, float]]) -> list[float]:
    values = [run[figure.key] for run in good if figure.key in run]
    if not figure.over_first:
        return values
    others = [run[figure.key] for run in base if figure.key in run]
    return [value - spread(others).median for value in values] if others else []


def _cell(side: Side, figure: Figure, good: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    values = _values(figure, good, base)
    if not values:
        return "-"
    others = [] if figure.over_first or good == base else _values(figure, base, base)
    return cell(
        spread(values),
        figure.digits,
        reference=spread(others).median if others else None,
        must=side.must.get(figure.name),
    )
