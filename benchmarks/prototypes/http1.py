"""A prototype: the least HTTP/1.1 client that the flex route could do with, over asyncio's protocols.

Owns: requests with a known length, replies with ``Content-Length`` or in chunks, kept connections, and (with ``depth``
above one) pipelining. Left out, and needed before it could serve: TLS is asyncio's own and would come for free, but not
proxies, time-outs per request, and the judgement of which failed request may have been acted on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

__all__ = ["Client"]


class _Wire(asyncio.Protocol):
    """One connection; replies come in the order of the requests."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.transport: asyncio.Transport | None = None
        self.waiting: deque[asyncio.Future[tuple[int, bytes]]] = deque()
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        data = self._unread + data if self._unread else data
        while data and self.waiting:
            head_end = data.find(b"\r\n\r\n")
            if head_end < 0:
                break
            head = data[:head_end].lower()
            body, end = _body(head, data, head_end + 4)
            if end < 0:
                break
            data = data[end:]
            reply = self.waiting.popleft()
            if not reply.done():
                reply.set_result((int(head[9:12]), body))
            self._client.free(self)
        self._unread = data

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.lost(self)
        for reply in self.waiting:
            if not reply.done():
                reply.set_exception(exc or ConnectionResetError("the server closed the connection"))


def _body(head: bytes, data: bytes, start: int) -> tuple[bytes, int]:
    """Return the body and where it ends; -1 while it has not all come."""
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        line_end = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : line_end if line_end > 0 else len(head)])
        return (data[start : start + length], start + length) if len(data) >= start + length else (b"", -1)
    parts = []
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return b"", -1
        size = int(data[start:line_end].partition(b";")[0], 16)
        start = line_end + 2
        if len(data) < start + size + 2:
            return b"", -1
        parts.append(data[start : start + size])
        start += size + 2
        if not size:
            return b"".join(parts), start


class Client:
    """Sends requests to one host.

    Args:
        host: its address.
        port: its port.
        headers: of each request, as ``name: value`` lines.
        connections: the most to open.
        depth: requests under way on one connection.
    """

    def __init__(self, host: str, port: int, headers: list[str], *, connections: int, depth: int = 1) -> None:
        self._host = host
        self._port = port
        self._tail = ("\r\n" + "\r\n".join([f"Host: {host}:{port}", *headers]) + "\r\n").encode()
        self._most = connections
        self._depth = depth
        self._open = 0
        self._free: deque[_Wire] = deque()
        self._queue: deque[asyncio.Future[_Wire]] = deque()

    async def request(self, method: bytes, path: bytes, body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return the status and the body of its reply."""
        wire = self._free.popleft() if self._free else await self._another()
        reply: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        wire.waiting.append(reply)
        if wire.transport is None:
            raise ConnectionResetError("the connection is not open")
        length = b"Content-Length: %d\r\n\r\n" % len(body) if body else b"\r\n"
        wire.transport.write(method + b" " + path + b" HTTP/1.1" + self._tail + length + body)
        return await reply

    def free(self, wire: _Wire) -> None:
        """Take back a connection on which one more request fits."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(wire)
                return
        self._free.append(wire)

    def lost(self, wire: _Wire) -> None:
        """Forget a connection."""
        self._open -= 1
        self._free = deque(other for other in self._free if other is not wire)

    async def close(self) -> None:
        """Close every connection that is not in use."""
        for wire in set(self._free):
            if wire.transport is not None:
                wire.transport.close()
        await asyncio.sleep(0)

    async def _another(self) -> _Wire:
        loop = asyncio.get_running_loop()
        if self._open < self._most:
            self._open += 1
            _, wire = await loop.create_connection(lambda: _Wire(self), self._host, self._port)
            for _ in range(self._depth - 1):
                self.free(wire)
            return wire
        waiter: asyncio.Future[_Wire] = loop.create_future()
        self._queue.append(waiter)
        return await waiter
