"""What every command of `dw-agents jobs` needs before it can begin.

Owns: finding the journal and the account, saying what is left alone, and calling the command. Must not ask the service.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dw_agents.commands.tables import plural, say
from dw_agents.config import Account, resolve_account
from dw_agents.errors import ConfigurationError, MissingAPIKey
from dw_agents.journal.jobs import Entry, Jobs, Selection
from dw_agents.journal.place import find_place
from dw_agents.journal.rows import State, account_mark

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection

__all__ = ["Desk", "run"]

_HOMES: Final = {
    "list": "listing",
    "show": "showing",
    "wait": "waiting",
    "cancel": "cancelling",
    "adopt": "adopting",
    "reconcile": "reconciling",
    "prune": "pruning",
}
_LOOKING: Final = frozenset({"list", "show"})
"""What is done without a key as well."""


@dataclass(frozen=True)
class Desk:
    """What a command works with.

    Attributes:
        options: as they were parsed.
        jobs: the journal.
        account: who asks the service; None where there is no key.
        now: wall-clock seconds.
    """

    options: argparse.Namespace
    jobs: Jobs
    account: Account | None
    now: float

    @property
    def mark(self) -> str | None:
        """What stands in the journal for the account whose steps are meant; None for everybody's."""
        if self.account is None or getattr(self.options, "all_accounts", False):
            return None
        return account_mark(self.account)

    def owns(self, entry: Entry) -> bool:
        """Whether the service can be asked about a step with the key that there is."""
        return self.account is not None and account_mark(self.account) == entry.kind.account

    @property
    def payer(self) -> Account:
        """The account, for commands that ask the service.

        Raises:
            MissingAPIKey: there is none.
        """
        if self.account is None:
            raise MissingAPIKey("No API key: set DOUBLEWORD_API_KEY or run `dw login`.", field="api_key")
        return self.account

    def selected(self, states: Collection[State] | None = None) -> list[Entry]:
        """Return the steps that the filters of the command line mean.

        Args:
            states: these only, whatever the command line says.
        """
        options = self.options
        wanted: frozenset[State] | None = options.state
        if states is not None:
            wanted = frozenset(states) if wanted is None else wanted.intersection(states)
        return self.jobs.entries(
            Selection(
                account=self.mark,
                run=options.run,
                states=wanted,
                created_before=None if options.older is None else self.now - options.older,
                created_after=None if options.newer is None else self.now - options.newer,
            )
        )

    def named(self, ident: str) -> list[Entry]:
        """Return the steps that an id stands for.

        Raises:
            ConfigurationError: there is none.
        """
        found = self.jobs.find(ident, self.mark)
        if not found:
            raise ConfigurationError(
                f"The journal {self.jobs.path} has no step {ident!r}"
                f"{' of this account' if self.mark is not None else ''}; `dw-agents jobs list` shows "
                "those that it has.",
                field="ID",
            )
        return found

    def one(self, ident: str) -> Entry:
        """Return the one step that an id stands for.

        Raises:
            ConfigurationError: there is none, or several.
        """
        found = self.named(ident)
        if len(found) > 1:
            some = ", ".join(entry.id for entry in found[:5]) + (", ..." if len(found) > 5 else "")
            raise ConfigurationError(f"{ident!r} stands for {len(found)} steps: {some}. Name one of them.", field="ID")
        return found[0]


def run(options: argparse.Namespace) -> int:
    """Run one command; returns the exit status.

    Raises:
        ConfigurationError: wrong input.
        JournalError: the journal cannot be used.
    """
    path, _ = find_place(options.journal)
    if path is None or not path.exists():
        where = "The journal is turned off" if path is None else f"There is no journal at {path}"
        if getattr(options, "id", None) or getattr(options, "ids", None):
            raise ConfigurationError(f"{where}, so there is no such step.", field="ID")
        say(f"{where}: nothing to {options.action}.")
        return 0
    account = _account(options)
    command: Callable[[Desk], int] = importlib.import_module(f"dw_agents.commands.{_HOMES[options.action]}").run
    with Jobs(path) as jobs:
        desk = Desk(options, jobs, account, time.time())
        others = jobs.elsewhere(desk.mark) if desk.mark is not None else 0
        status = command(desk)
        if others:
            say(f"{plural(others, 'open step')} of other accounts or addresses left alone.")
    return status


def _account(options: argparse.Namespace) -> Account | None:
    """Find the account; only looking is done without one."""
    try:
        return resolve_account(base_url=options.base_url)
    except MissingAPIKey:
        if getattr(options, "all_accounts", False):
            return None
        if options.action not in _LOOKING:
            raise
        say("No API key is set, so the steps of every account are shown.")
        return None
