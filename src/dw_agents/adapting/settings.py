"""Settings that the models of every framework have.

Owns: where an address comes from when no argument gives it, and the checks on how a call may travel. Pure but for the
environment; must not know a framework.
"""

from __future__ import annotations

import math
import os
from typing import Final

from dw_agents.errors import InvalidStep
from dw_agents.step import SERVICE_TIERS

__all__ = [
    "KEY_VARIABLE",
    "address_from_environment",
    "check_heartbeat",
    "check_model_name",
    "check_tier",
    "check_timeout",
    "check_window",
]

KEY_VARIABLE: Final = "DOUBLEWORD_API_KEY"
_ADDRESS_VARIABLES: Final = ("DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_BASE")


def address_from_environment() -> str | None:
    """Return the address in ``DOUBLEWORD_BASE_URL`` or ``DOUBLEWORD_API_BASE``, if any."""
    return next((address for name in _ADDRESS_VARIABLES if (address := os.environ.get(name))), None)


def check_model_name(name: object) -> None:
    """Refuse what names no model."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidStep(
            f"model={name!r} names no model; for example model='Qwen/Qwen3.5-35B-A3B-FP8'.", field="model"
        )


def check_tier(tier: object) -> None:
    """Refuse what is no service tier."""
    if tier not in SERVICE_TIERS:
        known = ", ".join(repr(one) for one in SERVICE_TIERS)
        raise InvalidStep(f"service_tier={tier!r} is not known; use one of {known}.", field="service_tier")


def check_heartbeat(heartbeat: object) -> None:
    """Refuse what is no number of seconds."""
    if heartbeat is not None and not _is_positive(heartbeat):
        raise InvalidStep(f"heartbeat={heartbeat!r} must be a number of seconds above 0.", field="heartbeat")


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds."""
    if timeout is not None and not _is_positive(timeout):
        raise InvalidStep(
            f"timeout={timeout!r} must be a number of seconds above 0: the limit for the whole call.",
            field="timeout",
        )


def check_window(window: object, tier: object) -> None:
    """Refuse a completion window where there is no batch."""
    if window is not None and tier != "batch":
        raise InvalidStep(
            f'completion_window={window!r} belongs to service_tier="batch"; this model is {tier!r}.',
            field="completion_window",
        )


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
