"""What the core's tests share: an emulator, an engine on it that retries quickly, and steps."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import tenacity

from dw_agents import Engine, Retries
from dw_agents.emulator.fixtures import emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator

__all__ = ["emulator"]

QUICK = Retries(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_attempt(4))


@pytest.fixture
def engine(emulator: Emulator) -> Iterator[Engine]:
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=QUICK) as running:
        yield running


@pytest.fixture
def careful(emulator: Emulator) -> Iterator[Engine]:
    """An engine that never sends a step a second time without knowing that the first was not accepted."""
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=QUICK, on_unknown="raise") as running:
        yield running


@pytest.fixture
def free_address() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
