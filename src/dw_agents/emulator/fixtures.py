"""Pytest fixtures for tests that talk to the emulator.

Import them in a ``conftest.py``: ``from dw_agents.emulator.fixtures import emulator``. Owns nothing else; the
only module of the package that imports pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dw_agents.emulator.server import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["emulator"]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A fresh emulator for each test: rules answer, and nothing goes wrong by itself."""
    with Emulator() as running:
        yield running
