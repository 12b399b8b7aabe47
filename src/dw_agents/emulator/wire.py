"""Replies onto the socket: whole, as a stream, cut in the middle, or not at all.

Owns: the only code that writes to or resets a connection. Must not import routes or the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web

from dw_agents.emulator.call import Download, EventStream
from dw_agents.emulator.errors import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reset", "send", "send_half"]

_EVENT_STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_TIME_TO_READ = 0.02


async def send(request: web.BaseRequest, reply: Reply | EventStream | Download) -> web.StreamResponse:
    """Write a reply: whole, as its events come, or as its lines are read."""
    if isinstance(reply, Reply):
        return web.Response(status=reply.status, body=reply.body, headers=_headers(reply))
    if isinstance(reply, Download):
        response = web.StreamResponse(headers=reply.headers)
        await response.prepare(request)
        for chunk in reply.chunks:
            await response.write(chunk)
            # A write into an empty socket buffer does not wait, and other requests are waiting.
            await asyncio.sleep(0)
        await response.write_eof()
        return response
    response = web.StreamResponse(headers=_EVENT_STREAM)
    await response.prepare(request)
    async with contextlib.aclosing(reply.events) as events:
        async for frame in events:
            await response.write(frame)
    await response.write_eof()
    return response


async def send_half(request: web.BaseRequest, reply: Reply | EventStream | Download) -> web.StreamResponse:
    """Write the head and a part of the body (of lines: up to the middle of one), then reset the connection."""
    if isinstance(reply, Reply):
        response = web.StreamResponse(status=reply.status, headers=_headers(reply))
        response.content_length = len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: len(reply.body) // 2])
    elif isinstance(reply, Download):
        response = web.StreamResponse(headers=reply.headers)
        await response.prepare(request)
        for piece in _first_half(reply):
            await response.write(piece)
    else:
        response = web.StreamResponse(headers=_EVENT_STREAM)
        await response.prepare(request)
        async with contextlib.aclosing(reply.events) as events:
            first = await anext(events, b"")
            second = await anext(events, b"")
            await response.write(first + second[: len(second) // 2])
    # A reset overtakes bytes that the client has not read; give it the time to read them.
    await asyncio.sleep(_TIME_TO_READ)
    reset(request)
    return response


def _first_half(reply: Download) -> Iterator[bytes]:
    """About half of the bytes, the last of them in the middle of a line."""
    left = max(1, reply.size // 2)
    for chunk in reply.chunks:
        if len(chunk) < left:
            left -= len(chunk)
            yield chunk
            continue
        piece = chunk[:left]
        # Without its last two bytes a line is broken for certain, its line feed gone as well.
        yield piece[:-2] if piece.endswith(b"\n") else piece
        return


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Cut the connection with a TCP reset; what is returned is never seen by anybody."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        transport.abort()
    return web.Response()


def _headers(reply: Reply) -> dict[str, str]:
    if not reply.content_type:
        return reply.headers
    return {"Content-Type": reply.content_type, **reply.headers}
