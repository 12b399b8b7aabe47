"""The Responses API on the wire: what is sent, and what is read out of a reply.

Owns: the paths and JSON shapes of ``/responses``, ``/chat/completions`` and ``/embeddings`` as far as the engine
reads them. Must not do I/O or know the routes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dw_agents import errors
from dw_agents.errors import InvalidStep, ServiceError
from dw_agents.step import MAX_BODY_BYTES, Step
from dw_agents.ticket import Answer, Ticket
from dw_agents.wire import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "UNFINISHED",
    "Job",
    "encode",
    "job_error",
    "read_answer",
    "read_job",
    "reply_error",
    "salvage_id",
    "service_error",
]

UNFINISHED: Final = frozenset({"queued", "in_progress"})
_ACCEPTED_ID: Final = re.compile(rb'"id"\s*:\s*"(resp_[A-Za-z0-9_-]{8,})"')


class Job(msgspec.Struct, gc=False):
    """What a poll reads of a Response; the output stays undecoded until the caller wants it.

    Attributes:
        id: ``resp_...``.
        status: ``queued``, ``in_progress``, ``completed``, ``failed``, ``cancelled``, ``incomplete`` or, from a
            realtime call, ``requires_action``.
        error: ``{"type", "message", "code"}`` of a failed job; ``code`` is an HTTP status here, a string at OpenAI.
    """

    id: str
    status: str
    error: dict[str, Any] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    incomplete_details: dict[str, Any] | None = None
    created_at: float | None = None
    completed_at: float | None = None

    @property
    def took(self) -> float | None:
        """Seconds from creation to completion by the service's clock, which counts whole ones."""
        if self.created_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.created_at


class _Other(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw(b"null")
    choices: list[dict[str, msgspec.Raw]] = []


_job = msgspec.json.Decoder(Job)
_usage = msgspec.json.Decoder(dict[str, Any] | None)


def encode(step: Step) -> bytes:
    """Encode a step's body as its tier wants it.

    Raises:
        InvalidStep: the body is no JSON, or larger than the API's limit.
    """
    extra: dict[str, Any] = {}
    if step.service_tier != "batch" and step.endpoint != "/embeddings":
        extra["service_tier"] = step.service_tier
    if step.service_tier in {"flex", "background"}:
        extra["background"] = True
    try:
        encoded = msgspec.json.encode({**step.body, **extra})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidStep(f"body cannot be written as JSON: {error}.", field="body") from error
    if len(encoded) > MAX_BODY_BYTES:
        raise InvalidStep(
            f"body is {len(encoded):,} bytes of JSON, and the API takes {MAX_BODY_BYTES:,}; "
            "shorten the input, or send images by address instead of inline.",
            field="body",
        )
    return encoded


def read_job(body: bytes) -> Job | None:
    """Read a Response; None where the text is not one."""
    try:
        return _job.decode(body)
    except UNREADABLE:
        return None


def salvage_id(partial: bytes) -> str | None:
    """Find the id in a reply that broke off, so that the accepted step is not lost with it."""
    found = _ACCEPTED_ID.search(partial)
    return found[1].decode() if found else None


def read_answer(ticket: Ticket, body: bytes) -> tuple[Answer, dict[str, Any] | None] | None:
    """Make the answer of a finished step out of the service's text; None where the text is not one.

    Returns:
        The answer, and its ``usage`` for the receipt: answers are kept by their callers, by the thousand, and stay
        small while nobody looks into them.
    """
    limit = ticket.step.body.get("max_output_tokens")
    if ticket.step.endpoint == "/responses":
        job = read_job(body)
        if job is None:
            return None
        usage = _read_usage(job.usage)
        cut = job.status == "incomplete" and (job.incomplete_details or {}).get("reason") != "content_filter"
        written = usage.get("output_tokens") if usage else None
        if isinstance(limit, int) and isinstance(written, int) and written >= limit:
            cut = True
        return Answer(body, ticket, truncated=cut), usage
    try:
        other = msgspec.json.decode(body, type=_Other)
    except UNREADABLE:
        return None
    cut = any(bytes(choice.get("finish_reason", b"")) == b'"length"' for choice in other.choices)
    return Answer(body, ticket, truncated=cut), _read_usage(other.usage)


def _read_usage(raw: msgspec.Raw) -> dict[str, Any] | None:
    try:
        usage: dict[str, Any] | None = _usage.decode(raw)
    except UNREADABLE:
        return None
    return usage


_CLASSES: Final[Mapping[int, type[ServiceError]]] = {
    400: errors.BadRequest,
    401: errors.AuthenticationFailed,
    402: errors.InsufficientCredits,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    405: errors.NotFound,
    410: errors.NotFound,
    413: errors.BadRequest,
    415: errors.BadRequest,
    422: errors.BadRequest,
    429: errors.RateLimited,
}
_CLIENT_FAULTS: Final = frozenset(range(300, 500)) - {408, 409, 425}
_MENDS: Final[Mapping[type[ServiceError], str]] = {
    errors.AuthenticationFailed: "Check the API key.",
    errors.InsufficientCredits: "Add credits or raise the spend cap, then ask again.",
    errors.PermissionDenied: "Check the key, the model's name and what the key may use.",
    errors.NotFound: "Check the model's name and base_url.",
}


def service_error(
    status: int | None, message: str, *, doing: str, code: str | None = None, body: str = "", ticket: Ticket
) -> ServiceError:
    """Make the error of a status: what happened, to which step, and what the user can do.

    Args:
        status: the HTTP status, or a failed job's code.
        message: the service's own words.
        doing: what was tried, for example ``"submitting"``.
        code: the service's code or type.
        body: all of its text.
        ticket: the step's.
    """
    kind = _CLASSES.get(status or 0, errors.ServiceFailed)
    if kind is errors.ServiceFailed and status in _CLIENT_FAULTS:
        kind = errors.BadRequest
    said = f": {message.rstrip('.')}" if message else ""
    number = f" ({status})" if status is not None else ""
    mend = _MENDS.get(kind)
    return kind(
        f"{ticket}: {doing} failed{number}{said}." + (f" {mend}" if mend else ""),
        status=status,
        code=code,
        body=body,
        ticket=ticket,
    )


def reply_error(status: int, body: bytes, *, doing: str, ticket: Ticket) -> ServiceError:
    """Make the error of an HTTP reply, out of either family of error bodies (JSON envelopes and plain text)."""
    text = body.decode("utf-8", "replace").strip()
    message, code = text[:500], None
    if 300 <= status < 400:
        message = "the address redirects, and the key is sent to no other host; set base_url to the final address"
    try:
        decoded = msgspec.json.decode(body)
    except UNREADABLE:
        decoded = None
    if isinstance(decoded, dict):
        inner = decoded.get("error")
        if isinstance(inner, dict):
            message = str(inner.get("message") or text[:500])
            code = next((str(inner[key]) for key in ("code", "type") if inner.get(key)), None)
        else:
            message = str(decoded.get("message") or inner or text[:500])
            code = inner if isinstance(inner, str) else None
    return service_error(status, message, doing=doing, code=code, body=text, ticket=ticket)


def job_error(job: Job, ticket: Ticket) -> tuple[ServiceError, int | None]:
    """Make the error of a failed job, and the HTTP status that its code stands for, if it has one."""
    said = job.error or {}
    code = said.get("code")
    status = code if isinstance(code, int) else {"rate_limit_exceeded": 429, "server_error": 500}.get(str(code))
    if status is None and isinstance(code, str):
        status = int(code) if code.isdecimal() else 400
    name = said.get("type") if isinstance(code, int | None) else code
    error = service_error(
        status,
        str(said.get("message") or "no reason given"),
        doing="the job",
        code=None if name is None else str(name),
        body=msgspec.json.encode(said).decode(),
        ticket=ticket,
    )
    return error, status
