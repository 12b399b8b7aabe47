"""The one place where requests are dispatched and faults applied.

Owns: counting and recording, and the order in which faults strike. Which handler answers is said in ``routes``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from dw_agents.emulator import models
from dw_agents.emulator.call import Call, Download, EventStream, decode, service_tier
from dw_agents.emulator.errors import Refused, Reply, as_openai, injected, proxy_error, too_large
from dw_agents.emulator.fault import ARRIVAL_KINDS
from dw_agents.emulator.routes import Route, routes
from dw_agents.emulator.wire import reset, send, send_half

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.service import Service

__all__ = ["App", "RecordedRequest"]

_PREFIXES = ("/v1/", "/ai/v1/")
_GARBAGE = b"<html><body>upstream connect error</body></html>"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it came over the wire.

    Attributes:
        route: label of the route.
        method: HTTP method.
        path: path and query as sent.
        headers: its headers, names in any case.
        body: its bytes; of an upload, which is not kept here, none (see ``Emulator.files``).
    """

    route: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class App:
    """Answers requests.

    Args:
        service: the state behind the routes.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes = routes(cancel=service.like_openai, openai=service.openai)
        self._health = {"GET": Route("GET /healthz", models.health, "objects")}
        self.recorded: deque[RecordedRequest] = deque(maxlen=service.settings.record)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or let a fault do it."""
        path = request.raw_path
        methods, template, ident = self._locate(path)
        route = methods.get(request.method) if methods else None
        label = route.label if route else f"{request.method} {template}"
        service = self._service
        service.counters.arrived(label)
        body = b""
        streamed = route is not None and route.streamed
        if request.body_exists and not streamed:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return await self._write(request, label, too_large(service.settings.body_limit))
        if self.recorded.maxlen:
            self.recorded.append(RecordedRequest(label, request.method, path, request.headers, body))
        call = Call(service, label, path, ident, request.headers, body, request if streamed else None)
        if not service.faults:
            return await self._write(request, label, await _answer(call, route, methods))
        return await self._handle_with_faults(request, call, route, methods)

    def _locate(self, path: str) -> tuple[dict[str, Route] | None, str, str]:
        """The routes of a path, their template, and the id in it."""
        plain = path.partition("?")[0]
        for prefix in _PREFIXES:
            if plain.startswith(prefix):
                rest = plain[len(prefix) - 1 :]
                break
        else:
            return (self._health, plain, "") if plain == "/healthz" else (None, plain, "")
        methods = self._routes.get(rest)
        if methods is not None:
            return methods, rest, ""
        _, resource, *more = rest.split("/")
        if not more or not more[0]:
            return None, rest, ""
        template = "/".join(("", resource, "{id}", *more[1:]))
        return self._routes.get(template), template, more[0]

    async def _handle_with_faults(
        self, request: web.BaseRequest, call: Call, route: Route | None, methods: Mapping[str, Route] | None
    ) -> web.StreamResponse:
        service = self._service
        struck = service.faults.for_request(call.route, call.path, call.body, service.clock.now())
        for fault in struck:
            service.counters.fired(fault.kind)
        ended = await self._before(request, call, route, struck)
        if ended is not None:
            return ended
        reply = await _answer(call, route, methods)
        for fault in struck:
            if fault.kind == "slow_reply":
                await service.clock.sleep(fault.delay)
            elif fault.kind == "stall_reply":
                await _until_the_client_leaves()
            elif fault.kind == "lost_reply":
                return reset(request)
            elif fault.kind == "reset_body":
                return await send_half(request, reply)
        return await self._write(request, call.route, reply)

    async def _before(
        self, request: web.BaseRequest, call: Call, route: Route | None, struck: list[Fault]
    ) -> web.StreamResponse | None:
        """Apply the faults that strike before the handling; what they send ends it."""
        for fault in struck:
            if fault.kind == "slow":
                await self._service.clock.sleep(fault.delay)
            elif fault.kind == "stall":
                await _until_the_client_leaves()
            elif fault.kind == "lost_request":
                return reset(request)
            elif fault.kind in ARRIVAL_KINDS:
                return await self._write(request, call.route, _in_place_of(call, route, fault))
        return None

    async def _write(
        self, request: web.BaseRequest, label: str, reply: Reply | EventStream | Download
    ) -> web.StreamResponse:
        self._service.counters.replied(label, reply.status if isinstance(reply, Reply) else 200)
        if self._service.openai and isinstance(reply, Reply):
            reply = as_openai(reply)
        return await send(request, reply)


async def _answer(
    call: Call, route: Route | None, methods: Mapping[str, Route] | None
) -> Reply | EventStream | Download:
    if route is not None:
        try:
            return await route.handler(call)
        except Refused as refused:
            return refused.reply
    if methods:
        return Reply(405, b"", "", {"Allow": ",".join(sorted(methods))})
    # Whatever has no handler of its own falls through to the proxy, which does not know it either.
    return proxy_error(404, f"Nothing is served at {call.path.partition('?')[0]}", "not_found")


def _in_place_of(call: Call, route: Route | None, fault: Fault) -> Reply:
    """The reply that a fault sends instead of handling the request."""
    if fault.kind == "garbage":
        return Reply(200, fault.message.encode() or _GARBAGE, "text/html; charset=utf-8")
    if fault.kind == "redirect":
        return Reply(fault.status, b"", "", {"Location": fault.location})
    try:
        body = decode(call.body)
    except Refused:
        body = {}
    return injected(
        route.family if route else "inference",
        429 if fault.kind == "rate_limit" else fault.status,
        retry_after=fault.retry_after,
        message=fault.message,
        model=str(body.get("model", "")),
        flex=service_tier(body) != "realtime",
    )


async def _until_the_client_leaves() -> None:
    """Wait for ever: the server cancels the handler when the connection goes."""
    await asyncio.get_running_loop().create_future()
