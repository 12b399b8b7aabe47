"""What is measured: each work, who does it, which figures it yields, and what ours must reach.

Owns: the list. Pure: starts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["WORKS", "Figure", "Side", "Work"]


@dataclass(frozen=True)
class Figure:
    """A column.

    Attributes:
        key: as ``figures.derive`` names it.
        title: with its unit.
        digits: after the point.
        over_first: whether it is what a side needs more than the first one.
    """

    key: str
    title: str
    digits: int = 2
    over_first: bool = False

    @property
    def name(self) -> str:
        """Names the figure where bounds are given."""
        return f"{self.key}_over_first" if self.over_first else self.key


@dataclass(frozen=True)
class Side:
    """A row: who does the work, with which settings.

    Attributes:
        name: as shown.
        script: the client's module, below ``benchmarks``.
        asked: what the script is told, beside the work's own ``asked``.
        peers: whether it runs in the peers' environment.
        must: the most that a figure may be, by its name.
    """

    name: str
    script: str
    asked: dict[str, Any] = field(default_factory=dict)
    peers: bool = False
    must: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """A table.

    Attributes:
        name: for ``--only``.
        title: what is done.
        sides: the rows; ratios are to the first of them that is called ours.
        figures: the columns.
        asked: what every client is told.
        server: the emulator's settings; None where none is needed.
        service: seconds that the service itself takes, which ``beyond`` leaves out.
        limit: seconds after which a client is stopped.
        repeats: the most repetitions, of works that take minutes.
        quick: in place of ``asked`` for a small try.
    """

    name: str
    title: str
    sides: tuple[Side, ...]
    figures: tuple[Figure, ...]
    asked: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] | None = field(default_factory=dict)
    service: float = 0.0
    limit: float = 120.0
    repeats: int = 9
    quick: dict[str, Any] = field(default_factory=dict)


CPU: Final = Figure("cpu_ms", "CPU ms per call", 3)
CPU_SECONDS: Final = Figure("cpu", "CPU s")
EXTRA: Final = Figure("extra", "mean extra delay s", 3)
WALL: Final = Figure("wall", "wall s")
POLLS: Final = Figure("polls", "look-ups per job")
BEYOND: Final = Figure("beyond", "wall s beyond the service's")
FIRST: Final = Figure("first", "first result after s")
LAST: Final = Figure("last_submit", "last submission after s")
PEAK: Final = Figure("peak_mb", "peak MB", 0)

FLEX, PEER = "clients.ours_flex", "clients.peer"
DEFAULTS: Final[dict[str, Any]] = {"via": "engine", "journal": True, "uvloop": False}
BEST: Final[dict[str, Any]] = {"via": "engine", "journal": False, "uvloop": True}


def peer(name: str, *, quiet: bool = False, calls: int | None = None, **settings: Any) -> Side:
    """A row of autobatcher's."""
    asked = {"settings": settings, "quiet": quiet} | ({} if calls is None else {"calls": calls})
    return Side(f"autobatcher 0.12, {name}", PEER, asked, peers=True)


PEER_DEFAULTS: Final = peer("defaults")
PEER_BEST: Final = peer(
    "best (poll 1 s, 100 slots, no log)", quiet=True, poll_interval_seconds=1, max_concurrent_requests=100
)
PEER_BATCH: Final = (
    peer("defaults", completion_window="24h"),
    peer("best (window 1 s, poll 1 s, no log)", quiet=True, completion_window="24h", batch_window_seconds=1,
         poll_interval_seconds=1),
)  # fmt: skip


def lognormal(sigma: float, known: float) -> Work:
    """Times that vary; a real minute is six seconds here."""
    return Work(
        f"lognormal-{sigma}",
        f"flex, 5,000 jobs with log-normal times (median 90 s, sigma {sigma}) ten times compressed; the optimum of a "
        f"known distribution is {known} look-ups at 5% waiting",
        (
            Side("ours, defaults", FLEX, DEFAULTS, must={"polls_at_5": 1.2 * known}),
            Side("ours, its schedule alone, not compressed", "clients.simulated", {"sigma": sigma, "how": "learned"},
                 must={"polls_at_5": 1.2 * known}),
            Side("a fixed interval, not compressed", "clients.simulated", {"sigma": sigma, "how": "fixed"}),
            # Its 100 slots would take eight minutes for 5,000 jobs.
            peer("1,000 jobs, poll 0.5 s (5 s compressed), 100 slots, no log", quiet=True, calls=1000,
                 poll_interval_seconds=0.5, max_concurrent_requests=100),
        ),
        (POLLS, Figure("share", "mean waiting, share of the job's time", 3),
         Figure("polls_at_5", "look-ups per job at 5% waiting", 1), CPU_SECONDS),
        {"calls": 5000},
        {"latency": {"kind": "lognormal", "median": 9.0, "sigma": sigma}},
        limit=420,
        repeats=1,
        quick={"calls": 300},
    )  # fmt: skip


WORKS: Final = (
    Work(
        "emulator",
        "the emulator's own ceiling, asked by a client that costs next to nothing",
        (Side("emulator on uvloop", "clients.flood"),),
        (
            Figure("posts_per_second", "POST /responses a second", 0),
            Figure("gets_per_second", "GET /responses/{id} a second", 0),
            Figure("cpu_ms", "client's CPU ms for both", 3),
            Figure("server_cpu_ms", "emulator's CPU ms for both", 3),
        ),
        {"calls": 10_000},
        {"latency": 0.0},
        quick={"calls": 1000},
    ),
    Work(
        "flex-2000",
        "flex, 2,000 calls at once, jobs of 2 s",
        (
            Side("ours, Engine.submit, defaults", FLEX, DEFAULTS, must={"cpu_ms": 0.6, "extra": 0.3}),
            Side("ours, with uvloop", FLEX, {**DEFAULTS, "uvloop": True}, must={"cpu_ms": 0.6, "extra": 0.3}),
            Side("ours, with uvloop, without journal", FLEX, BEST, must={"cpu_ms": 0.6, "extra": 0.3}),
            Side("ours, LangChain ainvoke, defaults", FLEX, {**DEFAULTS, "via": "langchain"}, must={"cpu_ms": 1.6}),
            Side("ours, LlamaIndex achat, defaults", FLEX, {**DEFAULTS, "via": "llama_index"}, must={"cpu_ms": 1.6}),
            Side("ours, drop-in AsyncOpenAI, chat, defaults", FLEX, {**DEFAULTS, "via": "openai"}),
            Side("the floor: bare aiohttp", "clients.bare", {"seconds": 2, "uvloop": False}),
            Side("the floor: bare aiohttp on uvloop", "clients.bare", {"seconds": 2, "uvloop": True}),
            PEER_DEFAULTS,
            PEER_BEST,
        ),
        (CPU, EXTRA, WALL, POLLS, FIRST, LAST),
        {"calls": 2000},
        {"latency": 2.0},
        quick={"calls": 300},
    ),
    Work(
        "flex-10000",
        "flex, 10,000 calls at once, jobs of 2 s",
        (
            Side("ours, defaults", FLEX, DEFAULTS, must={"wall": 9, "cpu": 6, "extra": 0.5}),
            Side("ours, with uvloop, without journal", FLEX, BEST, must={"wall": 9, "cpu": 6, "extra": 0.5}),
            Side("the floor: bare aiohttp on uvloop", "clients.bare", {"seconds": 2, "uvloop": True}),
            PEER_DEFAULTS,
            PEER_BEST,
        ),
        (WALL, CPU_SECONDS, EXTRA, POLLS, FIRST, LAST),
        {"calls": 10_000},
        {"latency": 2.0},
        limit=240,
        quick={"calls": 1000},
    ),
    Work(
        "flex-60s",
        "flex, 2,000 calls at once, jobs of 60 s",
        (
            Side("ours, defaults", FLEX, DEFAULTS, must={"polls": 2.5, "cpu": 3, "extra": 2}),
            PEER_DEFAULTS,
            peer("best (poll 5 s, 100 slots, no log)", quiet=True, max_concurrent_requests=100),
        ),
        (POLLS, CPU_SECONDS, EXTRA, WALL),
        {"calls": 2000},
        {"latency": 60.0},
        limit=240,
        repeats=2,
        quick={"calls": 200},
    ),
    lognormal(0.3, 5.1),
    lognormal(0.8, 9.5),
    Work(
        "batch-200",
        "batch, 200 calls at once, 2 s at the service",
        (Side("ours, defaults", FLEX, {**DEFAULTS, "tier": "batch"}, must={"beyond": 1}), *PEER_BATCH),
        (BEYOND, CPU_SECONDS, Figure("requests", "HTTP requests", 0)),
        {"calls": 200},
        {"batch_latency": 2.0},
        service=2.0,
    ),
    Work(
        "batch-10000",
        "batch, 10,000 calls at once, 2 s at the service",
        (
            Side("ours, defaults", FLEX, {**DEFAULTS, "tier": "batch"}, must={"beyond": 1.5, "cpu": 1.0}),
            Side("ours, with uvloop, without journal", FLEX, {**BEST, "tier": "batch"}, must={"beyond": 1.5, "cpu": 1}),
            *PEER_BATCH,
        ),
        (CPU_SECONDS, BEYOND, Figure("requests", "HTTP requests", 0)),
        {"calls": 10_000},
        {"batch_latency": 2.0},
        service=2.0,
        quick={"calls": 1000},
    ),
    Work(
        "agents",
        "100 agents x 5 dependent steps by batch, 1 s a step at the service",
        (
            Side("ours, defaults", "clients.ours_agents", {"tier": "batch", "journal": True, "uvloop": False},
                 must={"beyond": 2}),
            *PEER_BATCH,
        ),
        (BEYOND, WALL, CPU_SECONDS),
        {"agents": 100, "steps": 5},
        {"batch_latency": 1.0},
        service=5.0,
    ),
    Work(
        "outstanding",
        "100,000 flex steps outstanding",
        (
            Side("ours, without journal", "clients.ours_outstanding", must={"bytes_per_step": 3072}),
            Side("ours, defaults", "clients.ours_outstanding", {"journal": True}, must={"bytes_per_step": 3072}),
        ),
        (Figure("bytes_per_step", "bytes per step beside its body", 0), Figure("submitted_in", "submit() of all, s"),
         WALL),
        {"calls": 100_000},
        {"latency": 3600.0},
        limit=300,
        repeats=1,
        quick={"calls": 5000},
    ),
    Work(
        "threads",
        "flex by LangChain, 64 at a time, jobs of 0.25 s",
        (
            Side("ours, ainvoke, 64 tasks", FLEX, {**DEFAULTS, "via": "langchain"}),
            Side(
                "ours, invoke, 64 threads",
                FLEX,
                {**DEFAULTS, "via": "langchain_threads"},
                must={"cpu_ms_over_first": 0.2},
            ),
        ),
        (CPU, Figure("cpu_ms", "more than ainvoke, ms", 3, over_first=True), WALL),
        {"calls": 3000, "at_a_time": 64},
        {"latency": 0.25},
        quick={"calls": 500},
    ),
    Work(
        "journal",
        "flex submissions: 100 a second, then 5,000 at once",
        tuple(
            Side(f"ours, journal {'on' if journal else 'off'}", "clients.ours_submissions", {"journal": journal})
            for journal in (True, False)
        ),
        (Figure("accepted_p50_ms", "submit() to accepted, p50 ms"), Figure("accepted_p99_ms", "p99 ms"),
         Figure("submit_p99_us", "submit() itself, p99 µs", 0),
         Figure("accepted_per_second", "accepted per second, of 5,000", 0)),
        {"calls": 500, "per_second": 100, "burst": 5000, "uvloop": False},
        {"latency": 1.0},
        quick={"calls": 100, "burst": 500},
    ),
    Work(
        "bursts",
        "flex_bursts: background Responses, or one batch with a window of an hour; 2,000 calls at once, 2 s",
        (
            Side('ours, "responses" (default)', FLEX, DEFAULTS),
            Side('ours, "batch"', FLEX, {**DEFAULTS, "options": {"flex_bursts": "batch"}}),
        ),
        (CPU, WALL, BEYOND, Figure("requests", "HTTP requests", 0)),
        {"calls": 2000},
        {"latency": 2.0, "batch_latency": 2.0},
        service=2.0,
        quick={"calls": 300},
    ),
    *(
        Work(
            f"growth-{tier}",
            f"{tier}, ours, defaults, 2 s at the service: as the number of calls grows",
            tuple(
                Side(f"ours, {calls:,} calls", FLEX, {**DEFAULTS, "tier": tier, "calls": calls})
                for calls in (1000, 10_000, 100_000)
            ),
            (CPU, BEYOND, Figure("requests_per_call", "HTTP requests per call", 3),
             Figure("peak_kb", "peak kB per call, of the process", 1)),
            {},
            {"latency": 2.0, "batch_latency": 2.0},
            service=2.0,
            limit=400,
            repeats=1,
        )
        for tier in ("flex", "batch")
    ),
    Work(
        "large-batch",
        "batch, 50,000 answers of 4 kB",
        (Side("ours, without journal", "clients.ours_large_batch"),),
        (Figure("submitted_bytes", "bytes per submitted step, its body included", 0),
         Figure("answers_mb", "MB of answers", 0), Figure("beside_mb", "peak MB beside the answers", 0), WALL),
        {"calls": 50_000},
        {"batch_latency": 1.0, "answer_bytes": 3700},
        quick={"calls": 5000},
    ),
    Work(
        "imports",
        "import in a fresh interpreter",
        tuple(
            Side(statement, "clients.imports", {"statement": statement})
            for statement in ("from dw_agents import Engine, Step, StepError", "import dw_agents", "import openai")
        ),
        (Figure("import_ms", "ms", 1), Figure("import_mb", "MB", 1)),
        server=None,
    ),
)  # fmt: skip
