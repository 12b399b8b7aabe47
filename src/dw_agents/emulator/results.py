"""The lines of output and error files, in both dialects, and how faults spoil them.

Owns: the bytes of one result line. Pure; must not import stores or the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dw_agents.emulator.answers import NetworkError
from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.objects import error_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dw_agents.emulator.fault import Fault

__all__ = ["Failure", "error_line", "expired_line", "output_line", "spoil_answer", "spoil_line"]

_RETRIED = frozenset({404, 408, 429, 499})
_encode = msgspec.json.encode


class Failure(NamedTuple):
    """Why a line has no answer.

    Attributes:
        status: the upstream's HTTP status; ``None`` when there was none.
        reason: the service's own record of it: ``{"type"[, "details"]}``.
        message: what the upstream said.
    """

    status: int | None
    reason: dict[str, Any]
    message: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure that an exception of the model call stands for."""
        if isinstance(error, NetworkError):
            reason = msgspec.json.decode(str(error))
            return cls(None, reason, str(reason["details"]["error"]))
        if isinstance(error, UpstreamError):
            status, message = error.status, error.message
        else:
            status, message = 500, f"the backend raised {type(error).__name__}: {error}"
        return cls.with_status(status, message)

    @classmethod
    def with_status(cls, status: int, message: str) -> Failure:
        """The failure of a call that was answered with ``status``."""
        passing = status >= 500 or status in _RETRIED
        body = _encode({"error": {"message": message, "type": error_type(status), "code": status}}).decode()
        kind = "RetriableHttpStatus" if passing else "NonRetriableHttpStatus"
        return cls(status, {"type": kind, "details": {"status": status, "body": body}}, message)


def output_line(ident: str, custom_id: str, body: bytes, *, status: int = 200, request_id: str | None = None) -> bytes:
    """One line of an output file.

    Args:
        ident: ``batch_req_...``.
        custom_id: as in the input line.
        body: the answer, encoded.
        status: ``response.status_code``.
        request_id: OpenAI names one; the service never does.
    """
    return b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},"error":null}' % (
        ident.encode(),
        _encode(custom_id),
        status,
        _encode(request_id),
        body,
    )


def error_line(ident: str, custom_id: str, failure: Failure, *, openai: bool) -> bytes:
    """One line of an error file: a text that holds JSON here, a response with its status at OpenAI."""
    if openai:
        error = {"message": failure.message, "type": error_type(failure.status), "param": None, "code": None}
        return output_line(
            ident, custom_id, _encode({"error": error}), status=failure.status or 500, request_id=f"req_{ident[10:]}"
        )
    told = {"code": None, "message": _encode(failure.reason).decode()}
    return _encode({"id": ident, "custom_id": custom_id, "response": None, "error": told})


def expired_line(ident: str, custom_id: str, *, openai: bool) -> bytes:
    """The error line of a request that its batch's window left behind."""
    if not openai:
        reason = {"type": "Timeout", "details": {"error": "the completion window has passed"}}
        return error_line(ident, custom_id, Failure(None, reason, ""), openai=False)
    told = {"code": "batch_expired", "message": "The batch expired before this request was run."}
    return _encode({"id": ident, "custom_id": custom_id, "response": None, "error": told})


def spoil_answer(body: dict[str, Any], faults: Iterable[Fault]) -> None:
    """Give an answer an ending that no client has heard of, where a fault says so."""
    for fault in faults:
        if fault.kind != "unknown_finish_reason":
            continue
        word = fault.message or "out_of_this_world"
        if body.get("object") == "response":
            body["status"] = word
        for choice in body.get("choices") or ():
            choice["finish_reason"] = word


def spoil_line(line: bytes, custom_id: str, faults: Iterable[Fault]) -> list[bytes]:
    """The lines that are written in place of one good line of an output file."""
    written = [line]
    for fault in faults:
        if fault.kind == "malformed_line":
            written = [one[: len(one) // 2] for one in written]
        elif fault.kind == "missing_line":
            written = []
        elif fault.kind == "duplicate_line":
            written = written * 2
        elif fault.kind == "unknown_custom_id":
            named, renamed = _encode(custom_id), _encode(fault.message or f"unknown-{custom_id}")
            written = [one.replace(b'"custom_id":' + named, b'"custom_id":' + renamed, 1) for one in written]
    return written
