"""A batch that an earlier process sent, or another one.

Owns: finding it again, and whose lines of it are wanted here. Following it and reading it is the shipment's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dw_agents.routes.dispatch import Dispatch
from dw_agents.routes.reader import read
from dw_agents.routes.shipment import Owner, Shipment
from dw_agents.wire import batches

if TYPE_CHECKING:
    from dw_agents.journal.rows import Line
    from dw_agents.routes.base import Shared
    from dw_agents.routes.batch import Kind
    from dw_agents.ticket import Ticket

__all__ = ["Rejoined"]

_TIMEOUT: Final = 60.0


class Rejoined(Shipment):
    """A batch that was sent before; its steps join one after the other, as they are asked again.

    Args:
        shared: of the engine.
        owner: the route.
        kind: what its steps have in common.
        sent: what the journal knows of it.
    """

    def __init__(self, shared: Shared, owner: Owner, kind: Kind, sent: Line) -> None:
        super().__init__(shared, owner, kind, {})
        self._sent = sent
        self._others = sent.lines
        """Lines that nobody here has asked for."""
        self._numbers: dict[Ticket, int] = {}
        self._batch: batches.Batch | None = None

    @property
    def token(self) -> str:
        """The batch's."""
        return self._sent.token

    def takes(self) -> bool:
        """Whether a step may still join: its files will be read from the start once more."""
        return not self._over and not self._abandoned.is_set()

    def join(self, ticket: Ticket, number: int, *, ours: bool) -> None:
        """Add a step.

        Args:
            ticket: of the step.
            number: of its line.
            ours: whether the batch is this process's to cancel, as far as this step is concerned.
        """
        self._others -= 1
        self._kept = self._kept or not ours
        self._waiting.add(ticket)
        self._steps[ticket] = ticket.body
        self._numbers[ticket] = number
        if self._batch is not None:
            self._expect(self._batch)

    async def _send(self) -> batches.Batch | None:
        """Find the batch; where it was not created after all, its steps are sent anew."""
        sent = self._sent
        if sent.batch_id is not None:
            # It may have been created a moment ago: whoever created it died, and this process was quick.
            reply = await read(
                self._shared, f"/batches/{sent.batch_id}", timeout=_TIMEOUT, visible_since=self._shared.clock()
            )
            batch = batches.read_batch(reply.body)
        else:
            batch = await Dispatch(self._shared, self._kind, sent.token, self._sleep).find()
            if batch is not None:
                self._shared.book.batch(sent.token, batch_id=batch.id)
        if batch is not None:
            self._batch = batch
            self._expect(batch)
            return batch
        self._over = True
        for ticket in list(self._steps):
            del self._steps[ticket]
            self._leave(ticket)
            self._owner.anew(ticket)
        return None

    def _expect(self, batch: batches.Batch) -> None:
        """Wait for the lines of those who have joined."""
        for ticket in self._steps:
            ticket.response_id, ticket.accepted_at = batch.id, self._shared.clock()
            ticket.progress("queued")
        self._collection.expect({f"{self._sent.token}-{self._numbers.pop(ticket)}": ticket for ticket in self._steps})
        self._steps = {}

    def _may_run(self, _: batches.Batch | None) -> bool:
        return True

    def _may_cancel(self) -> bool:
        return super()._may_cancel() and self._others <= 0
