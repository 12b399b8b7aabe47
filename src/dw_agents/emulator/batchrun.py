"""The life of a batch after its creation: reading its lines, running them, and its several ends.

Owns: ``BatchRunner``. Must not import routes. There is no task for a line: a few workers of each batch take its
lines one after the other, in the order in which their latencies end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dw_agents.emulator.answers import CancelledUpstream
from dw_agents.emulator.batchstore import CANCELLED, COMPLETED, FAILED, PENDING, RUNNING
from dw_agents.emulator.clock import parse_duration
from dw_agents.emulator.fault import EARLY_ENDS
from dw_agents.emulator.linecalls import answer
from dw_agents.emulator.lines import parse
from dw_agents.emulator.openai_profile import problems_of
from dw_agents.emulator.results import (
    Failure,
    error_line,
    expired_line,
    output_line,
    spoil_answer,
    spoil_line,
)
from dw_agents.emulator.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence
    from random import Random

    from dw_agents.emulator.batchstore import Batch
    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.lines import Request
    from dw_agents.emulator.service import Service

__all__ = ["CREATION", "BatchRunner"]

CREATION = "POST /batches"
"""The route under which faults look for batches and their lines."""


class BatchRunner:
    """Runs batches.

    Args:
        service: the service that they belong to.
        rng: where the durations are drawn from.
    """

    def __init__(self, service: Service, rng: Random) -> None:
        settings = service.settings
        self._service = service
        self._clock = service.clock
        self._rng = rng
        self._validation = parse_duration(settings.batch_validation)
        self._batch_latency = parse_duration(settings.batch_latency)
        self._line_latency = None if settings.line_latency is None else parse_duration(settings.line_latency)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, batch: Batch) -> None:
        """Begin with a new batch."""
        self._spawn(batch, self._live(batch))

    def retry(self, batch: Batch, numbers: Sequence[int]) -> None:
        """Run lines once more that had failed or been cancelled; they leave the error file."""
        again = set(numbers)
        rest = Spool()
        order = batch.error_order[:0]
        for row, number in enumerate(batch.error_order):
            if number not in again:
                batch.rows[number] = len(rest)
                rest.append(batch.errors.spool.line(row))
                order.append(number)
        batch.errors.spool.close()
        batch.errors.spool, batch.error_order = rest, order
        batch.reopen(numbers)
        self._spawn(batch, self._run(batch, numbers, early=None))

    def cancel(self, batch: Batch) -> None:
        """Stop a batch; lines that are done stay done."""
        now = self._clock.now()
        batch.stop()
        batch.cancel_rest()
        batch.stamp("cancelling_at", now)
        if self._service.openai:
            batch.state = "cancelling"
            asyncio.get_running_loop().call_soon(self._finish, batch, "cancelled")
        else:
            self._finish(batch, "cancelled")

    async def close(self) -> None:
        """Stop every batch."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, batch: Batch, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        for tasks in (self._tasks, batch.tasks):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _live(self, batch: Batch) -> None:
        await self._clock.sleep(self._validation(self._rng))
        source = batch.input
        if source is None:
            return
        if self._service.openai:
            batch.problems = await problems_of(self._service, batch, source)
            if batch.problems:
                self._finish(batch, "failed")
                return
        batch.populate(len(source.spool), self._clock.now())
        early = next((fault for fault in batch.faults if fault.kind in EARLY_ENDS), None)
        await self._run(batch, range(batch.total), early=early)

    async def _run(self, batch: Batch, numbers: Sequence[int], *, early: Fault | None) -> None:
        """Run some lines of a batch, and end it when they were the last.

        Args:
            batch: the batch.
            numbers: which lines.
            early: the fault that ends the batch before its time.
        """
        started = self._clock.now()
        whole = started + self._batch_latency(self._rng)
        if self._line_latency is None:
            work = [(whole, number) for number in numbers]
        else:
            draw = self._line_latency
            work = sorted((started + draw(self._rng), number) for number in numbers)
        if early is not None:
            work = work[: int(early.share * len(work))]
        await self._work_off(batch, iter(work))
        if early is not None:
            self._end_early(batch, early)
        elif self._service.openai and not batch.settled:
            await self._clock.sleep(batch.expires - self._clock.now())
            self._expire(batch)
        else:
            await self._clock.sleep(whole - self._clock.now())
            if batch.settled and batch.unfinished:
                self._finish(batch, "completed")

    async def _work_off(self, batch: Batch, queue: Iterator[tuple[float, int]]) -> None:
        """Run the lines of a queue, one after the other as long as the backend never makes them wait.

        Args:
            batch: the batch.
            queue: when each line is due, and its number; soonest first.
        """
        clock, loop = self._clock, asyncio.get_running_loop()
        idle = self._service.settings.batch_concurrency

        async def work() -> None:
            for due, number in queue:
                if self._service.openai and max(due, clock.now()) > batch.expires:
                    return
                await clock.sleep(due - clock.now())
                await self._service.turns.take()
                # The next line needs a worker of its own only when this one has to wait.
                helper = loop.call_soon(add_worker)
                try:
                    await self._line(batch, number)
                finally:
                    helper.cancel()

        def add_worker() -> None:
            nonlocal idle
            if idle:
                idle -= 1
                group.create_task(work())

        async with asyncio.TaskGroup() as group:
            add_worker()

    async def _line(self, batch: Batch, number: int) -> None:
        """Run one line and write what came of it."""
        service = self._service
        if batch.input is None or batch.lines[number] != PENDING:
            return
        batch.lines[number] = RUNNING
        stored = batch.input.spool.line(number)
        request = parse(stored)
        faults = self._faults(request.url, stored)
        started = self._clock.now()
        service.counters.called("batch")
        try:
            body = await answer(service, request, batch.owner, faults)
        except CancelledUpstream:
            batch.settle(number, CANCELLED)
        except Exception as error:  # noqa: BLE001 - a backend of the user's own may raise anything
            failure = Failure.of(error)
            self._fail(
                batch, number, error_line(_ident(batch, number), request.custom_id, failure, openai=service.openai)
            )
        else:
            self._complete(batch, number, request, body, faults)
        batch.busy += self._clock.now() - started

    def _faults(self, url: str, stored: bytes) -> Sequence[Fault]:
        service = self._service
        if not service.faults:
            return ()
        struck = service.faults.for_line(CREATION, url, stored, self._clock.now())
        for fault in struck:
            service.counters.fired(fault.kind)
        return struck

    def _complete(
        self, batch: Batch, number: int, request: Request, body: dict[str, Any], faults: Sequence[Fault]
    ) -> None:
        _count_tokens(batch.usage, body.get("usage") or {})
        status = 200
        for fault in faults:
            if fault.kind == "inline_error":
                status = fault.status
                body = {"error": {"message": fault.message or "refused (injected by the emulator)", "code": status}}
        if faults:
            spoil_answer(body, faults)
        ident = _ident(batch, number)
        request_id = f"req_{ident[10:]}" if self._service.openai else None
        line = output_line(ident, request.custom_id, msgspec.json.encode(body), status=status, request_id=request_id)
        for written in spoil_line(line, request.custom_id, faults) if faults else (line,):
            batch.rows[number] = len(batch.output.spool)
            batch.output.spool.append(written)
        batch.settle(number, COMPLETED)

    def _fail(self, batch: Batch, number: int, line: bytes) -> None:
        batch.rows[number] = len(batch.errors.spool)
        batch.errors.spool.append(line)
        batch.error_order.append(number)
        batch.settle(number, FAILED)

    def _end_early(self, batch: Batch, fault: Fault) -> None:
        if not batch.unfinished:
            return
        if fault.kind == "batch_expired":
            batch.expires = self._clock.now()
            self._expire(batch)
            return
        if fault.kind == "batch_cancelled":
            batch.cancel_rest()
            batch.stamp("cancelling_at", self._clock.now())
            self._finish(batch, "cancelled")
            return
        message = fault.message or "The batch failed as a whole (injected by the emulator)."
        batch.problems = [{"code": "batch_failed", "message": message, "param": None, "line": None}]
        self._finish(batch, "failed")

    def _expire(self, batch: Batch) -> None:
        """Give the lines that are left to the error file."""
        source = batch.input
        if source is None or not batch.unfinished:
            return
        openai = self._service.openai
        for number in range(batch.total):
            if batch.lines[number] in (PENDING, RUNNING):
                custom_id = parse(source.spool.line(number)).custom_id
                self._fail(batch, number, expired_line(_ident(batch, number), custom_id, openai=openai))
        self._finish(batch, "expired" if openai else "completed")

    def _finish(self, batch: Batch, state: Literal["cancelled", "completed", "expired", "failed"]) -> None:
        """Give a batch its last state and, in the OpenAI profile, show its files."""
        now = self._clock.now()
        openai = self._service.openai
        if state == "completed" and not openai and batch.total and batch.failed == batch.total:
            state = "failed"
        if state == "completed":
            batch.stamp("finalizing_at", now)
        batch.stamp(f"{state}_at", now)
        if openai:
            for file in (batch.output, batch.errors):
                if len(file.spool):
                    self._service.files.add(file)
        batch.state = state


def _ident(batch: Batch, number: int) -> str:
    return f"batch_req_{batch.line_id(number)}"


def _count_tokens(sums: dict[str, int], usage: dict[str, Any]) -> None:
    sums["prompt"] += usage.get("prompt_tokens") or usage.get("input_tokens") or 0
    sums["completion"] += usage.get("completion_tokens") or usage.get("output_tokens") or 0
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    sums["reasoning"] += details.get("reasoning_tokens") or 0
