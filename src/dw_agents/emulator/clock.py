"""The emulator's time: a clock that runs faster or slower than the wall, and durations drawn from a spread.

Owns: what "now" and "wait" mean inside the emulator, and how a latency is written down. Must not import the
server.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    Sampler = Callable[[Random], float]
    DurationSpec = float | tuple[float, float] | Mapping[str, Any] | str

__all__ = ["Clock", "parse_duration", "window_seconds"]

_KINDS = {"uniform": ("low", "high"), "lognormal": ("median", "sigma"), "exponential": ("mean",)}

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Clock:
    """Service time: starts at the wall's time and runs ``speed`` times as fast.

    Args:
        speed: service seconds per real second; 60 makes a minute of the service last one second here.
        monotonic: where real time comes from, in seconds; tests pass their own.

    Raises:
        ValueError: ``speed`` is not a positive, finite number.
    """

    def __init__(self, speed: float = 1.0, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(f"speed must be a positive number of service seconds per real second, not {speed!r}")
        self.speed = speed
        self._monotonic = monotonic
        self._origin = monotonic()
        self._epoch = time.time()

    def now(self) -> float:
        """Service time, in Unix seconds."""
        return self._epoch + (self._monotonic() - self._origin) * self.speed

    def real(self, seconds: float) -> float:
        """Real seconds that ``seconds`` of service time take."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of service time; zero and less return at once."""
        if seconds > 0:
            await asyncio.sleep(seconds / self.speed)


def parse_duration(spec: DurationSpec) -> Sampler:
    """Turn a written duration into a function that draws service seconds from a random generator.

    Args:
        spec: ``2.5`` (always), ``(1, 3)`` (uniform), a mapping such as
            ``{"kind": "lognormal", "median": 90, "sigma": 0.3}``, ``{"kind": "exponential", "mean": 4}``,
            ``{"kind": "uniform", "low": 1, "high": 3}``, or the same as text for a command line:
            ``"2.5"``, ``"1,3"``, ``"lognormal:median=90,sigma=0.3"``.

    Raises:
        ValueError: the spec is none of these, or a number in it is negative.
    """
    if isinstance(spec, str):
        return parse_duration(_from_text(spec))
    if isinstance(spec, tuple):
        low, high = spec
        return parse_duration({"kind": "uniform", "low": low, "high": high})
    if isinstance(spec, (int, float)):
        fixed = _seconds("duration", spec)
        return lambda _rng: fixed
    return _from_mapping(dict(spec))


def window_seconds(window: str) -> float:
    """Service seconds of a completion window such as ``"24h"``, ``"1h"`` or ``"30m"``.

    Raises:
        ValueError: it is none.
    """
    number, unit = window[:-1], window[-1:]
    if unit not in _UNITS or not number.isdecimal():
        raise ValueError(f"a window is a number and one of {', '.join(_UNITS)}, such as 24h, not {window!r}")
    return float(number) * _UNITS[unit]


def _from_text(text: str) -> DurationSpec:
    kind, colon, rest = text.partition(":")
    try:
        if colon:
            pairs = (part.split("=", 1) for part in rest.split(","))
            return {"kind": kind.strip(), **{name.strip(): float(value) for name, value in pairs}}
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    raise ValueError(f"cannot read the duration {text!r}: write seconds, LOW,HIGH or KIND:name=value,...")


def _from_mapping(fields: dict[str, Any]) -> Sampler:
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of duration {kind!r}: use {', '.join(_KINDS)}")
    if set(fields) != set(_KINDS[kind]):
        raise ValueError(f"a {kind} duration takes {' and '.join(_KINDS[kind])}, not {', '.join(fields) or 'nothing'}")
    if kind == "exponential":
        mean = _seconds("mean", fields["mean"])
        return lambda rng: mean * -math.log(1.0 - rng.random())
    first, second = (_seconds(name, fields[name]) for name in _KINDS[kind])
    if kind == "lognormal":
        return lambda rng: first * math.exp(rng.gauss(0.0, second))
    if second < first:
        raise ValueError(f"a uniform duration needs low <= high, not {first} and {second}")
    return lambda rng: rng.uniform(first, second)


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, (int, float)) and value >= 0 and math.isfinite(value):
        return float(value)
    raise ValueError(f"{name} must be a number of seconds, zero or more, not {value!r}")
