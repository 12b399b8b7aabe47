"""The realtime route: one request, one answer.

Owns: steps of ``service_tier="priority"``. A reply that is lost is as ambiguous here as anywhere: the service may have
done the work and billed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dw_agents.routes.submitter import Submitter
from dw_agents.wire.responses import Job, job_error, read_answer, read_job

if TYPE_CHECKING:
    from dw_agents.journal.rows import Found
    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["RealtimeRoute"]

_REQUESTS: Final = 256
_TIMEOUT: Final = 600.0


class RealtimeRoute:
    """Sends a step and takes the reply for its answer.

    Args:
        shared: of the engine.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._submitter = Submitter(shared, limit=_REQUESTS, timeout=_TIMEOUT, accept=self._accept, failed=shared.fail)

    def start(self, ticket: Ticket, found: Found | None = None) -> None:  # noqa: ARG002 - not in the journal
        """Send a step."""
        self._submitter.push(ticket)

    def abandon(self, ticket: Ticket) -> None:
        """Close the connection that the step waits on."""
        if self._shared.forget(ticket):
            self._submitter.abort(ticket)

    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._submitter.idle()

    def _accept(self, ticket: Ticket, body: bytes) -> bool:
        answer = read_answer(ticket, body)
        if answer is None:
            return False
        job: Job | None = read_job(body) if ticket.step.endpoint == "/responses" else None
        ticket.response_id = job.id if job is not None else None
        ticket.accepted_at = self._shared.clock()
        if job is not None and job.status == "failed":
            self._shared.fail(ticket, job_error(job, ticket)[0])
        else:
            self._shared.answer(ticket, *answer)
        return True
