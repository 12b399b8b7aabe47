"""One batch, from the steps in it to their ends.

Owns: following and cancelling one batch, and what each of its endings means for each step. Sending it is
``dispatch.py``'s, reading its files ``collect.py``'s. Must not decide who travels together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any, Final, Protocol

from dw_agents.errors import (
    MalformedAnswer,
    StepCancelled,
    StepError,
    StepExpired,
    StepNotRecorded,
    SubmissionUnknown,
)
from dw_agents.routes.collect import Collection
from dw_agents.routes.dispatch import BadLine, Dispatch, NoWindow, TooLarge
from dw_agents.routes.reader import Refused, read
from dw_agents.wire import batches
from dw_agents.wire.http import WireError
from dw_agents.wire.jsonl import request_line
from dw_agents.wire.responses import service_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dw_agents.routes.base import Shared
    from dw_agents.routes.batch import Kind
    from dw_agents.ticket import Ticket, TicketStatus

__all__ = ["Owner", "Shipment"]

log = logging.getLogger("dw_agents")

_TIMEOUT: Final = 60.0
_BAD_LINES: Final = 20
"""Lines that the server may blame one after the other before the whole file is given up."""
_LAST_READS: Final = 3
_CANCEL_TRIES: Final = 5


class Owner(Protocol):
    """What a shipment asks of its route."""

    def again(self, ticket: Ticket, error: StepError) -> None:
        """Submit a step again whose line failed for a passing cause."""

    def anew(self, ticket: Ticket) -> None:
        """Submit a step whose batch is not there after all."""

    def no_window(self, kind: Kind, steps: Iterable[Ticket]) -> bool:
        """Send steps another way whose completion window is not taken, if there is one."""

    def ended(self, ticket: Ticket) -> None:
        """Forget a step that has its end."""

    def answered(self, kind: Kind) -> None:
        """Take note of a caller who may come back."""

    def launch(self, kind: Kind, steps: dict[Ticket, bytes]) -> None:
        """Ship steps as one batch."""


class Shipment:
    """A batch on its way.

    Args:
        shared: of the engine.
        owner: the route.
        kind: what its steps have in common.
        steps: the tickets and their encoded bodies.
    """

    def __init__(self, shared: Shared, owner: Owner, kind: Kind, steps: dict[Ticket, bytes]) -> None:
        self._shared = shared
        self._owner = owner
        self._kind = kind
        self._steps = steps
        self._collection = Collection(shared, self._answered, self._line_failed)
        self._abandoned = asyncio.Event()
        self._waiting = set(steps)
        """Whose callers have neither an answer nor an error, and have not left."""
        self._over = False
        self._unwanted = False
        """Whether a caller left whose line may still be running."""
        self._kept = False
        """Whether it goes on at the service with nobody here, for who asks again later."""

    async def run(self) -> None:
        """Take the batch through to the end of each of its steps."""
        batch = None
        try:
            batch = await self._send()
            if batch is not None:
                await self._follow(batch)
        except NoWindow as refused:
            self._another_way()
            self._end_all(refused.error)
        except Refused as refused:
            self._kept = self._kept or self._shared.book.kept
            self._end_all(refused.error, goes_on=self._may_run(batch))
            if batch is not None and not self._over and not self._kept:
                await self._cancel(batch)  # nobody waits for it any more
        finally:
            # Whatever went wrong here, nobody hangs.
            self._end_all(lambda t: MalformedAnswer(f"{t}: its batch ended without a word on it.", ticket=t))

    def left(self, ticket: Ticket) -> None:
        """Count a caller who went away; when it was the last, the batch is stopped."""
        self._unwanted = True
        if ticket.interrupted and ticket.row is not None:
            self._kept = True
            self._shared.book.released(ticket)
        else:
            self._shared.book.cancelled(ticket)
        self._steps.pop(ticket, None)
        self._collection.drop(ticket)
        self._leave(ticket)

    async def _send(self) -> batches.Batch | None:
        """Get the batch accepted; None when nobody waits for it, or when it goes on as two halves."""
        token = uuid.uuid4().hex
        dispatch = Dispatch(self._shared, self._kind, token, self._sleep)
        bad_lines = 0
        while self._steps:
            order = list(self._steps)
            lines = [
                request_line(f"{token}-{n}", self._kind.endpoint, body) for n, body in enumerate(self._steps.values())
            ]
            for ticket in order:
                ticket.progress("submitting")
            try:
                await self._shared.book.shipping(token, order)
                file_id = await dispatch.upload(lines)
            except StepNotRecorded as error:
                raise _not_recorded(str(error)) from None
            except BadLine as bad:
                bad_lines += 1
                if bad.line >= len(order) or bad_lines > _BAD_LINES:
                    raise
                self._end(order[bad.line], bad.error(order[bad.line]))
                continue
            except TooLarge:
                if len(self._steps) < 2:
                    raise
                self._halve()
                return None
            del lines
            self._shared.book.batch(token, file_id=file_id)
            batch = await dispatch.create(file_id) if file_id is not None and self._steps else None
            if batch is not None:
                self._shared.book.batch(token, batch_id=batch.id)
                self._accepted(batch, {f"{token}-{n}": ticket for n, ticket in enumerate(order)})
            return batch
        return None

    def _another_way(self) -> None:
        """Let steps travel one by one whose completion window is not taken, where they can."""
        steps = list(self._steps)
        if self._owner.no_window(self._kind, steps):
            self._steps = {}
            for ticket in steps:
                self._leave(ticket)

    def _halve(self) -> None:
        """Send on as two batches what the server finds too large as one."""
        items = list(self._steps.items())
        middle = len(items) // 2
        self._steps = {}
        for half in (items[:middle], items[middle:]):
            self._owner.launch(self._kind, dict(half))

    def _accepted(self, batch: batches.Batch, tickets: dict[str, Ticket]) -> None:
        now = self._shared.clock()
        for ticket in self._steps:
            ticket.posts += 1
            ticket.response_id, ticket.accepted_at = batch.id, now
            ticket.progress("queued")
        self._collection.expect({line: ticket for line, ticket in tickets.items() if ticket in self._steps})
        self._steps = {}

    async def _follow(self, batch: batches.Batch) -> None:
        """Poll the batch, hand out results as they appear, and settle what is left at its end."""
        since, failed_before = self._shared.clock(), 0
        while batch.status not in batches.ENDED:
            if not await self._sleep(min(30.0, max(0.1, (self._shared.clock() - since) * 0.02))):
                if self._may_cancel():
                    await self._cancel(batch)
                return
            self._shared.tally.request("poll")
            reply = await read(self._shared, f"/batches/{batch.id}", timeout=_TIMEOUT, visible_since=since)
            batch = batches.read_batch(reply.body) or batch
            self._collection.polled(running=batch.status != "validating")
            with contextlib.suppress(Refused):  # what cannot be read now is read at the end, or refused then
                if batch.output_file_id and batch.completed_lines > self._collection.received:
                    await self._collection.read(batch.output_file_id, again=False, visible_since=since)
                if batch.error_file_id and batch.failed_lines > failed_before:
                    failed_before = batch.failed_lines
                    await self._collection.read(batch.error_file_id, again=True, visible_since=since)
        await self._settle(batch)

    async def _settle(self, batch: batches.Batch) -> None:
        """Read both files to the end, whatever the batch ended as, and end what has no line."""
        self._over = True
        for attempt in range(_LAST_READS):
            refused: Refused | None = None
            for file_id, again in ((batch.output_file_id, attempt > 0), (batch.error_file_id, True)):
                if file_id and self._collection.missing:
                    try:
                        await self._collection.read(file_id, again=again)
                    except Refused as error:
                        refused = error
            if refused is not None and self._collection.missing:
                raise refused
            if not self._collection.missing:
                return
            # A line that was committed late may stand before those that have been read.
            if batch.status == "completed" and not await self._sleep(self._shared.retries.pause(attempt + 1)):
                return
        self._end_unanswered(batch)

    def _end_unanswered(self, batch: batches.Batch) -> None:
        complaints = batch.complaints()
        blamed = {entry["line"] - 1: entry for entry in complaints if isinstance(entry.get("line"), int)}
        for number, ticket in self._collection.unanswered():
            if batch.status == "cancelled":
                self._end(ticket, StepCancelled(f"{ticket}: its batch was cancelled at the service.", ticket=ticket))
            elif batch.status == "expired":
                self._end(ticket, _expired(ticket))
            elif batch.status == "failed":
                complaint = blamed.get(number) or (complaints[0] if complaints else {})
                innocent = bool(blamed) and number not in blamed
                passing = innocent or complaint.get("code") == "token_limit_exceeded"
                self._line_failed(ticket, _complaint(ticket, complaint), passing=passing)
            else:
                self._end(
                    ticket,
                    MalformedAnswer(
                        f"{ticket}: its batch was {batch.status} without a readable line for it"
                        f"{self._collection.unreadable_note()}. Ask the step again.",
                        ticket=ticket,
                    ),
                )

    def _line_failed(self, ticket: Ticket, error: StepError, *, passing: bool) -> None:
        """Submit again alone what may succeed, end what may not."""
        if passing:
            self._collection.drop(ticket)
            self._leave(ticket)
            self._owner.again(ticket, error)
        else:
            self._end(ticket, error)

    def _may_run(self, batch: batches.Batch | None) -> bool:
        """Whether a batch that cannot be read may be running all the same."""
        return batch is not None

    def _may_cancel(self) -> bool:
        """Whether nobody wants the batch any more, here or anywhere."""
        return self._unwanted and not self._kept

    def _end(self, ticket: Ticket, error: StepError, *, goes_on: bool = False) -> None:
        self._steps.pop(ticket, None)
        self._collection.drop(ticket)
        self._owner.ended(ticket)
        state: TicketStatus = "cancelled" if isinstance(error, StepCancelled) else "failed"
        self._shared.fail(ticket, error, state, goes_on=goes_on or isinstance(error, SubmissionUnknown))
        self._leave(ticket)

    def _end_all(self, error_of: Callable[[Ticket], StepError], *, goes_on: bool = False) -> None:
        """End every step that has no end yet."""
        for ticket in [*self._steps, *(ticket for _, ticket in self._collection.unanswered())]:
            self._end(ticket, error_of(ticket), goes_on=goes_on)

    def _answered(self, ticket: Ticket) -> None:
        self._owner.ended(ticket)
        self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        """Note that nobody waits for this step here any more."""
        if ticket in self._waiting:
            self._waiting.discard(ticket)
            self._owner.answered(self._kind)
            if not self._waiting:
                self._abandoned.set()

    async def _cancel(self, batch: batches.Batch) -> None:
        """Stop a batch that nobody waits for."""
        for tries in range(1, _CANCEL_TRIES + 1):
            self._shared.tally.request("cancel")
            try:
                reply = await self._shared.connection.request("POST", f"/batches/{batch.id}/cancel", timeout=_TIMEOUT)
            except WireError:
                reply = None
            # 400 and 409: it has ended in the meantime.
            if reply is not None and (reply.status < 300 or reply.status in {400, 409}):
                return
            await asyncio.sleep(min(2.0, self._shared.retries.pause(tries)))
        log.warning("Batch %s could not be cancelled; it runs on and will be billed.", batch.id)
        self._shared.not_cancelled.append(batch.id)

    async def _sleep(self, seconds: float) -> bool:
        """Sleep as long as somebody waits for the batch; returns whether somebody still does."""
        try:
            async with asyncio.timeout(seconds):
                await self._abandoned.wait()
        except TimeoutError:
            return True
        return False


def _not_recorded(reason: str) -> Refused:
    return Refused(reason, lambda ticket: StepNotRecorded(reason, ticket=ticket))


def _expired(ticket: Ticket) -> StepExpired:
    return StepExpired(
        f"{ticket}: its completion window passed before the service ran it; ask the step again.", ticket=ticket
    )


def _complaint(ticket: Ticket, complaint: dict[str, Any]) -> StepError:
    code = str(complaint.get("code") or "") or None
    status = 429 if code == "token_limit_exceeded" else 400 if complaint else None
    words = str(complaint.get("message") or "no reason given")
    return service_error(status, words, doing="its batch", code=code, ticket=ticket)
