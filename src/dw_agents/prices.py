"""The price catalogue.

Owns: reading ``prices.toml`` and the user's own file over it. Must not import anything else of the package but errors.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dw_agents.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Price", "Prices"]

PRICES_VARIABLE: Final = "DW_AGENTS_PRICES"
_TIERS: Final = frozenset({"realtime", "flex", "batch"})
_PAIR: Final = 2


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float


@dataclass(frozen=True)
class Prices:
    """Prices by model and tier (``"realtime"``, ``"flex"``, ``"batch"``).

    Attributes:
        models: model name to tier to price.
    """

    models: Mapping[str, Mapping[str, Price]]

    def get(self, model: str, tier: str) -> Price | None:
        """Return the price, or None where it is unknown; ``"priority"`` and ``"background"`` are not price names.

        The service publishes no price for the background tier, so it is unknown.
        """
        return self.models.get(model, {}).get(tier)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Prices:
        """Read the catalogue that ships with the package, and over it the user's own file, if any.

        Args:
            path: a TOML file of the same shape; default: the one that ``DW_AGENTS_PRICES`` names.

        Raises:
            ConfigurationError: the file cannot be read or has another shape.
        """
        own = path if path is not None else os.environ.get(PRICES_VARIABLE)
        shipped = _read(Path(__file__).with_name("prices.toml"))
        if not own:
            return cls(shipped)
        theirs = _read(Path(own))
        return cls({name: {**shipped.get(name, {}), **theirs.get(name, {})} for name in {**shipped, **theirs}})


def _read(path: Path) -> Mapping[str, Mapping[str, Price]]:
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"The price file {path} cannot be used: {error}. It needs lines such as flex = [0.05, 0.08] under a "
            f'heading such as ["Qwen/Qwen3.5-4B"].',
            field=PRICES_VARIABLE,
        ) from error


@lru_cache(maxsize=8)
def _parsed(path: Path, _changed: int) -> Mapping[str, Mapping[str, Price]]:
    import tomllib

    with path.open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)
    return {
        model: {tier: _price(model, tier, pair) for tier, pair in _tiers(model, tiers).items()}
        for model, tiers in table.items()
    }


def _tiers(model: str, tiers: object) -> Mapping[str, object]:
    if not isinstance(tiers, dict):
        raise TypeError(f"{model} must be a heading, with its prices below it")
    return tiers


def _price(model: str, tier: str, pair: object) -> Price:
    if tier not in _TIERS:
        raise ValueError(f"{model}: {tier!r} is none of {', '.join(sorted(_TIERS))}")
    if not (isinstance(pair, list) and len(pair) == _PAIR and all(isinstance(x, int | float) for x in pair)):
        raise ValueError(f"{model}: {tier} must be [input, output] in dollars per million tokens")
    return Price(float(pair[0]), float(pair[1]))
