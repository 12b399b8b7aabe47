"""`dw-agents jobs adopt`.

Owns: what has to be true before a step gets a response that somebody found. There is no such command for batches: they
are found by their tokens.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

from dw_agents.commands.service import Seen, Service, make_ticket
from dw_agents.commands.tables import as_object, out, out_json, say
from dw_agents.errors import ConfigurationError
from dw_agents.journal import amend

if TYPE_CHECKING:
    from dw_agents.commands.jobs import Desk
    from dw_agents.config import Account
    from dw_agents.journal.jobs import Entry

__all__ = ["run"]

_RESPONSE_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,200}")
_LONG_AGO: Final = 3600.0
"""Seconds; what somebody found in a dashboard is visible by now."""


def run(desk: Desk) -> int:
    """Give a step of unknown outcome its response; returns the exit status.

    Raises:
        ConfigurationError: the two do not belong together.
    """
    amend.bury(desk.jobs)
    entry = desk.one(desk.options.id)
    response_id = _checked(desk, entry, desk.options.response_id)
    seen = asyncio.run(_ask(entry, response_id, desk.payer, desk.options.patience))
    if seen.gone:
        raise ConfigurationError(
            f"The service knows no response {response_id!r} of this account; nothing was changed.", field="RESPONSE_ID"
        )
    if seen.trouble:
        say(f"dw-agents: {response_id} could not be looked up, so nothing was changed: {seen.trouble}")
        return 1
    if seen.model not in {"", entry.kind.model}:
        raise ConfigurationError(
            f"{response_id} is of the model {seen.model!r}, and step {entry.id} asked {entry.kind.model!r}; nothing "
            "was changed.",
            field="RESPONSE_ID",
        )
    if not amend.adopt(desk.jobs, entry, response_id, "settled" if seen.ended else "accepted", time.time()):
        say(f"dw-agents: a program took step {entry.id} up in the meantime; nothing was changed.")
        return 1
    if desk.options.json:
        out_json(as_object(desk.one(entry.id), desk.now))
    else:
        out(
            f"{entry.id} has {response_id} now ({seen.status} at the service). The next program that asks this step "
            "gets its answer."
        )
    return 0


async def _ask(entry: Entry, response_id: str, account: Account, patience: float) -> Seen:
    async with Service(account, patience=patience) as service:
        return await service.look_up(response_id, age=_LONG_AGO, ticket=make_ticket(entry))


def _checked(desk: Desk, entry: Entry, given: str) -> str:
    """Return the response id as the service writes it.

    Raises:
        ConfigurationError: the step cannot have it; says why.
    """
    if entry.batch is not None and entry.open:
        raise ConfigurationError(
            f"Step {entry.id} is a line of a batch, and batches are found by their tokens: `dw-agents jobs reconcile`.",
            field="ID",
        )
    if entry.held:
        raise ConfigurationError(
            f"A running program (process {entry.owner.pid if entry.owner else None}) works on step {entry.id}.",
            field="ID",
        )
    if entry.state != "sending":
        raise ConfigurationError(
            f"Step {entry.id} is {entry.state}{f' as {entry.job}' if entry.job else ''}: only a step of unknown "
            "outcome (`sending`, and its process gone) can adopt a response.",
            field="ID",
        )
    if _RESPONSE_ID.fullmatch(given) is None:
        raise ConfigurationError(f"{given!r} is no response id; one looks like resp_1f0c...", field="RESPONSE_ID")
    response_id = given if given.startswith("resp_") else f"resp_{given}"
    taken = [other for other in desk.jobs.find(response_id, None) if other.response_id == response_id]
    if taken:
        raise ConfigurationError(
            f"{response_id} is step {taken[0].id}'s already; one response is one step's answer.", field="RESPONSE_ID"
        )
    return response_id
