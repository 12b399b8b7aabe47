"""The batch route: steps of many callers collected into few batches.

Owns: who travels together and until when a batch waits for more (the decision is ``schedule/window.py``'s). What
happens to a batch that has been closed is ``shipment.py``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dw_agents.routes.shipment import Shipment
from dw_agents.schedule.window import Limits, Window

if TYPE_CHECKING:
    import asyncio

    from dw_agents.errors import StepError
    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["BatchRoute", "Kind"]

_LINE_OVERHEAD = 150
"""Bytes of a line beside its body: custom_id, method and url."""


class Kind(NamedTuple):
    """What the steps of one batch have in common; OpenAI takes one endpoint and one model per file."""

    endpoint: str
    model: str
    completion_window: str


class _Collector:
    """The steps of one kind that wait for their batch to close."""

    def __init__(self, limits: Limits) -> None:
        self.window = Window(limits)
        self.steps: dict[Ticket, bytes] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0.0
        self.out = 0


class BatchRoute:
    """Collects steps, ships them, and hands out what comes back.

    Args:
        shared: of the engine.
        limits: what bounds a batch.
    """

    def __init__(self, shared: Shared, limits: Limits) -> None:
        self._shared = shared
        self._limits = limits
        self._collectors: dict[Kind, _Collector] = {}
        self._shipments: set[Shipment] = set()
        self._aboard: dict[Ticket, Shipment] = {}
        self._resubmits: dict[Ticket, int] = {}

    def start(self, ticket: Ticket) -> None:
        """Add a step to the batch of its kind that is being collected."""
        step = ticket.step
        kind = Kind(step.endpoint, step.model, step.completion_window or "24h")
        collector = self._collectors.get(kind)
        if collector is None:
            collector = self._collectors[kind] = _Collector(self._limits)
        size = len(ticket.body) + _LINE_OVERHEAD
        if collector.steps and not collector.window.fits(size):
            self._ship(kind, collector)
        collector.steps[ticket] = ticket.body
        collector.window.joined(size, self._shared.clock())
        self._watch(kind, collector)

    def abandon(self, ticket: Ticket) -> None:
        """Drop a step that has not been sent; stop a batch that nobody waits for any more."""
        if not self._shared.forget(ticket):
            return
        self._resubmits.pop(ticket, None)
        shipment = self._aboard.pop(ticket, None)
        if shipment is not None:
            shipment.left(ticket)
            return
        for collector in self._collectors.values():
            body = collector.steps.pop(ticket, None)
            if body is not None:
                collector.window.left(len(body) + _LINE_OVERHEAD)
                return

    def idle(self) -> bool:
        """Whether no batch is on its way."""
        return not self._shipments

    def again(self, ticket: Ticket, error: StepError) -> None:
        """Submit a step again whose line failed for a passing cause, alone and within the bound; else end it."""
        self._aboard.pop(ticket, None)
        tried = self._resubmits.get(ticket, 0)
        if ticket not in self._shared.open:
            return
        if tried >= self._shared.retries.limited(ticket.step.max_retries).resubmits:
            self.ended(ticket)
            self._shared.fail(ticket, error)
            return
        self._resubmits[ticket] = tried + 1
        self._shared.tally.count("resubmitted")
        ticket.progress("waiting")
        ticket.response_id = ticket.accepted_at = None
        self.start(ticket)

    def ended(self, ticket: Ticket) -> None:
        """Forget a step that has its end."""
        self._aboard.pop(ticket, None)
        self._resubmits.pop(ticket, None)

    def answered(self, kind: Kind) -> None:
        """Take note of a caller who may come back with its next step."""
        collector = self._collectors[kind]
        collector.out -= 1
        collector.window.answered(1, self._shared.clock())
        self._watch(kind, collector)

    def launch(self, kind: Kind, steps: dict[Ticket, bytes]) -> None:
        """Ship steps as one batch."""
        shipment = Shipment(self._shared, self, kind, steps)
        self._shipments.add(shipment)
        self._aboard.update(dict.fromkeys(steps, shipment))
        task = self._shared.spawn(shipment.run())
        task.add_done_callback(lambda _: self._shipments.discard(shipment))

    def _ship(self, kind: Kind, collector: _Collector) -> None:
        steps, collector.steps = collector.steps, {}
        collector.window.closed()
        collector.out += len(steps)
        self.launch(kind, steps)

    def _watch(self, kind: Kind, collector: _Collector) -> None:
        """Set the timer to when the batch closes by what is known now."""
        at = collector.window.closes_at(collector.out)
        if at is None:
            return
        if collector.timer is not None:
            if collector.timer_at <= at:
                return  # when it rings, the time is looked at again
            collector.timer.cancel()
        collector.timer_at = at
        delay = max(0.0, at - self._shared.clock())
        collector.timer = self._shared.loop.call_later(delay, self._on_timer, kind, collector)

    def _on_timer(self, kind: Kind, collector: _Collector) -> None:
        collector.timer = None
        at = collector.window.closes_at(collector.out)
        if at is not None and at <= self._shared.clock():
            self._ship(kind, collector)
        else:
            # Others joined in the meantime: the quiet moment begins again.
            self._watch(kind, collector)
