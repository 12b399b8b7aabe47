"""Reads the result files of one batch and hands the lines out.

Owns: which lines of a batch have been seen, and what each line means for its step. Must not create, poll or cancel
batches.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from dw_agents.errors import MalformedAnswer, StepError, StepExpired
from dw_agents.routes.reader import Patience
from dw_agents.schedule.retries import Verdict, judge_failed_job, judge_read
from dw_agents.wire.batches import line_error
from dw_agents.wire.http import Incoming, Reply, WireError
from dw_agents.wire.jsonl import Line, Lines, read_line
from dw_agents.wire.responses import read_answer, service_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dw_agents.routes.base import Shared
    from dw_agents.ticket import Ticket

__all__ = ["Collection"]

log = logging.getLogger("dw_agents")

_TIMEOUT: Final = 120.0


class _LineFailed(Protocol):
    def __call__(self, ticket: Ticket, error: StepError, *, passing: bool) -> None: ...


class Collection:
    """The results of one batch, as far as they have been read.

    Args:
        shared: of the engine.
        answered: called for each step that has its answer.
        failed: called for a line that failed, with whether the cause may pass.
    """

    def __init__(self, shared: Shared, answered: Callable[[Ticket], None], failed: _LineFailed) -> None:
        self._shared = shared
        self._answered = answered
        self._failed = failed
        self._tickets: dict[str, Ticket] = {}
        self._ids: dict[Ticket, str] = {}
        self._unreadable = 0
        self._polls = 0
        self._running = False
        self.received = 0
        """Lines of the output file that were read in order."""

    def expect(self, tickets: Mapping[str, Ticket]) -> None:
        """Say which ``custom_id`` stands for which further step; what was read already is read again for them."""
        self._tickets.update(tickets)
        self._ids.update((ticket, custom_id) for custom_id, ticket in tickets.items())
        self.received = 0

    def drop(self, ticket: Ticket) -> None:
        """Expect no line for a step any more."""
        custom_id = self._ids.pop(ticket, None)
        if custom_id is not None:
            del self._tickets[custom_id]

    @property
    def missing(self) -> bool:
        """Whether a step still has no line."""
        return bool(self._tickets)

    def unanswered(self) -> list[tuple[int, Ticket]]:
        """Return the steps without a line and their numbers in the input file, from 0."""
        return [(int(custom_id.rsplit("-", 1)[1]), ticket) for custom_id, ticket in self._tickets.items()]

    def unreadable_note(self) -> str:
        """Say how many lines were no result lines, for the error of a step that may be among them."""
        return f" ({self._unreadable} lines of its files were no result lines)" if self._unreadable else ""

    def polled(self, *, running: bool) -> None:
        """Count a poll of the batch for each step in it.

        Args:
            running: whether the service works on the batch by now.
        """
        self._polls += 1
        if running and not self._running:
            self._running = True
            for ticket in self._ids:
                ticket.progress("in_progress")

    async def read(self, file_id: str, *, again: bool, visible_since: float | None = None) -> None:
        """Read a file on from where the last read ended, or from its start, until the server has no more.

        Args:
            file_id: of the output or the error file.
            again: read it from its start; lines that were seen before are passed over.
            visible_since: when its batch was created, if it may not be visible yet.

        Raises:
            Refused: it cannot be read.
        """
        skip = 0 if again else self.received
        patience = Patience(self._shared, visible_since)
        while True:
            # Doubleword knows `skip` and ignores `offset`, which its older documents and others use.
            query = f"?skip={skip}&offset={skip}" if skip else ""
            self._shared.tally.request("download")
            path = f"/files/{file_id}/content{query}"
            try:
                async with self._shared.connection.download(path, timeout=_TIMEOUT) as incoming:
                    if judge_read(incoming.status) is not Verdict.ACCEPTED:
                        await self._not_ok(incoming, patience)
                        continue
                    lines = await self._hand_out(incoming)
            except WireError as error:
                await patience.lost(error)
                continue
            skip += lines
            if not again:
                self.received = skip
            if not lines or incoming.headers.get("X-Incomplete") != "true" or not self._tickets:
                return

    async def _not_ok(self, incoming: Incoming, patience: Patience) -> None:
        body = b"".join([chunk async for chunk in incoming.chunks])
        await patience.replied(Reply(incoming.status, incoming.headers, body), "downloading its batch")

    async def _hand_out(self, incoming: Incoming) -> int:
        """Hand out the lines of a download as they come; returns how many there were."""
        lines, seen = Lines(), 0
        async for chunk in incoming.chunks:
            for text in lines.feed(chunk):
                seen += 1
                self._line(text)
        last = lines.end()
        if last is not None:
            seen += 1
            self._line(last)
        return seen

    def _line(self, text: bytes) -> None:
        line = read_line(text)
        if line is None:
            self._unreadable += 1
            log.warning("A line of a batch's result file is no result line and was passed over.")
            return
        ticket = self._tickets.pop(line.custom_id, None)
        if ticket is None:
            return  # seen before, left by its caller, or not ours
        del self._ids[ticket]
        ticket.polls += self._polls
        if line.error is None and line.body is not None and (line.status or 200) < 400:
            answer = read_answer(ticket, line.body)
            if answer is not None:
                self._answered(ticket)
                self._shared.answer(ticket, *answer)
                return
        error, passing = _error_of(line, ticket)
        self._failed(ticket, error, passing=passing)


def _error_of(line: Line, ticket: Ticket) -> tuple[StepError, bool]:
    """Make the error of a line without an answer, and say whether its cause may pass."""
    if line.error is None and line.body is not None and (line.status or 200) < 400:
        what = f"{ticket}: its line holds no readable answer: {line.body[:200]!r}."
        return MalformedAnswer(what, ticket=ticket), False
    status, code, words = line_error(line.error, line.status, line.body)
    if code == "batch_expired":
        return StepExpired(f"{ticket}: {words}", ticket=ticket), False
    error = service_error(status, words, doing="its line of the batch", code=code or None, ticket=ticket)
    return error, judge_failed_job(status) is Verdict.RETRY
