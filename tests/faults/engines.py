"""Engines with a journal, as several tests want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dw_agents import Engine
from dw_agents.schedule.window import Limits
from tests.core.conftest import QUICK

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents import Ticket
    from dw_agents.emulator import Emulator

SOON = Limits(quiet=0.02)
"""Batches close quickly."""


def start(emulator: Emulator, journal: Path | bool | None, **settings: Any) -> Engine:
    """An engine that retries and ships quickly."""
    given = {"retries": QUICK, "journal": journal, "batch_limits": SOON, **settings}
    return Engine(api_key=emulator.api_key, base_url=emulator.base_url, **given)


def accepted(ticket: Ticket) -> bool:
    """Whether the service has accepted the step, as far as its engine knows."""
    return ticket.accepted_at is not None
