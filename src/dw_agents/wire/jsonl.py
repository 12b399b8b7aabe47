"""Batch files on the wire: lines out, lines in.

Owns: the shape of a request line and of a result line, and cutting a stream of bytes into lines. Must not do I/O or
know the routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from dw_agents.wire import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Line", "Lines", "read_line", "request_line"]

_NULL: Final = b"null"


class _Response(msgspec.Struct, gc=False):
    status_code: int = 200
    body: msgspec.Raw = msgspec.Raw(_NULL)


class _Result(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response | None = None
    error: dict[str, Any] | None = None


class Line(msgspec.Struct, gc=False, frozen=True):
    """What one line of an output or error file says.

    Attributes:
        custom_id: which step it answers.
        body: the answer as JSON text; None where there is none.
        status: the HTTP status of the step; None where the line has only an error.
        error: the line's ``error`` object, None where there is none.
    """

    custom_id: str
    body: bytes | None
    status: int | None
    error: dict[str, Any] | None


_result = msgspec.json.Decoder(_Result)


def request_line(custom_id: str, endpoint: str, body: bytes) -> bytes:
    """Write one line of a batch file; ``endpoint`` is the path below the version, such as ``/responses``."""
    head = b'{"custom_id":"%b","method":"POST","url":"/v1%b","body":' % (custom_id.encode(), endpoint.encode())
    return head + body + b"}\n"


def read_line(text: bytes) -> Line | None:
    """Read one line of an output or error file; None where it is not one."""
    try:
        result = _result.decode(text)
    except UNREADABLE:
        return None
    response = result.response
    body = bytes(response.body) if response is not None and response.body != _NULL else None
    return Line(result.custom_id, body, response.status_code if response is not None else None, result.error)


class Lines:
    """Cuts a stream of bytes into lines; what breaks off in the middle of one is kept back."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Add bytes and take out the whole lines, without blank ones."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole = bytes(self._rest) + line
            self._rest.clear()
            if whole.strip():
                yield whole
        self._rest += rest

    def end(self) -> bytes | None:
        """Take out a last line that has no line feed, once the stream has ended in good order."""
        rest = bytes(self._rest).strip()
        self._rest.clear()
        return rest or None
