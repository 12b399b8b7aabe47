"""Signs of life while a call waits.

Owns: the event that tells of a call that is still waiting, through LlamaIndex's instrumentation. It cannot prolong a
workflow's own ``timeout``, which counts from the start of the run whatever happens in it (45 s unless the workflow says
otherwise; agents have none). Must not import the LLM.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent

if TYPE_CHECKING:
    from dw_agents import Ticket

__all__ = ["DoublewordHeartbeat", "abeat", "beat"]

_dispatcher = get_dispatcher(__name__)


class DoublewordHeartbeat(BaseEvent):
    """A call is still waiting for its answer; sent each ``heartbeat`` seconds.

    Attributes:
        status: how far it is: ``"waiting"`` (not sent), ``"submitting"``, ``"queued"`` or ``"in_progress"``.
        response_id: the service's id for it, once there is one.
        waited: seconds since it was asked.
        label: the LLM's ``label``.
    """

    status: str
    response_id: str | None
    waited: float
    label: str = ""

    @classmethod
    def class_name(cls) -> str:
        """Name the event in LlamaIndex's serialised form."""
        return "DoublewordHeartbeat"


def beat(ticket: Ticket) -> None:
    """Give a sign of life."""
    _dispatcher.event(
        DoublewordHeartbeat(
            status=ticket.status,
            response_id=ticket.response_id,
            waited=round(time.monotonic() - ticket.submitted_at, 3),
            label=ticket.step.label,
        )
    )


async def abeat(ticket: Ticket) -> None:
    """Give a sign of life from an event loop."""
    beat(ticket)
