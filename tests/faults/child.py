"""What a child process does: it asks steps, writes down each outcome as it comes, and may die on the way."""

from __future__ import annotations

import json
import os
import random
import threading
from typing import TYPE_CHECKING, Any

import tenacity

from dw_agents import Engine, Retries, Step, StepError
from dw_agents.schedule.window import Limits
from tests.faults.boundaries import Boundaries

if TYPE_CHECKING:
    from dw_agents import Receipt, Ticket

RETRIES = Retries(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_attempt(6), patience=20.0)


def ask(
    steps: list[dict[str, Any]],
    *,
    engine: dict[str, Any],
    outcomes: str,
    log: str = "",
    die_at: int | str = "",
) -> None:
    """Ask all steps at once and wait for them.

    Args:
        steps: the arguments of each ``Step``.
        engine: the arguments of ``Engine``.
        outcomes: the file that gets one JSON object for each step that ends, and last one for the receipt.
        log: the file that gets the names of the boundaries.
        die_at: the boundary to die at, see ``Boundaries``.
    """
    if log:
        Boundaries(log, die_at).watch()
    book = os.open(outcomes, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    limits = Limits(quiet=0.02, lines=engine.pop("lines", 50_000))
    with Engine(retries=RETRIES, batch_limits=limits, **engine) as running:
        tickets = [running.submit(Step(**step)) for step in steps]
        for ticket in tickets:
            ticket.add_done_callback(_Note(book, ticket))
        for ticket in tickets:
            ticket.join()
        receipt = running.receipt()
    os.write(book, json.dumps({"receipt": summary(receipt)}).encode() + b"\n")


class _Note:
    """Writes the outcome of a ticket down, once, the moment that it is there."""

    def __init__(self, book: int, ticket: Ticket) -> None:
        self._book = book
        self._ticket = ticket
        self._lock = threading.Lock()
        self._written = False

    def __call__(self) -> None:
        with self._lock:
            if self._written or not self._ticket.done():
                return
            self._written = True
        os.write(self._book, json.dumps(outcome(self._ticket)).encode() + b"\n")


def outcome(ticket: Ticket) -> dict[str, Any]:
    """What became of a step, as JSON."""
    told: dict[str, Any] = {
        "input": ticket.step.body["input"],
        "label": ticket.step.label,
        "posts": ticket.posts,
        "possible_duplicates": ticket.possible_duplicates,
        "replayed": ticket.replayed,
    }
    try:
        answer = ticket.result(0)
    except StepError as error:
        return {**told, "error": type(error).__name__, "text": str(error), "names_ticket": error.ticket is ticket}
    text = "".join(
        part["text"] for item in answer.body["output"] if item["type"] == "message" for part in item["content"]
    )
    usage = answer.usage or {}
    return {**told, "id": answer.body["id"], "answer": text, "tokens": usage.get("output_tokens", 0)}


def summary(receipt: Receipt) -> dict[str, int]:
    """The counts of a receipt, as JSON."""
    return {
        "steps": receipt.steps,
        "failed": sum(line.failed for line in receipt.lines.values()),
        "tokens": sum(line.output_tokens for line in receipt.lines.values()),
        **{name: getattr(receipt, name) for name in ("resubmitted", "possible_duplicates", "reattached", "replayed")},
    }


def seed(*parts: object) -> random.Random:
    """Random numbers that are the same for the same parts, in whatever process."""
    return random.Random("/".join(map(str, parts)))


def ask_many(
    number: int,
    *,
    tiers: list[str],
    requests: int,
    samples: int,
    done: list[int],
    engine: dict[str, Any],
    outcomes: str,
    die_at: int = 0,
) -> None:
    """Ask the steps of a seed that have no outcome yet.

    Args:
        number: the seed's.
        tiers: which the steps travel on, in turn.
        requests: how many steps the seed has; step ``n`` is labelled ``n``.
        samples: how many of them ask the same text.
        done: the steps that have an outcome.
        engine: as for ``ask``.
        outcomes: as for ``ask``.
        die_at: as for ``ask``.
    """
    left = set(range(requests)) - set(done)
    steps = [step_of(number, n, tiers, samples) for n in sorted(left)]
    ask(steps, engine=engine, outcomes=outcomes, log=os.devnull if die_at else "", die_at=die_at)


def step_of(number: int, n: int, tiers: list[str], samples: int) -> dict[str, Any]:
    """The arguments of one step of a seed."""
    text = f"<{number}/{max(n, samples - 1)}>"
    return {"body": {"model": "a-model", "input": text}, "service_tier": tiers[n % len(tiers)], "label": str(n)}
