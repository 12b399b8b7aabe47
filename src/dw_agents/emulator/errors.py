"""Replies and the two families of error bodies that the service uses.

Owns: ``Reply``, ``Refused`` and the shape, text and headers of every error. Must not import routes or jobs.

One family belongs to the inference paths: JSON ``{"error": {...}}``, with a few plain texts among them. The
other belongs to stored objects (``GET``/``DELETE /responses/{id}``, files, batches): plain text, and for 409,
429 and 503 a JSON body whose ``error`` is a string. OpenAI has one family: always JSON ``{"error": {...}}``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import msgspec

__all__ = [
    "JSON",
    "TEXT",
    "Family",
    "Refused",
    "Reply",
    "as_openai",
    "balance_too_low",
    "files_unauthenticated",
    "injected",
    "invalid_request",
    "json_reply",
    "model_not_found",
    "no_access",
    "object_not_found",
    "object_unauthenticated",
    "proxy_error",
    "proxy_forbidden",
    "proxy_unauthenticated",
    "text_reply",
    "too_large",
    "too_many_requests",
]

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

Family = Literal["inference", "objects", "files"]
"""``objects`` are stored responses; ``files`` are files and batches, which differ in a few texts."""


@dataclass(slots=True)
class Reply:
    """A whole reply, ready to be written.

    Attributes:
        status: HTTP status.
        body: the bytes to send; may be empty.
        content_type: value of the header, or ``""`` for none.
        headers: further headers.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Ends the handling of a request with an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(status: int, value: Any, **headers: str) -> Reply:
    """Encode ``value`` as the JSON body of a reply."""
    return Reply(status, msgspec.json.encode(value), JSON, headers)


def text_reply(status: int, text: str) -> Reply:
    """A plain-text reply."""
    return Reply(status, text.encode(), TEXT)


def invalid_request(status: int, message: str, **extra: Any) -> Reply:
    """The short envelope of the inference paths: ``message``, ``type`` and what ``extra`` adds."""
    return json_reply(status, {"error": {"message": message, "type": "invalid_request_error", **extra}})


def proxy_error(
    status: int, message: str, code: str, *, kind: str = "invalid_request_error", param: str | None = None
) -> Reply:
    """The long envelope of the proxy behind the inference paths: always ``message, type, param, code``."""
    return json_reply(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})


def proxy_unauthenticated() -> Reply:
    """401 of a realtime call without a key."""
    return proxy_error(401, "This resource needs an authentication token", "unauthenticated")


def proxy_forbidden() -> Reply:
    """403 of a realtime call with a key that nobody knows."""
    return proxy_error(403, "Forbidden", "forbidden")


def model_not_found(model: str) -> Reply:
    """404 of a realtime call; decided before the key is looked at."""
    return proxy_error(404, f"No model `{model}` exists, or this key may not see it.", "model_not_found")


def no_access(model: str, *, flex: bool) -> Reply:
    """403 for a model that the key may not use: JSON on flex, plain text on realtime."""
    message = f"You do not have access to '{model}'. Please contact your administrator to request access."
    return invalid_request(403, message) if flex else text_reply(403, message)


def balance_too_low() -> Reply:
    """402 of a realtime call (and of a batch) on an empty account."""
    return text_reply(402, "Account balance too low. Please add credits to continue.")


def too_large(limit: int) -> Reply:
    """413: the body is over the limit, in bytes."""
    return proxy_error(413, f"request body too large: at most {limit} bytes", "payload_too_large")


def object_unauthenticated() -> Reply:
    """401 of a stored response."""
    return text_reply(401, "Authentication required")


def files_unauthenticated() -> Reply:
    """401 of files and batches."""
    return text_reply(401, "Invalid API key")


def object_not_found(resource: str, ident: str) -> Reply:
    """404 of a stored object: bad id, unknown, someone else's, or not visible yet."""
    return text_reply(404, f"{resource} with ID {ident} not found")


def too_many_requests(message: str, *, retry_after: float | None = 60) -> Reply:
    """429 of the object family. Its body always says 30 seconds, whatever the header says."""
    body = {"error": "too_many_requests", "message": message, "retry_after_seconds": 30}
    return _with_retry_after(json_reply(429, body), retry_after)


def as_openai(reply: Reply) -> Reply:
    """The same error as OpenAI words it: JSON whose ``error`` is an object with all four of its keys."""
    if reply.status < HTTPStatus.BAD_REQUEST:
        return reply
    message = reply.body.decode()
    extra: dict[str, Any] = {}
    if reply.content_type == JSON:
        told = msgspec.json.decode(reply.body)
        extra = told["error"] if isinstance(told.get("error"), dict) else {}
        message = extra.get("message") or told.get("message") or message
    kind = "server_error" if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    error = {"message": message or HTTPStatus(reply.status).phrase, "type": kind, "param": None, "code": None, **extra}
    return Reply(reply.status, msgspec.json.encode({"error": error}), JSON, reply.headers)


_PROXY_CODES: dict[int, tuple[str, str]] = {
    408: ("timeout_error", "request_timeout"),
    409: ("invalid_request_error", "conflict"),
    429: ("rate_limit_error", "rate_limit"),
    503: ("internal_error", "service_unavailable"),
    504: ("internal_error", "gateway_timeout"),
}


def injected(
    family: Family,
    status: int,
    *,
    retry_after: float | None = None,
    message: str = "",
    model: str = "",
    flex: bool = False,
) -> Reply:
    """The reply that the service would send with ``status`` on a route of ``family``.

    Args:
        family: which of the two families the route belongs to.
        status: the HTTP status wanted.
        retry_after: seconds for the ``Retry-After`` header; ``None`` leaves the header away.
        message: replaces the usual text.
        model: the model named in the request, for the texts that quote it.
        flex: the request is a flex or background submission, which uses the short envelope.
    """
    text = message or f"{HTTPStatus(status).phrase} (injected by the emulator)"
    if family == "files" and status == HTTPStatus.PAYMENT_REQUIRED and not message:
        reply = balance_too_low()
    elif family != "inference":
        reply = _injected_object(family, status, text)
    elif status == HTTPStatus.PAYMENT_REQUIRED:
        reply = text_reply(402, message) if message else balance_too_low()
    elif flex:
        reply = _injected_flex(status, message, text, model)
    else:
        reply = _injected_proxy(status, message, text, model)
    return _with_retry_after(reply, retry_after)


def _injected_object(family: Family, status: int, text: str) -> Reply:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return too_many_requests(text, retry_after=None)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return json_reply(503, {"error": "service_unavailable", "message": text, "retry_after_seconds": 30})
    if status == HTTPStatus.CONFLICT:
        return json_reply(409, {"message": text, "resource": "response" if family == "objects" else "batch"})
    if status == HTTPStatus.UNAUTHORIZED:
        return object_unauthenticated() if family == "objects" else files_unauthenticated()
    return text_reply(status, text)


def _injected_flex(status: int, message: str, text: str, model: str) -> Reply:
    if status == HTTPStatus.UNAUTHORIZED:
        return invalid_request(401, message or "API key required")
    if status == HTTPStatus.FORBIDDEN:
        return invalid_request(403, message) if message else no_access(model, flex=True)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return invalid_request(status, text, type="server_error", code=status)
    return invalid_request(status, text)


def _injected_proxy(status: int, message: str, text: str, model: str) -> Reply:
    if not message:
        if status == HTTPStatus.UNAUTHORIZED:
            return proxy_unauthenticated()
        if status == HTTPStatus.FORBIDDEN:
            return no_access(model, flex=False)
        if status == HTTPStatus.NOT_FOUND:
            return model_not_found(model)
    server_side = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    fallback = ("internal_error", "internal_error") if server_side else ("invalid_request_error", "bad_request")
    kind, code = _PROXY_CODES.get(status, fallback)
    return proxy_error(status, text, code, kind=kind)


def _with_retry_after(reply: Reply, seconds: float | None) -> Reply:
    if seconds is not None:
        reply.headers["Retry-After"] = f"{seconds:g}"
    return reply
