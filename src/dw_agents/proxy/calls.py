"""Calls that may travel on a tier: ``/v1/responses``, ``/v1/chat/completions`` and ``/v1/embeddings``.

Owns: reading a call, and sending it the way that ``translate`` decides. Must not know the proxy's other routes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from dw_agents.adapting.carry import warn_once
from dw_agents.errors import InvalidStep, MalformedAnswer
from dw_agents.proxy.delivery import JSON, Content, deliver
from dw_agents.proxy.errors import Refused
from dw_agents.proxy.held import held
from dw_agents.proxy.passing import above_limit, pass_on, unreadable
from dw_agents.translate.call import Ask, Hold, plan
from dw_agents.translate.holding import Holding
from dw_agents.translate.travel import HEADER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from dw_agents.proxy.background import Background
    from dw_agents.proxy.errors import Problem
    from dw_agents.proxy.settings import Settings
    from dw_agents.proxy.upstreams import Upstream
    from dw_agents.ticket import Ticket
    from dw_agents.translate.call import PassOn, Shape

__all__ = ["TICKET_HEADER", "Calls", "Visit"]

TICKET_HEADER: Final = "X-DW-Agents-Ticket"
"""The step's id at the service, where it has one: `dw-agents jobs show` takes it."""
_TIMEOUT_HEADER: Final = HEADER_PREFIX + "timeout"


@dataclass(slots=True)
class Visit:
    """What is told of a request in the log.

    Attributes:
        id: in the reply's ``X-Request-Id``.
        tier: that the call travels on.
        ticket: the step's id at the service.
    """

    id: str
    tier: str = "-"
    ticket: str | None = None


class Calls:
    """Answers the calls.

    Args:
        settings: of the proxy.
        background: takes those whose client polls for itself.
        interpret: says how an error is told.
    """

    def __init__(
        self, settings: Settings, background: Background, interpret: Callable[[BaseException], Problem]
    ) -> None:
        self._settings = settings
        self._background = background
        self._interpret = interpret

    async def answer(self, request: web.Request, upstream: Upstream, endpoint: str, visit: Visit) -> web.StreamResponse:
        """Answer one call.

        Raises:
            Refused: it cannot be read, or got no reply.
            InvalidStep: something in it cannot be carried; nothing was sent.
        """
        body = await self._read(request)
        travel, asked = self._settings.travel.for_call(
            endpoint, request.headers, body, timeout=_timeout(request.headers)
        )
        visit.tier = travel.service_tier
        decided = plan(endpoint, asked, travel, query=request.query_string)
        if isinstance(decided, Ask):
            ticket = upstream.engine.submit(decided.step)
            return await self._deliver(request, visit, decided.shape, ticket, _asked(ticket, decided.shape))
        if isinstance(decided, Hold):
            warn_once(f"held.{decided.field.partition('[')[0]}.{decided.field.rpartition('.')[2]}", decided.notice)
            holding = Holding(decided, retries=self._settings.engine.get("retries"))
            return await self._deliver(request, visit, decided.shape, holding.ticket, _held(upstream, holding))
        return await self._submitted(request, upstream, endpoint, decided)

    async def _submitted(
        self, request: web.Request, upstream: Upstream, endpoint: str, decided: PassOn
    ) -> web.StreamResponse:
        if endpoint == "/responses" and decided.body.get("background") is True:
            return await self._background.submit(request, upstream.relay, decided.body)
        query = request.rel_url.raw_query_string
        path = endpoint + (f"?{query}" if query else "")
        return await pass_on(
            request, upstream, path, limit=self._settings.body_limit, body=msgspec.json.encode(decided.body)
        )

    async def _deliver(
        self,
        request: web.Request,
        visit: Visit,
        shape: Shape,
        ticket: Ticket,
        work: Coroutine[Any, Any, Content],
    ) -> web.StreamResponse:
        def headers() -> dict[str, str]:
            return {} if ticket.response_id is None else {TICKET_HEADER: ticket.response_id}

        try:
            return await deliver(
                request,
                work,
                endpoint=shape.endpoint,
                streamed=shape.streamed and not shape.verbatim,
                settings=self._settings,
                headers=headers,
                interpret=self._interpret,
            )
        finally:
            visit.ticket = ticket.response_id

    async def _read(self, request: web.Request) -> dict[str, Any]:
        """Read the body of a call."""
        try:
            content = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise above_limit(self._settings.body_limit) from None
        except web.RequestPayloadError as error:
            raise unreadable(error) from None
        try:
            body = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, f"The body is no JSON ({error}).", code="invalid_json") from None
        if not isinstance(body, dict):
            raise Refused(400, "The body must be a JSON object.", code="invalid_json")
        return body


async def _asked(ticket: Ticket, shape: Shape) -> Content:
    """Wait for the engine's answer and write it as the client's endpoint does."""
    answer = await ticket
    if shape.verbatim:
        return Content(JSON, answer.raw)
    try:
        return Content(*shape.write(answer.body, truncated=answer.truncated))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(
            f"{ticket} finished, but its answer cannot be read ({type(error).__name__}: {error}).", ticket=ticket
        ) from error


async def _held(upstream: Upstream, holding: Holding) -> Content:
    return Content(*await held(upstream.relay, holding))


def _timeout(headers: Mapping[str, str]) -> float | None:
    """Read the time limit that a client sets for one call."""
    text = headers.get(_TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidStep(f"The header X-DW-Agents-Timeout is {text!r}; it takes seconds above 0.", field="timeout")
    return seconds
