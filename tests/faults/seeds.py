"""Seeded faults: a service that misbehaves in every way it can, and processes that die, over thousands of steps.

Owns: one seed from its weather to its account (``run_seed``). The same seed brings the same faults in force; which
request each of them strikes depends on the order in which requests arrive.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from dw_agents.emulator import Emulator, Fault
from dw_agents.emulator.batchstore import COMPLETED
from tests.faults.child import seed as random_of
from tests.faults.ledger import outcomes, read_lines, receipts
from tests.faults.rows import query

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path

    from tests.faults.nursery import Nursery

ASK_MANY = "tests.faults.child:ask_many"
SUBMIT, POLL = "POST /responses", "GET /responses/{id}"
UPLOAD, CREATE, FOLLOW = "POST /files", "POST /batches", "GET /batches/{id}"
LOOK_UP, DOWNLOAD = "GET /batches", "GET /files/{id}/content"
REFUSED = (409, 429, 503)
"""Replies to a submission that say that nothing was accepted."""


def weather(rng: random.Random) -> list[Fault]:
    """Draw what goes wrong in a seed: about half of everything that can."""
    all_of_it = [
        *(
            Fault(kind, route=SUBMIT, rate=0.01, delay=0.05)
            for kind in ("lost_request", "lost_reply", "reset_body", "slow", "slow_reply")
        ),
        Fault("garbage", route=SUBMIT, rate=0.003),
        *(Fault("status", route=SUBMIT, status=status, rate=0.004) for status in (500, 502, 408, 409)),
        *(Fault("status", route=SUBMIT, status=status, retry_after=0.03, rate=0.003) for status in (429, 503)),
        *(
            Fault(kind, route=POLL, rate=0.01, delay=0.05)
            for kind in ("lost_request", "lost_reply", "reset_body", "slow")
        ),
        Fault("garbage", route=POLL, rate=0.005),
        *(Fault("status", route=POLL, status=status, retry_after=0.03, rate=0.005) for status in (429, 500)),
        *(Fault(kind, route=route, rate=0.05) for kind in ("lost_reply", "reset_body") for route in (UPLOAD, CREATE)),
        *(Fault("status", route=route, status=500, rate=0.05) for route in (UPLOAD, CREATE, FOLLOW, LOOK_UP, DOWNLOAD)),
        *(Fault(kind, route=DOWNLOAD, rate=0.1) for kind in ("lost_reply", "reset_body")),
        Fault("lost_request", route=CREATE, rate=0.03),
        Fault("paged_download", page=37),
        Fault("fail_job", code=500, rate=0.005),
        Fault("fail_job", code=None, rate=0.002),
        Fault("fail_job", code=400, rate=0.001),
        Fault("cancelled", rate=0.001),
        Fault("omit_usage", rate=0.002),
        Fault("fail_line", code=503, rate=0.005),
        Fault("fail_line", code=400, rate=0.001),
        Fault("inline_error", status=400, rate=0.001),
        *(Fault(kind, rate=0.002) for kind in ("malformed_line", "missing_line", "unknown_custom_id")),
        Fault("duplicate_line", rate=0.01),
        *(Fault(kind, rate=0.03) for kind in ("batch_expired", "batch_cancelled", "batch_failed")),
    ]
    return [fault for fault in all_of_it if rng.random() < 0.5]


@dataclass
class Account:
    """What a seed came to.

    Attributes:
        seed: its number.
        kind: how it was set up.
        deaths: processes killed on the way.
        answered, failed: steps by their end.
        errors: the latter by type.
        accepted: jobs and lines that the service accepted and did not fail.
        duplicates: how many of them are beyond one for each step.
        reported: possible duplicates that the journal counted.
        faults: that fired.
        seconds: it took.
        wrong: what should not be.
    """

    seed: int
    kind: str
    deaths: int = 0
    answered: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    duplicates: int = 0
    reported: int = 0
    faults: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def run_seed(number: int, requests: int, folder: Path, nursery: Nursery) -> Account:
    """Live through one seed: an emulator with its faults, processes that ask and die, and one that ends it.

    Every fifth seed is flex alone without deaths, so that POSTs can be counted one by one; another fifth is the same
    with ``on_unknown="raise"``; the others mix flex and batch, and their processes die twice.

    Args:
        number: of the seed.
        requests: how many steps.
        folder: for the files; empty.
        nursery: starts the processes.
    """
    rng = random_of(number)
    strict = number % 5 == 1 or (number % 5 == 2 and number % 2 == 0)
    alone = number % 5 in {0, 1}
    tiers = ["flex"] if alone else ["flex", "batch"]
    kind = f"{'+'.join(tiers)}{' raise' if strict else ''}{'' if alone else ' deaths'}"
    account = Account(number, kind)
    begun = time.monotonic()
    emulator = Emulator(
        record=0, seed=number, visible_after=rng.choice([0.0, 0.1, 0.4]), line_latency=rng.choice([None, (0.0, 0.3)])
    )
    emulator.set_faults(*weather(rng))
    with emulator:
        engine = {
            "api_key": emulator.api_key,
            "base_url": emulator.base_url,
            "journal": str(folder / "journal.db"),
            "on_unknown": "raise" if strict else "resend",
            "lines": max(50, requests // 40),
        }
        seed = {"number": number, "tiers": tiers, "requests": requests, "samples": 1 + requests // 50}
        files: list[Path] = []
        deaths = [] if alone else [rng.randrange(20, requests), rng.randrange(20, 2 * requests), 0]
        for die_at in deaths or [0]:
            done = [int(each["label"]) for file in files for each in outcomes(file)]
            files.append(folder / f"{len(files)}.jsonl")
            status = nursery.run(
                ASK_MANY, timeout=300.0, **seed, engine=engine, done=done, outcomes=str(files[-1]), die_at=die_at
            )
            if status == -signal.SIGKILL:
                account.deaths += 1
            elif status:
                account.wrong.append(f"a process ended with {status}: {nursery.said()[-2000:]}")
        _settle(account, emulator, files, requests, folder / "journal.db", strict=strict, alone=alone)
    account.seconds = time.monotonic() - begun
    return account


def _settle(
    account: Account, emulator: Emulator, files: list[Path], requests: int, journal: Path, *, strict: bool, alone: bool
) -> None:
    """Draw the account and note everything that should not be."""
    ends = [each for file in files for each in outcomes(file)]
    answers = [each for each in ends if "answer" in each]
    account.answered, account.failed = len(answers), len(ends) - len(answers)
    account.errors = Counter(each["error"] for each in ends if "error" in each)
    account.faults = sum(emulator.counters.faults.values())
    wrong = account.wrong
    if sorted(int(each["label"]) for each in ends) != list(range(requests)):
        wrong.append(f"{requests - len({each['label'] for each in ends})} steps were lost")
    if any(each["input"] not in each["answer"] for each in answers):
        wrong.append("a step got the answer to another question")
    for file in files:
        told = [each["id"] for each in outcomes(file) if "answer" in each]
        if len(set(told)) != len(told):
            wrong.append("two steps of one process got the same answer")
    # Whom a process had just answered when it died is not told apart from an equal step that is asked after it.
    if len({(each["id"], each["input"]) for each in answers}) != len({each["id"] for each in answers}):
        wrong.append("two different steps got the same answer")
    if not all(each["names_ticket"] for each in ends if "error" in each):
        wrong.append("an error does not name its ticket")
    _count(account, emulator, ends, journal, strict=strict)
    if alone:
        _count_posts(account, emulator, files)
    _count_money(account, emulator, files, answers)


def _count(account: Account, emulator: Emulator, ends: list[dict[str, Any]], journal: Path, *, strict: bool) -> None:
    """Compare what the service accepted with what was asked and what was reported, text by text."""
    asked = Counter(each["input"] for each in ends)
    billed = _accepted(emulator)
    # A death between the delivery in the journal and its note in the file of outcomes: to its caller it was delivered.
    answered = Counter(each["label"] for each in ends if "answer" in each)
    text_of = {each["label"]: each["input"] for each in ends}
    reported: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    for label, state, duplicates in query(journal, "SELECT label, state, possible_duplicates FROM steps"):
        reported[text_of[label]] += duplicates
        delivered[text_of[label]] += state == "delivered"
    for label in answered:
        delivered[text_of[label]] -= 1
    account.accepted, account.reported = billed.total(), reported.total()
    for text, count in billed.items():
        extra = count - asked[text]
        account.duplicates += max(0, extra)
        allowed = max(0, delivered[text]) + reported[text]
        if extra > allowed:
            account.wrong.append(f"{text} was accepted {count} times for {asked[text]} steps; {allowed} may be more")
    if strict and account.reported:
        account.wrong.append(f"{account.reported} submissions were sent again in spite of on_unknown='raise'")


def _accepted(emulator: Emulator) -> Counter[str]:
    """What was accepted and did not fail, by text: what is billed."""
    found = Counter(job.body["input"] for job in emulator.jobs if job.state not in {"failed", "cancelled"})
    for batch in emulator.batches:
        if batch.input is not None:
            spool = batch.input.spool
            completed = (number for number, state in enumerate(batch.lines) if state == COMPLETED)
            found.update(msgspec.json.decode(spool.line(number))["body"]["input"] for number in completed)
    return found


def _count_posts(account: Account, emulator: Emulator, files: list[Path]) -> None:
    """Without deaths and on flex alone: POSTs that may have been accepted, beyond one a step, were all reported."""
    counts = emulator.counters.snapshot()
    refused = sum(counts.replies.get((SUBMIT, status), 0) for status in REFUSED)
    sent = sum(each["posts"] > 0 for file in files for each in outcomes(file))
    told = receipts(files)
    beyond = counts[SUBMIT] - refused - sent - told["resubmitted"]
    if beyond != told["possible_duplicates"] or beyond != account.reported:
        account.wrong.append(
            f"{beyond} POSTs beyond one a step; the receipt says {told['possible_duplicates']}, the journal "
            f"{account.reported}"
        )


def _count_money(account: Account, emulator: Emulator, files: list[Path], answers: list[dict[str, Any]]) -> None:
    """Receipts add up to the answers, and answers to what the service counted for them."""
    for file in files:
        told = [line["receipt"] for line in read_lines(file) if "receipt" in line]
        tokens = sum(each["tokens"] for each in outcomes(file) if "answer" in each)
        if told and told[0]["tokens"] != tokens:
            account.wrong.append(f"a receipt counts {told[0]['tokens']} tokens for answers of {tokens}")
    counted = _tokens(emulator)
    differing = [each["id"] for each in answers if counted.get(each["id"]) != each["tokens"]]
    if differing:
        account.wrong.append(f"{len(differing)} answers have another usage than the service counted")


def _tokens(emulator: Emulator) -> Mapping[str, int]:
    """Output tokens of every answer that the service has, by its id."""
    found = {job.id: int((job.usage or {}).get("output_tokens", 0)) for job in emulator.jobs}
    for batch in emulator.batches:
        for number in range(len(batch.output.spool)):
            try:
                body = msgspec.json.decode(batch.output.spool.line(number))["response"]["body"]
            except (msgspec.DecodeError, KeyError, TypeError):
                continue
            if "id" in body:
                found[body["id"]] = int((body.get("usage") or {}).get("output_tokens", 0))
    return found
