"""Pytest fixtures for tests that talk to the emulator.

Import them in a ``conftest.py``: ``from dw_agents.emulator.fixtures import emulator``. Owns nothing else; the only
module of the package that imports pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dw_agents.emulator.server import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["emulator"]


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A fresh emulator for each test: rules answer, and nothing goes wrong by itself.

    A test sets it up otherwise with
    ``@pytest.mark.parametrize("emulator", [{"latency": 0.5, "cancel_route": "post"}], indirect=True)``.
    """
    with Emulator(**getattr(request, "param", {})) as running:
        yield running
