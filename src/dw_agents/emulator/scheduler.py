"""When a stored job is picked up and how long it takes: the service's queue and its daemons.

Owns: the queue, the claim loop, the limits per model and the tasks that run jobs. Must not know what a job
does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from dw_agents.emulator.clock import Clock, Sampler
    from dw_agents.emulator.jobs import Job

__all__ = ["Scheduler"]

_COLD_GAP = 60.0
_COLD_PATIENCE = 3000.0


class Scheduler:
    """Claims queued jobs and runs each in a task of its own.

    Args:
        clock: service time.
        rng: where the durations are drawn from.
        perform: does the work of one job and gives it its last state.
        pickup: service seconds from acceptance until a job can be claimed.
        latency: service seconds from the claim until the model answers, on top of what the backend takes.
        claim_interval: service seconds between two looks at the queue; ``None`` claims at once.
        claim_batch: most jobs claimed per look.
        model_concurrency: most jobs of one model in progress; ``None``: no limit.
        cold_models: models that are scaled to zero: about one job a minute per owner and tier is claimed,
            until a job is 50 minutes old (ten minutes before its deadline).
    """

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        perform: Callable[[Job], Coroutine[Any, Any, None]],
        *,
        pickup: Sampler,
        latency: Sampler,
        claim_interval: float | None = None,
        claim_batch: int = 100,
        model_concurrency: int | None = None,
        cold_models: frozenset[str] = frozenset(),
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._perform = perform
        self._pickup = pickup
        self._latency = latency
        # A cold model is claimed by the passing of time, so something has to look at the queue as time
        # passes.
        self._interval = 1.0 if claim_interval is None and cold_models else claim_interval
        self._batch = claim_batch
        self._concurrency = model_concurrency
        self._cold = cold_models
        self._waiting: dict[tuple[str, str, str], deque[Job]] = {}
        self._active: Counter[str] = Counter()
        self._last_cold: dict[tuple[str, str, str], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to claim; must be called on the loop that runs the jobs."""
        self._loop = asyncio.get_running_loop()
        if self._interval is not None:
            self._spawn(self._claim_for_ever(self._interval))

    def submit(self, job: Job) -> None:
        """Queue a job."""
        delay = self._pickup(self._rng)
        if delay > 0 and self._loop is not None:
            self._loop.call_later(self._clock.real(delay), self._ready, job)
        else:
            self._ready(job)

    def run_now(self, job: Job, latency: float) -> None:
        """Run a job outside the queue (a realtime call in the background)."""
        job.task = self._spawn(self._run(job, latency))

    async def close(self) -> None:
        """Stop every task."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ready(self, job: Job) -> None:
        if job.terminal:
            return
        self._waiting.setdefault((job.model, job.owner, job.tier), deque()).append(job)
        if self._interval is None:
            self._claim(None)

    def _claim(self, limit: int | None) -> None:
        claimed = 0
        for key in list(self._waiting):
            queue = self._waiting[key]
            while queue and (limit is None or claimed < limit):
                if queue[0].terminal:
                    queue.popleft()
                elif self._may_start(key, queue[0]):
                    self._begin(queue.popleft())
                    claimed += 1
                else:
                    break
            if not queue:
                del self._waiting[key]

    def _may_start(self, key: tuple[str, str, str], job: Job) -> bool:
        if self._concurrency is not None and self._active[job.model] >= self._concurrency:
            return False
        if job.model not in self._cold:
            return True
        now = self._clock.now()
        last = self._last_cold.get(key)
        if now - job.created < _COLD_PATIENCE and last is not None and now - last < _COLD_GAP:
            return False
        self._last_cold[key] = now
        return True

    def _begin(self, job: Job) -> None:
        self._active[job.model] += 1
        job.start(self._clock.now())
        job.task = self._spawn(self._run(job, self._latency(self._rng)))
        job.task.add_done_callback(lambda _task: self._ended(job))

    def _ended(self, job: Job) -> None:
        self._active[job.model] -= 1
        if self._interval is None and self._waiting:
            self._claim(None)

    async def _run(self, job: Job, latency: float) -> None:
        await self._clock.sleep(latency)
        await self._perform(job)

    async def _claim_for_ever(self, interval: float) -> None:
        while True:
            # Never spin, however fast the clock: a look at the queue takes real time in the service as well.
            await asyncio.sleep(max(0.001, self._clock.real(interval)))
            self._claim(self._batch)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
