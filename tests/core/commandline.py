"""The command line for tests: journals as real engines leave them, and what a command says about them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dw_agents import Engine, StepError, SubmissionUnknown
from dw_agents.cli import main
from dw_agents.emulator import make_backend
from tests.core.conftest import QUICK
from tests.core.steps import eventually, step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from dw_agents import Step, Ticket
    from dw_agents.emulator import Emulator

LONG_AGO = 3600.0


class Held:
    """Answers like the rules, once it is released."""

    name = "held"
    description = "Fixed rules answer, when the test says so."

    def __init__(self) -> None:
        self._rules = make_backend("rules")

    async def start(self) -> None:
        self._loop, self._open = asyncio.get_running_loop(), asyncio.Event()

    async def close(self) -> None:
        """Nothing to release."""

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        await self._open.wait()
        return await self._rules.chat(request)

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        await self._open.wait()
        return await self._rules.embed(request)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)


@dataclass(frozen=True)
class Said:
    """What a command wrote, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        (one,) = self.objects
        return one


@dataclass(frozen=True)
class Office:
    """A journal, the service that its steps were sent to, and the commands on both."""

    emulator: Emulator
    journal: Path
    capsys: pytest.CaptureFixture[str]

    def jobs(self, *arguments: object) -> Said:
        self.capsys.readouterr()
        status = main(["jobs", *map(str, arguments)])
        return Said(status, *self.capsys.readouterr())

    def listed(self, *filters: object) -> list[dict[str, Any]]:
        said = self.jobs("list", "--json", *filters)
        assert said.status == 0
        return said.objects

    def states(self) -> list[str]:
        return [entry["state"] for entry in self.listed()]

    def engine(self, **settings: Any) -> Engine:
        given = {"api_key": self.emulator.api_key, "base_url": self.emulator.base_url, "retries": QUICK, **settings}
        return Engine(journal=self.journal, **given)

    def leave(self, *steps: Step, **settings: Any) -> list[str]:
        """Ask steps, and leave as soon as the service has accepted them; returns the services' ids."""
        with self.engine(**settings) as engine:
            tickets = accepted(engine, *steps)
            return [str(ticket.response_id) for ticket in tickets]

    def hold(self, engine: Engine, *steps: Step) -> list[Ticket]:
        """Ask steps in an engine that goes on, and wait until the journal has it that they were accepted."""
        tickets = accepted(engine, *steps)
        assert eventually(lambda: set(self.states()) == {"accepted"})
        return tickets

    def leave_unknown(self, *steps: Step) -> None:
        """Ask steps whose submission gets no reply, though the service accepts them."""
        self.emulator.faults.add("lost_reply", route="POST /responses", times=len(steps))
        with self.engine(on_unknown="raise") as engine:
            for ticket in [engine.submit(one) for one in steps]:
                with contextlib.suppress(SubmissionUnknown):
                    ticket.result(10)

    def leave_in_creation(self, *steps: Step, fault: str) -> None:
        """Ask batch steps, and leave while the creation of their batch is under way."""
        self.emulator.faults.add(fault, route="POST /batches", times=1)
        engine = self.engine()
        for one in steps:
            engine.submit(one)
        assert eventually(lambda: self.emulator.counters["POST /batches"] == 1)
        assert eventually(lambda: self.emulator.counters.faults.get(fault, 0) == 1)
        engine.close(0.1)

    def collect(self, *steps: Step, **settings: Any) -> list[Ticket]:
        """Ask steps in a new engine and wait for their ends."""
        with self.engine(**settings) as engine:
            tickets = [engine.submit(one) for one in steps]
            for ticket in tickets:
                with contextlib.suppress(StepError):
                    ticket.result(20)
            return tickets

    def grow_older(self, seconds: float = LONG_AGO) -> None:
        """Make all that is in the journal older than it is."""
        with contextlib.closing(sqlite3.connect(self.journal)) as database, database:
            database.execute("UPDATE steps SET created = created - ?1, updated = updated - ?1", (seconds,))
            database.execute("UPDATE batches SET created = created - ?1", (seconds,))

    def let_jobs_end(self, after: float = 0.0) -> None:
        """Let the jobs of a service whose backend is ``Held`` end, now or while a command runs."""
        backend = self.emulator.backend
        assert isinstance(backend, Held)
        if after:
            threading.Timer(after, backend.release).start()
            return
        backend.release()
        assert eventually(lambda: not self.emulator.running())

    def lines(self, texts: Sequence[object], **settings: Any) -> list[Step]:
        """Steps that travel by batch."""
        return [step(text, service_tier="batch", **settings) for text in texts]


def accepted(engine: Engine, *steps: Step) -> list[Ticket]:
    """Ask steps and wait until the service has accepted them."""
    tickets = [engine.submit(one) for one in steps]
    assert eventually(lambda: all(ticket.accepted_at is not None for ticket in tickets))
    return tickets
