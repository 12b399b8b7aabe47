"""The emulator's backends: what answers behind the API.

Owns: ``make_backend``. Must not import a backend before it is asked for: each brings its own dependencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dw_agents.emulator.backends.base import Backend, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backend", "UpstreamError", "make_backend"]


def _rules(**options: Any) -> Backend:
    from dw_agents.emulator.backends.rules import RulesBackend

    return RulesBackend(**options)


def _local(**options: Any) -> Backend:
    from dw_agents.emulator.backends.local import LocalBackend

    return LocalBackend(**options)


def _upstream(**options: Any) -> Backend:
    from dw_agents.emulator.backends.upstream import UpstreamBackend

    return UpstreamBackend(**options)


_MAKERS: dict[str, Callable[..., Backend]] = {"local": _local, "rules": _rules, "upstream": _upstream}


def make_backend(name: str, **options: Any) -> Backend:
    """Build a backend by name; nothing is loaded or connected before its ``start``.

    Args:
        name: ``"rules"``, ``"local"`` (needs the extra ``dw-agents[local]``) or ``"upstream"``.
        **options: the constructor arguments of that backend; ``"upstream"`` needs ``base_url``.

    Raises:
        ValueError: no backend has this name.
        TypeError: the backend does not take one of the options.
    """
    if name not in _MAKERS:
        raise ValueError(f"no backend is called {name!r}; choose one of {', '.join(sorted(_MAKERS))}")
    return _MAKERS[name](**options)
