"""The batch route: steps of many callers collected into few batches.

Owns: who travels together and until when a batch waits for more (the decision is ``schedule/window.py``'s). What
happens to a batch that has been closed is ``shipment.py``'s.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from dw_agents.routes.rejoin import Rejoined
from dw_agents.routes.shipment import Shipment
from dw_agents.schedule.window import Limits, Window

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from dw_agents.errors import StepError
    from dw_agents.journal.rows import Found, Line
    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["BatchRoute", "Kind"]

log = logging.getLogger("dw_agents")

_BURST: Final = 16
"""Flex steps from which a batch costs fewer requests than they would alone, polls included."""
_LINE_OVERHEAD: Final = 150
"""Bytes of a line beside its body: custom_id, method and url."""


class Kind(NamedTuple):
    """What the steps of one batch have in common; OpenAI takes one endpoint and one model per file.

    Attributes:
        endpoint: of all lines.
        model: of all lines.
        completion_window: of the batch.
        burst: whether these are flex steps, which travel together because there are many.
    """

    endpoint: str
    model: str
    completion_window: str
    burst: bool = False


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
        divert: takes the flex steps that turn out not to travel by batch.
    """

    def __init__(self, shared: Shared, limits: Limits, divert: Callable[[Ticket], None] | None = None) -> None:
        self._divert = divert
        self._no_bursts = False
        """Whether the service refused the window that bursts travel in."""
        self._shared = shared
        self._limits = limits
        self._collectors: dict[Kind, _Collector] = {}
        self._shipments: set[Shipment] = set()
        self._aboard: dict[Ticket, Shipment] = {}
        self._resubmits: dict[Ticket, int] = {}
        self._rejoined: dict[str, Rejoined] = {}
        self._guests: set[Ticket] = set()
        """Who waits for a line of another living process."""

    def start(self, ticket: Ticket, found: Found | None = None) -> None:
        """Add a step to the batch of its kind that is being collected, or to one that was sent before."""
        ticket.replayed = found is not None and not found.ours
        if found is not None and found.line is not None:
            self._rejoin(ticket, found, found.line)
            return
        kind, collector = self._collector(ticket)
        size = len(ticket.body) + _LINE_OVERHEAD
        if collector.steps and not collector.window.fits(size):
            self._ship(kind, collector)
        collector.steps[ticket] = ticket.body
        collector.window.joined(size, self._shared.clock())
        self._watch(kind, collector)

    def _collector(self, ticket: Ticket) -> tuple[Kind, _Collector]:
        step = ticket.step
        burst = step.service_tier != "batch"
        kind = Kind(step.endpoint, step.model, "1h" if burst else step.completion_window or "24h", burst)
        collector = self._collectors.get(kind)
        if collector is None:
            collector = self._collectors[kind] = _Collector(self._limits)
        return kind, collector

    def _rejoin(self, ticket: Ticket, found: Found, line: Line) -> None:
        """Wait for the line of a batch that an earlier process sent, or another one."""
        kind, collector = self._collector(ticket)
        collector.out += 1
        if found.ours:
            self._shared.tally.count("reattached")
        elif not found.replayed:
            self._guests.add(ticket)
        shipment = self._rejoined.get(line.token)
        if shipment is None or not shipment.takes():
            shipment = self._rejoined[line.token] = Rejoined(self._shared, self, kind, line)
            shipment.join(ticket, line.number, ours=found.ours)
            self._run(shipment)
        else:
            shipment.join(ticket, line.number, ours=found.ours)
        self._aboard[ticket] = shipment

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
                self._shared.book.cancelled(ticket)
                return

    def knows(self, ticket: Ticket) -> bool:
        """Whether a step is here: collected, or on its way."""
        return ticket in self._aboard or any(ticket in collector.steps for collector in self._collectors.values())

    def no_window(self, kind: Kind, steps: Iterable[Ticket]) -> bool:
        """Send steps another way whose batch was refused because of its completion window, if there is one."""
        if not kind.burst:
            return False
        log.warning("The service takes no batches with a window of 1h: flex steps travel one by one.")
        self._no_bursts = True
        for ticket in steps:
            self._aboard.pop(ticket, None)
            self._one_by_one(ticket)
        return True

    def _one_by_one(self, ticket: Ticket) -> None:
        if self._divert is not None and ticket in self._shared.open:
            ticket.progress("waiting")
            self._divert(ticket)

    def idle(self) -> bool:
        """Whether no batch is on its way."""
        return not self._shipments

    def again(self, ticket: Ticket, error: StepError) -> None:
        """Submit a step again whose line failed for a passing cause, alone and within the bound; else end it."""
        self._aboard.pop(ticket, None)
        tried = self._resubmits.get(ticket, 0)
        if ticket not in self._shared.open:
            return
        if ticket in self._guests:
            # Whose it is submits it again, or gives it up, and the journal knows.
            self.anew(ticket)
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

    def anew(self, ticket: Ticket) -> None:
        """Submit a step after all whose batch turned out not to be there, or ask the journal about a guest's."""
        self._aboard.pop(ticket, None)
        ticket.progress("waiting")
        ticket.response_id = ticket.accepted_at = None
        if ticket in self._guests:
            self._guests.discard(ticket)
            self._shared.ask(ticket)
        elif ticket.step.service_tier == "batch":
            self.start(ticket)
        else:
            self._one_by_one(ticket)

    def ended(self, ticket: Ticket) -> None:
        """Forget a step that has its end."""
        self._guests.discard(ticket)
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
        self._aboard.update(dict.fromkeys(steps, shipment))
        self._run(shipment)

    def _run(self, shipment: Shipment) -> None:
        self._shipments.add(shipment)
        task = self._shared.spawn(shipment.run())
        task.add_done_callback(lambda _: self._over(shipment))

    def _over(self, shipment: Shipment) -> None:
        self._shipments.discard(shipment)
        if isinstance(shipment, Rejoined) and self._rejoined.get(shipment.token) is shipment:
            del self._rejoined[shipment.token]

    def _ship(self, kind: Kind, collector: _Collector) -> None:
        steps, collector.steps = collector.steps, {}
        collector.window.closed()
        if kind.burst and (self._no_bursts or len(steps) < _BURST):
            for ticket in steps:
                self._one_by_one(ticket)
            return
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
