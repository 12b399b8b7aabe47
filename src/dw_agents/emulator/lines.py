"""The lines of an uploaded batch file: what one may say, and what is kept of it.

Owns: the rules per line with their messages. Pure; must not import routes, stores or the service.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dw_agents.emulator.errors import Refused, text_reply
from dw_agents.emulator.reasoning import reasoning_refusal

__all__ = ["URLS", "Request", "RequestLine", "check", "parse"]

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages")
"""The paths that a line, and a batch, may name."""

_MAX_CUSTOM_ID = 64
_STRIPPED = ("priority", "service_tier", "background")
_REASONING_WORDS = (b"reasoning", b"thinking", b"chat_template_kwargs")


class RequestLine(msgspec.Struct, gc=False):
    """One line as it is written, its body still text."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class Request(msgspec.Struct, gc=False):
    """One stored line, decoded to be run."""

    custom_id: str
    url: str
    body: dict[str, Any]


class _Body(msgspec.Struct, gc=False):
    model: str
    priority: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    service_tier: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    background: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_line = msgspec.json.Decoder(RequestLine)
_body = msgspec.json.Decoder(_Body)
_request = msgspec.json.Decoder(Request)


def parse(stored: bytes) -> Request:
    """Read a line that was checked when it was uploaded."""
    return _request.decode(stored)


def check(text: bytes, number: int, *, body_limit: int) -> tuple[str, bytes]:
    """Check one line by the service's rules.

    Args:
        text: the line, without blanks around it.
        number: its number among the lines that are not blank, from one: messages name it.
        body_limit: largest ``body``, in bytes.

    Returns:
        The model, and the line as it is stored: how a body wants to travel is taken out of it.

    Raises:
        Refused: 400 with the number of the line and what is wrong with it.
    """
    try:
        line = _line.decode(text)
    except UnicodeDecodeError:
        raise Refused(text_reply(400, f"File contains invalid UTF-8 on line {number}")) from None
    except msgspec.DecodeError as error:
        raise Refused(text_reply(400, f"Invalid JSON on line {number}: {error}")) from None
    problem = _problem(line, body_limit)
    if problem is not None:
        raise _refused(number, problem)
    try:
        body = _body.decode(line.body)
    except msgspec.DecodeError:
        raise _refused(number, "Missing 'model' field in request body") from None
    raw = bytes(line.body)
    if "embedding" in body.model.lower() and line.url != "/v1/embeddings":
        raise _refused(number, f"Model '{body.model}' makes embeddings, which {line.url} does not serve")
    if any(word in raw for word in _REASONING_WORDS):
        problem = _reasoning_problem(line.url, msgspec.json.decode(raw))
        if problem is not None:
            raise _refused(number, problem)
    if body.priority is body.service_tier is body.background is msgspec.UNSET:
        return body.model, text
    kept = {name: value for name, value in msgspec.json.decode(raw).items() if name not in _STRIPPED}
    line.body = msgspec.Raw(msgspec.json.encode(kept))
    return body.model, msgspec.json.encode(line)


def _problem(line: RequestLine, body_limit: int) -> str | None:
    given = line.custom_id
    if len(given.encode()) > _MAX_CUSTOM_ID:
        return f"custom_id has {len(given.encode())} bytes, which exceeds the maximum of {_MAX_CUSTOM_ID}"
    if not all(" " <= character <= "~" for character in given):
        return "custom_id holds characters that a HTTP header cannot carry: use visible ASCII"
    if line.method.upper() != "POST":
        return f"Unsupported HTTP method '{line.method}': a line can only POST"
    if line.url not in URLS:
        return f"Unsupported URL path '{line.url}'. Allowed: {', '.join(URLS)}"
    size = memoryview(line.body).nbytes
    if size > body_limit:
        return f"the body has {size} bytes, which exceeds the maximum of {body_limit}"
    return None


def _reasoning_problem(url: str, body: dict[str, Any]) -> str | None:
    if url == "/v1/chat/completions":
        chat = body
    elif url == "/v1/responses" and isinstance(body.get("reasoning"), dict):
        chat = {"reasoning_effort": body["reasoning"].get("effort")}
    else:
        return None
    refusal = reasoning_refusal(chat)
    return None if refusal is None else str(msgspec.json.decode(refusal.body)["error"]["message"])


def _refused(number: int, problem: str) -> Refused:
    return Refused(text_reply(400, f"Line {number}: {problem}"))
