"""Requests that the service answers itself, passed on both ways as they come.

Owns: which headers travel, the limit on uploads, and what it means that no reply came. Must not read what passes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from dw_agents.proxy.errors import ONCE, Refused
from dw_agents.schedule.retries import Verdict, judge_submission
from dw_agents.translate.travel import HEADER_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dw_agents.proxy.upstreams import Upstream

__all__ = ["above_limit", "no_reply", "pass_on", "request_headers", "unreadable"]

_SILENCE: Final = 3900.0
"""Seconds without a byte from the service: it holds a connection for an hour and gives up then."""

_OF_THE_HOP: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_KEPT_HERE: Final = frozenset({
    # Of the client and this proxy: its secrets, its page, and what is set anew for the next hop.
    "authorization", "x-api-key", "api-key", "cookie", "origin", "referer", "host", "expect",
})  # fmt: skip
_NOT_FORGED: Final = "x-fusillade-"
"""The service marks its own calls so, and serves them without accounting."""
_KEPT_FROM_CLIENTS: Final = frozenset({"set-cookie", "server", "date"})
_OF_PAGES: Final = "access-control-"


def request_headers(request: web.BaseRequest, *, new_body: bool = False) -> CIMultiDict[str]:
    """Return what of a request's headers goes to the service.

    Args:
        request: of the client.
        new_body: whether another body is sent in place of the client's.
    """
    left_out = _OF_THE_HOP | _KEPT_HERE | _named_in_connection(request.headers)
    # The server undoes the encoding of a body that comes in; its length is then another.
    if new_body or request.headers.get("Content-Encoding"):
        left_out |= {"content-length", "content-encoding"}
    kept = CIMultiDict[str]()
    for name, value in request.headers.items():
        low = name.lower()
        if low not in left_out and not low.startswith((HEADER_PREFIX, _NOT_FORGED, "sec-")):
            kept.add(name, value)
    # A client that says nothing takes plain bytes; what carries them here would ask for packed ones.
    kept.setdefault("Accept-Encoding", "identity")
    return kept


async def pass_on(
    request: web.Request, upstream: Upstream, path: str, *, limit: int, body: bytes | None = None
) -> web.StreamResponse:
    """Hand a request to the service and its reply to the client, each as it comes.

    Args:
        request: of the client.
        upstream: the service.
        path: below the base URL, with its query.
        limit: bytes of the client's body.
        body: sent in place of the client's.

    Raises:
        Refused: the body is too large, or the service sent no reply.
    """
    headers = request_headers(request, new_body=body is not None)
    upload = _Upload(request, limit) if body is None and request.body_exists else None
    try:
        async with upstream.relay.open(
            request.method, path, headers=headers, body=upload.chunks() if upload else body, silence=_SILENCE
        ) as reply:
            return await _hand_over(request, reply)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        if upload is not None and upload.refused is not None:
            raise upload.refused from None
        raise no_reply(error, request.method) from error


def no_reply(error: Exception, method: str) -> Refused:
    """Say that the service sent no reply, and whether it may have acted."""
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Refused(502, f"No connection to the service could be made ({why}).", code="service_unreachable")
    return Refused(
        502,
        f"The request was sent to the service and no reply came ({why}); the service may have acted on it.",
        code="no_reply",
        headers=ONCE if method == "POST" else None,
    )


class _Upload:
    """A body that is passed on while it comes in.

    Attributes:
        refused: why it was not passed on to its end, if so.
    """

    def __init__(self, request: web.Request, limit: int) -> None:
        self._request = request
        self._limit = limit
        self.refused: Refused | None = None
        if (request.content_length or 0) > limit:
            raise above_limit(limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        seen = 0
        try:
            async for chunk in self._request.content.iter_any():
                seen += len(chunk)
                if seen > self._limit:
                    self.refused = above_limit(self._limit)
                    raise ConnectionAbortedError(str(self.refused))
                yield chunk
        except web.RequestPayloadError as error:
            self.refused = unreadable(error)
            raise ConnectionAbortedError(str(self.refused)) from error


def unreadable(error: Exception) -> Refused:
    """Say that a body is not what its headers say."""
    return Refused(400, f"The body cannot be read: {error.__cause__ or error}.", code="invalid_body")


def above_limit(limit: int) -> Refused:
    """Say that a body is too large."""
    return Refused(413, f"The body is larger than the {limit:,} bytes that this proxy takes.")


async def _hand_over(request: web.Request, reply: aiohttp.ClientResponse) -> web.StreamResponse:
    if reply.status in {301, 302, 303, 307, 308}:
        raise Refused(
            502,
            f"The service redirects ({reply.status}), and keys are sent to no other host; set the proxy's base URL to "
            "the final address.",
            code="redirected",
        )
    response = web.StreamResponse(status=reply.status, reason=reply.reason, headers=_reply_headers(reply.headers))
    if request.method == "POST" and judge_submission(reply.status) is Verdict.UNKNOWN:
        response.headers.update(ONCE)
    await response.prepare(request)
    try:
        async for chunk in reply.content.iter_any():
            await response.write(chunk)
    except (aiohttp.ClientError, TimeoutError):
        # The client must not take half an answer for a whole one.
        if request.transport is not None:
            request.transport.abort()
        return response
    with suppress(ConnectionResetError):
        await response.write_eof()
    return response


def _reply_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    left_out = _OF_THE_HOP | _KEPT_FROM_CLIENTS | _named_in_connection(headers)
    kept = CIMultiDict[str]()
    for name, value in headers.items():
        if name.lower() not in left_out and not name.lower().startswith(_OF_PAGES):
            kept.add(name, value)
    return kept


def _named_in_connection(headers: Mapping[str, str]) -> frozenset[str]:
    """Return the headers that were meant for one hop, as ``Connection`` says."""
    return frozenset(name.strip().lower() for name in headers.get("Connection", "").split(",") if name.strip())
