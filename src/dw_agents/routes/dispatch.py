"""Gets one batch accepted: upload, creation, and the search for what was accepted without a reply.

Owns: the requests that send a batch, and what follows from each of their outcomes. It knows lines, not whose they are:
a failure is raised as ``Refused``, out of which the shipment makes each step's error.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from dw_agents.errors import ServiceUnreachable, StepError, SubmissionUnknown
from dw_agents.routes.reader import VISIBLE_WITHIN, Refused, read
from dw_agents.schedule.retries import Verdict, judge_submission, retry_after
from dw_agents.wire import batches
from dw_agents.wire.http import NotSent, Reply, WireError
from dw_agents.wire.responses import reply_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from dw_agents.routes.base import Shared
    from dw_agents.routes.batch import Kind
    from dw_agents.ticket import Ticket

__all__ = ["BadLine", "Dispatch", "NoWindow", "TooLarge"]

log = logging.getLogger("dw_agents")

Found = TypeVar("Found")

_UPLOAD_TIMEOUT: Final = 600.0
_TIMEOUT: Final = 60.0
_LOOK_UPS: Final = (0.0, 0.5, 2.0)
"""Seconds before each look for a batch whose creation got no reply: lists may lag behind."""


class TooLarge(Refused):
    """The server takes smaller files only."""


class NoWindow(Refused):
    """The service does not take this completion window."""


class BadLine(Refused):
    """The server refuses the file because of one line.

    Attributes:
        line: its number, from 0.
    """

    line = 0


class Dispatch:
    """Sends one batch.

    Args:
        shared: of the engine.
        kind: what its steps have in common.
        token: unique; the file's name and the batch's metadata hold it, so that both can be found again.
        sleep: waits some seconds, or until nobody wants the batch any more.
    """

    def __init__(self, shared: Shared, kind: Kind, token: str, sleep: Callable[[float], Awaitable[bool]]) -> None:
        self._shared = shared
        self._kind = kind
        self._token = token
        self._sleep = sleep
        self._begin()

    def _begin(self) -> None:
        """Count the tries of one kind of request: ``tries`` for ``stop``, ``refusals`` for the pause alone."""
        self._tries = self._refusals = 0
        self._since = self._shared.clock()

    async def upload(self, lines: Sequence[bytes]) -> str | None:
        """Upload the file; returns its id, or None when nobody wants it any more.

        Raises:
            TooLarge: fewer lines would be taken.
            BadLine: without one line it would be taken.
            Refused: it will not be taken.
        """
        self._begin()
        uncertain = False
        while True:
            self._shared.tally.request("upload")
            upload = batches.Upload(f"dw-agents-{self._token}.jsonl", lines)
            reply, lost = await self._post("/files", upload.chunks(), upload.headers, _UPLOAD_TIMEOUT)
            file_id = batches.read_file_id(reply.body) if reply is not None and reply.status < 300 else None
            if file_id is not None:
                return file_id
            verdict = _judge(reply, lost)
            if verdict is Verdict.FATAL and reply is not None:
                raise _why_refused(reply)
            uncertain = uncertain or verdict is Verdict.UNKNOWN
            if not await self._again(reply, lost, "uploading its batch"):
                return None
            if uncertain:
                found = await self._look_up("/files?purpose=batch&limit=100", batches.find_file)
                if found is not None:
                    return found

    async def create(self, file_id: str) -> batches.Batch | None:
        """Create the batch; None when nobody wants it any more and it surely was not created.

        Raises:
            Refused: it will not be created.
        """
        self._begin()
        body = msgspec.json.encode(
            {
                "input_file_id": file_id,
                "endpoint": f"/v1{self._kind.endpoint}",
                "completion_window": self._kind.completion_window,
                "metadata": {batches.TOKEN_FIELD: self._token},
            }
        )
        while True:
            self._shared.tally.request("create")
            reply, lost = await self._post("/batches", body, None, _TIMEOUT)
            batch = batches.read_batch(reply.body) if reply is not None and reply.status < 300 else None
            if batch is not None:
                return batch
            verdict = _judge(reply, lost)
            lagging = reply is not None and reply.status == 404 and self._shared.clock() - self._since < VISIBLE_WITHIN
            if verdict is Verdict.FATAL and reply is not None and not lagging:
                about_window = reply.status == 400 and "completion_window" in reply.text
                raise _refusal(reply, "creating its batch", NoWindow if about_window else Refused)
            if verdict is Verdict.UNKNOWN:
                found = await self.find()
                if found is not None:
                    return found
            if not await self._again(reply, lost, "creating its batch"):
                return None

    async def _post(
        self,
        path: str,
        body: object,
        headers: dict[str, str] | None,
        timeout: float,  # noqa: ASYNC109 - handed on
    ) -> tuple[Reply | None, WireError | None]:
        try:
            return await self._shared.connection.request("POST", path, body, headers=headers, timeout=timeout), None  # type: ignore[arg-type]
        except WireError as error:
            return None, error

    async def find(self) -> batches.Batch | None:
        """Look for the batch by its token; None means that it surely is not there.

        Raises:
            Refused: the service cannot be asked, so nothing is sure.
        """
        for wait in _LOOK_UPS:
            await asyncio.sleep(wait)
            found = await self._look_up("/batches?limit=100", batches.find_batch)
            if found is not None:
                log.info("A batch whose creation got no reply was found again: %s.", found.id)
                return found
        return None

    async def _look_up(self, path: str, find: Callable[[bytes, str], Found | None]) -> Found | None:
        self._shared.tally.request("look-up")
        try:
            reply = await read(self._shared, f"{path}&search={self._token}", timeout=_TIMEOUT)
        except Refused as refused:
            what = str(refused)

            def unknown(ticket: Ticket) -> StepError:
                return SubmissionUnknown(
                    f"{ticket}: its batch was sent without a reply, and looking for it failed ({what}). The service "
                    "may have accepted it and will then bill it.",
                    ticket=ticket,
                )

            raise Refused(what, unknown) from None
        return find(reply.body, self._token)

    async def _again(self, reply: Reply | None, lost: WireError | None, doing: str) -> bool:
        """Wait before another try of this batch alone; False when nobody wants it any more.

        Raises:
            Refused: it was tried enough.
        """
        retries = self._shared.retries
        pushed_back = reply is not None and reply.status in {429, 503}
        elapsed = self._shared.clock() - self._since
        failure = lost or WireError(reply.text[:200] if reply is not None else "")
        self._refusals += pushed_back
        self._tries += not pushed_back
        delay = retries.pause(self._refusals) if pushed_back else retries.delay(self._tries, elapsed, failure)
        if delay is None or elapsed >= retries.patience:
            if reply is not None:
                raise _refusal(reply, doing)
            raise Refused(str(lost), lambda t: _unreachable(t, lost))
        asked = retry_after(reply.headers, time.time()) if reply is not None else None
        self._shared.tally.count("retries")
        return await self._sleep(delay if asked is None else asked)


def _judge(reply: Reply | None, lost: WireError | None) -> Verdict:
    if reply is None:
        return Verdict.RETRY if isinstance(lost, NotSent) else Verdict.UNKNOWN
    verdict = judge_submission(reply.status, reply.body)
    return Verdict.UNKNOWN if verdict is Verdict.ACCEPTED else verdict  # accepted, but with a reply that is no object


def _why_refused(reply: Reply) -> Refused:
    line = batches.bad_line(reply.text) if reply.status == 400 else None
    if line is not None:
        bad = _refusal(reply, "uploading its line", BadLine)
        bad.line = line
        return bad
    too_large = reply.status == 413 or (reply.status == 400 and "exceeds the maximum" in reply.text)
    return _refusal(reply, "uploading its batch", TooLarge if too_large else Refused)


R = TypeVar("R", bound=Refused)


def _refusal(reply: Reply, doing: str, kind: type[R] = Refused) -> R:  # type: ignore[assignment]
    return kind(
        f"{reply.status} {reply.text[:200]}",
        lambda ticket: reply_error(reply.status, reply.body, doing=doing, ticket=ticket),
    )


def _unreachable(ticket: Ticket, lost: WireError | None) -> StepError:
    return ServiceUnreachable(
        f"{ticket} was not accepted: {lost}. Check base_url and the network; its batch was not created.",
        ticket=ticket,
    )
