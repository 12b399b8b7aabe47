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

from dw_agents.emulator.errors import Reply

if TYPE_CHECKING:
    from dw_agents.emulator.call import EventStream

__all__ = ["reset", "send", "send_half"]

_EVENT_STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_TIME_TO_READ = 0.02


async def send(request: web.BaseRequest, reply: Reply | EventStream) -> web.StreamResponse:
    """Write a reply, whole or as its events come."""
    if isinstance(reply, Reply):
        return web.Response(status=reply.status, body=reply.body, headers=_headers(reply))
    response = web.StreamResponse(headers=_EVENT_STREAM)
    await response.prepare(request)
    async with contextlib.aclosing(reply.events) as events:
        async for frame in events:
            await response.write(frame)
    await response.write_eof()
    return response


async def send_half(request: web.BaseRequest, reply: Reply | EventStream) -> web.StreamResponse:
    """Write the head and a part of the body, then reset the connection."""
    if isinstance(reply, Reply):
        response = web.StreamResponse(status=reply.status, headers=_headers(reply))
        response.content_length = len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: len(reply.body) // 2])
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
