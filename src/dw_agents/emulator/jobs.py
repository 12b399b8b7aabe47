"""Stored model calls: what a job is, its states, and the store that finds them.

Owns: ``Job`` and ``JobStore``. Must not import routes, the scheduler or backends.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dw_agents.emulator.fault import Fault

__all__ = ["TERMINAL", "Job", "JobStore", "State", "Tier", "new_id"]

State = Literal["queued", "in_progress", "completed", "failed", "cancelled", "deleted"]
Tier = Literal["priority", "flex", "background"]

TERMINAL: frozenset[State] = frozenset({"completed", "failed", "cancelled", "deleted"})


def new_id() -> str:
    """A fresh response id, ``resp_`` and a random UUID."""
    return f"resp_{uuid.uuid4()}"


class Job:
    """One stored model call.

    Attributes:
        id: ``resp_<uuid>``.
        tier: ``"priority"`` (realtime), ``"flex"`` or ``"background"``.
        endpoint: ``"/responses"`` or ``"/chat/completions"``.
        model: as asked for.
        body: the request as stored: ids, ``service_tier``, ``background`` and (for a stream) ``stream``
            removed.
        owner: whose it is.
        state: ``queued``, ``in_progress``, ``completed``, ``failed``, ``cancelled`` or ``deleted``.
        created: service time of acceptance, Unix seconds.
        started: service time of the pick-up, or ``None``.
        finished: service time of the last state, or ``None``.
        output: output items, once completed.
        usage: token counts, once completed and when the model gave them.
        answer: the model's own chat completion, once it gave one.
        error: ``{"type", "message"[, "code"]}`` of a failed job.
        faults: the faults that will strike its model call.
        user_agent: who submitted it, as far as the service keeps it: the first 256 characters.
    """

    __slots__ = (
        "__weakref__",
        "_done",
        "answer",
        "body",
        "created",
        "encoded",
        "endpoint",
        "error",
        "faults",
        "finished",
        "id",
        "model",
        "output",
        "owner",
        "started",
        "state",
        "task",
        "tier",
        "usage",
        "user_agent",
    )

    def __init__(
        self,
        *,
        tier: Tier,
        endpoint: str,
        body: dict[str, Any],
        owner: str,
        created: float,
        state: State = "queued",
        faults: Sequence[Fault] = (),
        user_agent: str = "",
    ) -> None:
        self.id = new_id()
        self.tier = tier
        self.endpoint = endpoint
        self.body = body
        self.model = body["model"] if isinstance(body.get("model"), str) else ""
        self.owner = owner
        self.created = created
        self.started: float | None = None
        self.finished: float | None = None
        self.state: State = state
        self.output: list[dict[str, Any]] = []
        self.usage: dict[str, Any] | None = None
        self.answer: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.faults = tuple(faults)
        self.user_agent = user_agent[:256]
        self.encoded: bytes | None = None
        self.task: asyncio.Task[None] | None = None
        self._done: asyncio.Event | None = None

    @property
    def terminal(self) -> bool:
        """Whether nothing more will happen to it (and nothing more is paid)."""
        return self.state in TERMINAL

    def start(self, now: float) -> None:
        """Queued to in progress."""
        self.started = now
        self._enter("in_progress")

    def complete(self, now: float, *, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> None:
        """To completed, with its answer."""
        self.output = output
        self.usage = usage
        self.finished = now
        self._enter("completed")

    def fail(self, now: float, error: dict[str, Any]) -> None:
        """To failed, with its error."""
        self.error = error
        self.finished = now
        self._enter("failed")

    def end(self, now: float, state: Literal["cancelled", "deleted"]) -> None:
        """To cancelled or deleted; a job under way is stopped."""
        if self.finished is None:
            self.finished = now
        self._enter(state)
        if self.task is not None:
            self.task.cancel()

    async def wait(self, limit: float) -> bool:
        """Wait for a terminal state, at most ``limit`` real seconds; tells whether it came."""
        if self.terminal:
            return True
        if self._done is None:
            self._done = asyncio.Event()
        try:
            async with asyncio.timeout(limit):
                await self._done.wait()
        except TimeoutError:
            return False
        return True

    def _enter(self, state: State) -> None:
        self.state = state
        self.encoded = None
        if self._done is not None and state in TERMINAL:
            self._done.set()

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.tier} {self.state} {self.model!r}>"


class JobStore:
    """Every job since the start, found by id; lists are safe to take from any thread.

    Args:
        now: service time, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._jobs: dict[str, Job] = {}

    def add(self, job: Job) -> None:
        """Store a job."""
        self._jobs[job.id] = job

    def get(self, ident: str) -> Job | None:
        """The job of an id with or without ``resp_``, in any spelling of a UUID; deleted ones included."""
        job = self._jobs.get(ident)
        if job is not None:
            return job
        try:
            return self._jobs.get(f"resp_{uuid.UUID(ident.removeprefix('resp_'))}")
        except ValueError:
            return None

    def find(self, ident: str, owner: str, *, visible_after: float) -> Job | None:
        """The job as a client may see it: its own, not deleted, and old enough for the read replica.

        Args:
            ident: id as sent.
            owner: who asks.
            visible_after: service seconds between acceptance and the first sight of a job.
        """
        job = self.get(ident)
        if job is None or job.owner != owner or job.state == "deleted":
            return None
        if visible_after and self._now() < job.created + visible_after:
            return None
        return job

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        return list(self._jobs.values())

    def running(self) -> list[str]:
        """Ids of the jobs that are not finished: what would still be paid for."""
        return [job.id for job in self.all() if not job.terminal]
