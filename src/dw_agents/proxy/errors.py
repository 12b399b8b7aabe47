"""What goes wrong, as replies.

Owns: the status and the body for each error. The service's own reasons keep its status and its words; the others have
the same envelope, ``{"error": {"message", "type", "param", "code"}}``, and a ``code`` that says what happened:

    refused here, nothing was sent              400, 401, 403, 404, 413
    service_unreachable                         502: no connection was made, nothing was accepted
    submission_unknown                          502: sent, but no reply: it may have been accepted
    step_lost, malformed_answer                 502
    deadline_exceeded, step_expired             504
    step_cancelled                              409: at the service, by somebody else
    proxy_stopping                              503
    step_not_recorded, internal_error           500

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dw_agents import errors as core

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ONCE", "Problem", "Refused", "problem_of"]

ONCE: Final[Mapping[str, str]] = {"X-Should-Retry": "false"}
"""Keeps OpenAI's SDKs from sending a call again by themselves: another submission would be paid too."""

_CLASSES: Final[tuple[tuple[type[core.DwAgentsError], int, str], ...]] = (
    (core.ServiceUnreachable, 502, "service_unreachable"),
    (core.SubmissionUnknown, 502, "submission_unknown"),
    (core.DeadlineExceeded, 504, "deadline_exceeded"),
    (core.StepExpired, 504, "step_expired"),
    (core.StepCancelled, 409, "step_cancelled"),
    (core.StepLost, 502, "step_lost"),
    (core.MalformedAnswer, 502, "malformed_answer"),
    (core.StepNotRecorded, 500, "step_not_recorded"),
    (core.JournalError, 500, "step_not_recorded"),
    (core.EngineClosed, 503, "proxy_stopping"),
)
_KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_credits",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is told to a client.

    Attributes:
        status: of the reply.
        body: of the reply: a JSON object with an ``error``.
        headers: of the reply.
    """

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body, encoded."""
        return msgspec.json.encode(self.body)

    def event(self, endpoint: str) -> bytes:
        """Return the problem as the last event of a stream whose head has been sent.

        Args:
            endpoint: that was asked; each has its own form.
        """
        error = self.body["error"]
        if endpoint != "/responses":
            return b"data: %b\n\ndata: [DONE]\n\n" % self.content
        said = {name: error.get(name) for name in ("code", "message", "param")}
        # The flat fields are OpenAI's event, the object is what the service sends and what SDKs look for.
        data = {"type": "error", "sequence_number": 0, **said, "error": error}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(data)


class Refused(Exception):
    """The proxy does not serve a request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.problem = Problem(status, _envelope(message, kind=kind or _kind(status), code=code), dict(headers or {}))


def problem_of(error: BaseException) -> Problem:
    """Say how an error is told to a client."""
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, core.ServiceError):
        return _of_the_service(error)
    if isinstance(error, core.MissingAPIKey):
        return Problem(401, _envelope(str(error), kind=_kind(401), param=error.field or None), ONCE)
    if isinstance(error, core.ConfigurationError):
        return Problem(400, _envelope(str(error), kind=_kind(400), param=error.field or None), ONCE)
    for known, status, code in _CLASSES:
        if isinstance(error, known):
            return Problem(status, _envelope(str(error), kind=_kind(status), code=code), ONCE)
    message = f"An internal error of dw-agents ({type(error).__name__}); the proxy's log has more. Please report it."
    return Problem(500, _envelope(message, kind=_kind(500), code="internal_error"), ONCE)


def _of_the_service(error: core.ServiceError) -> Problem:
    # The engine follows no redirect, so its message is of more use than the reply; a job may fail without a status.
    status = error.status if error.status is not None and 400 <= error.status <= 599 else 502
    said = _decoded(error.body)
    if status == error.status and isinstance(said, dict):
        if isinstance(said.get("error"), dict):
            return Problem(status, said, ONCE)
        if isinstance(said.get("message"), str):
            kept = {"type": error.code or _kind(status), "param": None, "code": None}
            named = {"type": said["error"]} if isinstance(said.get("error"), str) else {}
            rest = {name: value for name, value in said.items() if name != "error"}
            return Problem(status, {"error": {**kept, **named, **rest}}, ONCE)
    words = error.body if status == error.status and error.body and said is None else str(error)
    return Problem(status, _envelope(words, kind=error.code or _kind(status), code=error.code), ONCE)


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _envelope(message: str, *, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _kind(status: int) -> str:
    return _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
