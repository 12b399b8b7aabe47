"""The files and batches of the API on the wire: what is sent, and what is read out of a reply.

Owns: the JSON shapes of ``/files`` and ``/batches`` at Doubleword and at OpenAI, the multipart form of an upload, and
what the error of a line or of a batch means. Must not do I/O or know the routes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dw_agents.wire import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = [
    "ENDED",
    "Batch",
    "Upload",
    "bad_line",
    "find_batch",
    "find_file",
    "line_error",
    "read_batch",
    "read_file_id",
]

ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
TOKEN_FIELD: Final = "dw_agents"  # noqa: S105 - a name, and no secret
"""The key in a batch's metadata under which its token stands."""

_CHUNK: Final = 256 * 1024
_BOUNDARY: Final = b"dw-agents-7c1f0b0e9a"
_LINE_NUMBER: Final = re.compile(r"\bLine (\d+):|\bon line (\d+)")


class _Counts(msgspec.Struct, gc=False):
    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(msgspec.Struct, gc=False):
    """What the engine reads of a batch object.

    Attributes:
        id: a bare UUID at Doubleword, ``batch_...`` at OpenAI.
        status: ``validating``, ``in_progress``, ``finalizing``, ``cancelling``, or one of ``ENDED``.
        output_file_id: where the answers are; at Doubleword from the start, at OpenAI from the end.
        error_file_id: the same for errors; absent, null or empty where there is none.
        request_counts: ``total``, ``completed``, ``failed``.
        errors: why the batch as a whole failed: ``{"data": [{"code", "message", "line"}]}``.
        metadata: holds our token.
        created_at, completed_at: whole seconds.
    """

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None
    errors: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    created_at: float | None = None
    completed_at: float | None = None

    @property
    def completed_lines(self) -> int:
        """How many lines have an answer."""
        return self.request_counts.completed if self.request_counts is not None else 0

    @property
    def failed_lines(self) -> int:
        """How many lines have an error."""
        return self.request_counts.failed if self.request_counts is not None else 0

    @property
    def took(self) -> float | None:
        """Seconds from creation to completion by the service's clock."""
        if self.created_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.created_at

    def complaints(self) -> list[dict[str, Any]]:
        """Why the batch as a whole failed."""
        data = (self.errors or {}).get("data")
        return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


class _File(msgspec.Struct, gc=False):
    id: str
    filename: str = ""


class _Files(msgspec.Struct, gc=False):
    data: list[_File]


class _Batches(msgspec.Struct, gc=False):
    data: list[Batch]


def read_batch(body: bytes) -> Batch | None:
    """Read a batch object; None where the text is not one."""
    try:
        return msgspec.json.decode(body, type=Batch)
    except UNREADABLE:
        return None


def read_file_id(body: bytes) -> str | None:
    """Read the id of an uploaded file; None where the text is no file object."""
    try:
        return msgspec.json.decode(body, type=_File).id
    except UNREADABLE:
        return None


def find_file(body: bytes, token: str) -> str | None:
    """Find the file with our token in its name in a list; a server may ignore the search that was asked for."""
    try:
        files = msgspec.json.decode(body, type=_Files).data
    except UNREADABLE:
        return None
    return next((file.id for file in files if token in file.filename), None)


def find_batch(body: bytes, token: str) -> Batch | None:
    """Find the batch with our token in its metadata in a list."""
    try:
        batches = msgspec.json.decode(body, type=_Batches).data
    except UNREADABLE:
        return None
    return next((batch for batch in batches if (batch.metadata or {}).get(TOKEN_FIELD) == token), None)


class Upload:
    """A batch file as a multipart form, streamed so that it is never in memory whole.

    Args:
        filename: holds the token, by which the file can be found again.
        lines: the lines, each with its line feed.
    """

    def __init__(self, filename: str, lines: Sequence[bytes]) -> None:
        self._lines = lines
        self._head = (
            b'--%b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n'
            b"Content-Type: application/jsonl\r\n\r\n"
        ) % (_BOUNDARY, _BOUNDARY, filename.encode())
        self._tail = b"\r\n--%b--\r\n" % _BOUNDARY

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the form; the length is known, so nothing is sent in chunked encoding."""
        size = len(self._head) + sum(map(len, self._lines)) + len(self._tail)
        return {
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}",
            "Content-Length": str(size),
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the form in pieces; can be asked for again for another try."""
        piece = bytearray(self._head)
        for line in self._lines:
            piece += line
            if len(piece) >= _CHUNK:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece + self._tail)


def bad_line(message: str) -> int | None:
    """Find which line a refused upload blames, counted from 0."""
    found = _LINE_NUMBER.search(message)
    return int(found[1] or found[2]) - 1 if found else None


def line_error(error: dict[str, Any] | None, status: int | None, body: bytes | None) -> tuple[int | None, str, str]:
    """Say why a line failed, in whichever way the server says it.

    Doubleword puts the text of a reason into ``error.message``: ``{"type": "NonRetriableHttpStatus", "details":
    {"status", "body"}}`` and the like. OpenAI gives a status and a body, or an ``error`` with a code.

    Returns:
        The HTTP status that it stands for (None for a network error or a time-out inside the service), the service's
        code, and its words.
    """
    if error is None:
        return status, "", _words(body.decode("utf-8", "replace") if body is not None else "")
    code, message = str(error.get("code") or ""), str(error.get("message") or "")
    try:
        reason = msgspec.json.decode(message)
    except UNREADABLE:
        reason = None
    if isinstance(reason, dict) and isinstance(reason.get("type"), str):
        raw = reason.get("details")
        details: dict[str, Any] = raw if isinstance(raw, dict) else {}
        found = details.get("status")
        words = _words(str(details.get("body") or details.get("error") or reason["type"]))
        known = found if isinstance(found, int) else 400 if reason["type"] == "RequestBuilderError" else None
        return known, code or reason["type"], words
    if status is None and code.isdecimal():
        status = int(code)
    return status, code, _words(message)


def _words(text: str) -> str:
    """Take the message out of an error envelope, if it is one."""
    try:
        decoded = msgspec.json.decode(text)
    except UNREADABLE:
        return text[:500]
    inner = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
    if isinstance(inner, dict) and inner.get("message"):
        return str(inner["message"])[:500]
    return text[:500]
