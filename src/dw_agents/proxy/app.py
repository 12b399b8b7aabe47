"""The proxy's routes, and what all of them have in common.

Owns: which request goes where, request ids, the line in the log, and that every error is told as JSON. Must not know
how the server is started or stopped.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import web

from dw_agents.errors import EngineClosed, StepCancelled
from dw_agents.proxy.background import Background
from dw_agents.proxy.calls import Calls, Visit
from dw_agents.proxy.delivery import told
from dw_agents.proxy.errors import ONCE, Problem, Refused, problem_of
from dw_agents.proxy.guard import Guard
from dw_agents.proxy.passing import pass_on
from dw_agents.translate.call import ENDPOINTS

if TYPE_CHECKING:
    from dw_agents.proxy.settings import Settings
    from dw_agents.proxy.upstreams import Upstreams

__all__ = ["App"]

log = logging.getLogger("dw_agents.proxy")

_VERSION: Final = "/v1"
_HEALTH: Final = "/healthz"
_RESPONSE: Final = re.compile(r"/responses/([A-Za-z0-9_-]{1,200})(/cancel)?")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_LEFT: Final = 499
_PREFLIGHT_FOR: Final = "600"

_visit: ContextVar[Visit] = ContextVar("visit")
"""The request that this task is answering."""


class App:
    """Answers requests.

    Args:
        settings: of the proxy.
        upstreams: the service.
        kept: whether a journal keeps what is in flight when the proxy stops.

    Attributes:
        in_flight: requests that are being answered.
        stopping: whether new ones are refused.
        idle: is set while there is none.
    """

    def __init__(self, settings: Settings, upstreams: Upstreams, *, kept: bool) -> None:
        self._settings = settings
        self._upstreams = upstreams
        self._kept = kept
        self._guard = Guard(settings)
        self.background = Background()
        self._calls = Calls(settings, self.background, self._interpreted)
        self._of_responses = {
            ("GET", ""): self.background.retrieve,
            ("DELETE", ""): self.background.delete,
            ("POST", "/cancel"): self.background.cancel,
        }
        self.in_flight = 0
        self.stopping = False
        self.idle = asyncio.Event()
        self.idle.set()

    def make(self) -> web.Application:
        """Make what aiohttp serves."""
        made = web.Application(client_max_size=self._settings.body_limit)
        made.router.add_route("*", "/{path:.*}", self._handle)
        made.on_response_prepare.append(self._mark)
        return made

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; every error becomes a reply."""
        began = time.monotonic()
        given = request.headers.get("X-Request-Id", "")
        visit = Visit(given if _REQUEST_ID.fullmatch(given) else f"req_{uuid4().hex}")
        _visit.set(visit)
        status = _LEFT
        self.in_flight += 1
        self.idle.clear()
        try:
            response = await self._answer(request, visit)
            status = response.status
        except (asyncio.CancelledError, ConnectionResetError):
            raise  # the client has left
        except Exception as error:
            problem = self._interpreted(error)
            if problem.body["error"]["code"] == "internal_error":
                log.exception("%s: an internal error", visit.id)
            status = problem.status
            return told(problem, {})
        else:
            return response
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()
            if request.path != _HEALTH:
                self._log(request, visit, status, time.monotonic() - began)

    async def _answer(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return self._preflight(request)
        if request.path == _HEALTH:
            self._guard.check_page(request.headers)
            return self._health(request)
        self._guard.check(request.headers)
        if self.stopping:
            raise EngineClosed("The proxy is being stopped and takes no more calls.")
        path, _, query = request.raw_path.partition("?")
        below = path.removeprefix(_VERSION)
        if below == path or not below.startswith("/") or _climbs(below):
            raise Refused(
                404,
                f"Nothing is served at {path[:200]}. The API is below {_VERSION}: the client's base URL must be "
                f"http://{request.host}{_VERSION}.",
                code="unknown_path",
            )
        with self._upstreams.use(request.headers) as upstream:
            if request.method == "POST" and below in ENDPOINTS:
                return await self._calls.answer(request, upstream, below, visit)
            known = None if query else _RESPONSE.fullmatch(below)
            act = None if known is None else self._of_responses.get((request.method, known[2] or ""))
            if known is not None and act is not None:
                return await act(upstream.relay, known[1])
            rest = below + (f"?{query}" if query else "")
            return await pass_on(request, upstream, rest, limit=self._settings.upload_limit)

    def _health(self, request: web.Request) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            raise Refused(405, f"{_HEALTH} takes GET.", headers={"Allow": "GET, HEAD"})
        # This request is one of those in flight.
        said = {"status": "stopping" if self.stopping else "ok", "in_flight": self.in_flight - 1}
        return web.json_response(said, status=503 if self.stopping else 200)

    def _preflight(self, request: web.Request) -> web.Response:
        """Answer a browser that asks whether a page may call."""
        self._guard.check_page(request.headers)
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
                "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
                "Access-Control-Max-Age": _PREFLIGHT_FOR,
            },
        )

    def _interpreted(self, error: BaseException) -> Problem:
        """Say how an error is told; what ends because the proxy stops is told as that."""
        if not self.stopping or not isinstance(error, StepCancelled | EngineClosed):
            return problem_of(error)
        message = "The proxy is being stopped."
        if isinstance(error, StepCancelled):
            message = (
                "The proxy was stopped before the answer came. What the service has accepted goes on: ask the same "
                "again once the proxy is back, and it collects the answer without paying again."
                if self._kept
                else "The proxy was stopped before the answer came, and the call was cancelled."
            )
        body = {"error": {"message": message, "type": "server_error", "param": None, "code": "proxy_stopping"}}
        # Asking again is safe where nothing was sent, and where the journal knows what was.
        safe = self._kept or isinstance(error, EngineClosed)
        return Problem(503, body, {"Connection": "close", **({} if safe else ONCE)})

    async def _mark(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.setdefault("X-Request-Id", _visit.get().id)
        response.headers["Server"] = "dw-agents"
        response.headers.update(self._guard.page_headers(request.headers))

    def _log(self, request: web.Request, visit: Visit, status: int, seconds: float) -> None:
        """Write one line; nothing of headers, bodies and queries, which hold secrets."""
        log.info(
            "%s %s %s %s %.3fs %s %s",
            visit.id,
            request.method,
            request.path[:200].encode("unicode_escape").decode(),
            status,
            seconds,
            visit.tier,
            visit.ticket or "-",
        )


def _climbs(path: str) -> bool:
    """Whether a path leads out of the API: the key opens more of the service than that."""
    decoded = unquote(unquote(path)).replace("\\", "/")
    return any(part in {".", ".."} for part in decoded.split("/"))
