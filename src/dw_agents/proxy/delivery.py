"""Handing an answer over that may take hours.

Owns: what a client hears while it waits, and that work stops when the client has gone. Must not know where the answer
comes from.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from dw_agents.errors import EngineClosed
from dw_agents.translate.events import KEEP_ALIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from dw_agents.proxy.errors import Problem
    from dw_agents.proxy.settings import Settings

__all__ = ["JSON", "Content", "deliver", "told"]

JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_BLANK: Final = b" "


@dataclass(frozen=True, slots=True)
class Content:
    """An answer, ready to be sent.

    Attributes:
        kind: its content type.
        content: its body.
    """

    kind: str
    content: bytes = field(repr=False)


async def deliver(
    request: web.Request,
    work: Coroutine[Any, Any, Content],
    *,
    endpoint: str,
    streamed: bool,
    settings: Settings,
    headers: Callable[[], Mapping[str, str]],
    interpret: Callable[[BaseException], Problem],
) -> web.StreamResponse:
    """Send the outcome of ``work``, and signs of life until it is there.

    The status is the outcome's own as long as nothing has been sent. A stream begins when the first sign of life is
    due; from then on an error is its last event.

    Args:
        request: of the client; when its connection goes, this is cancelled and so is ``work``.
        work: ends with the answer, or raises.
        endpoint: that was asked.
        streamed: whether the answer is written as events.
        settings: of the proxy.
        headers: asked for when the head is sent.
        interpret: says how an error is told.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        first = settings.keep_alive if streamed else settings.early_head
        await asyncio.wait({task}, timeout=first)
        if task.done():
            return _at_once(task, headers(), interpret)
        begun = web.StreamResponse(headers={"Content-Type": _EVENTS if streamed else JSON, **headers()})
        if streamed:
            begun.headers.update({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        await begun.prepare(request)
        while not task.done():
            await begun.write(KEEP_ALIVE if streamed else _BLANK)
            await asyncio.wait({task}, timeout=settings.keep_alive)
        problem = _problem(task, interpret)
        if problem is None:
            await begun.write(task.result().content)
        else:
            await begun.write(problem.event(endpoint) if streamed else problem.content)
        await begun.write_eof()
        return begun
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain about it


def _at_once(
    task: asyncio.Task[Content], headers: Mapping[str, str], interpret: Callable[[BaseException], Problem]
) -> web.Response:
    problem = _problem(task, interpret)
    if problem is not None:
        return told(problem, headers)
    answer = task.result()
    response = web.Response(body=answer.content, headers={"Content-Type": answer.kind, **headers})
    if answer.kind == _EVENTS:
        response.headers["Cache-Control"] = "no-cache"
    return response


def _problem(task: asyncio.Task[Content], interpret: Callable[[BaseException], Problem]) -> Problem | None:
    """Return how work failed, if it did."""
    if task.cancelled():  # the loop is being closed
        return interpret(EngineClosed("The proxy was stopped."))
    error = task.exception()
    return None if error is None else interpret(error)


def told(problem: Problem, headers: Mapping[str, str]) -> web.Response:
    """Return the reply that tells of a problem."""
    return web.Response(
        status=problem.status, body=problem.content, headers={"Content-Type": JSON, **headers, **problem.headers}
    )
