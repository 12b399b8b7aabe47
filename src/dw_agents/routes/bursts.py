"""Flex steps that come in bursts and travel by batch.

Owns: the choice between the two routes for each flex step. A batch with a window of an hour costs what flex costs and
needs four requests for as many steps as there are; a step by itself needs two or more each. Off by default: a
collected step waits a moment for others, and a batch's answers are looked for less often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dw_agents.routes.batch import BatchRoute

if TYPE_CHECKING:
    from dw_agents.journal.rows import Found
    from dw_agents.routes.base import Shared
    from dw_agents.routes.flex import FlexRoute
    from dw_agents.schedule.window import Limits
    from dw_agents.ticket import Ticket

__all__ = ["BurstRoute"]


class BurstRoute:
    """Collects flex steps for a moment; many travel as one batch, few one by one.

    Args:
        shared: of the engine.
        flex: the route of those that travel alone.
        limits: what bounds a batch.
        collect: whether bursts travel by batch; if not, only lines of batches that were sent before are read.
    """

    def __init__(self, shared: Shared, flex: FlexRoute, limits: Limits, *, collect: bool) -> None:
        self._collect = collect
        self._flex = flex
        self._batch = BatchRoute(shared, limits, divert=flex.start)

    def start(self, ticket: Ticket, found: Found | None = None) -> None:
        """Take up a step."""
        by_batch = self._collect if found is None else found.line is not None
        (self._batch if by_batch else self._flex).start(ticket, found)

    def abandon(self, ticket: Ticket) -> None:
        """Stop a step on whichever way it is."""
        (self._batch if self._batch.knows(ticket) else self._flex).abandon(ticket)

    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return self._batch.idle() and self._flex.idle()
