"""The pytest fixture that users import."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from dw_agents.emulator.fixtures import emulator

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

__all__ = ["emulator"]


def test_the_fixture_serves(emulator: Emulator) -> None:
    request = urllib.request.Request(
        emulator.base_url + "/models", headers={"Authorization": f"Bearer {emulator.api_key}"}
    )
    with urllib.request.urlopen(request, timeout=5) as reply:
        assert reply.status == 200
    assert emulator.counters.requests == 1


def test_each_test_gets_a_fresh_one(emulator: Emulator) -> None:
    assert emulator.counters.requests == 0


@pytest.mark.parametrize("emulator", [{"api_keys": ["mine"]}], indirect=True)
def test_a_test_can_set_it_up_otherwise(emulator: Emulator) -> None:
    assert emulator.api_key == "mine"


def test_the_emulator_itself_needs_no_pytest() -> None:
    code = "import sys; from dw_agents.emulator import Emulator; sys.exit('pytest' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_package_loads_no_server() -> None:
    code = "import sys, dw_agents.emulator; sys.exit('aiohttp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
