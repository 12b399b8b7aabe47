"""Flex chat calls that hold a connection until the answer comes.

Owns: sending them with the proxy's own connection. What their outcomes lead to is ``translate/holding.py``'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
import anyio

from dw_agents.errors import DwAgentsError
from dw_agents.translate.held import Lines
from dw_agents.wire.http import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.proxy.upstreams import Relay
    from dw_agents.translate.holding import Holding

__all__ = ["held"]

_COLLECT: Final = 30.0
_COLLECT_TRIES: Final = 3
_COLLECT_PAUSE: Final = 0.3
# A connection that was held for an hour is not kept for the next call.
_HEADERS: Final[Mapping[str, str]] = {"Connection": "close", "Accept-Encoding": "identity"}


async def held(relay: Relay, holding: Holding) -> tuple[str, bytes]:
    """Make the call and return the content type and the content of the reply to the client.

    Raises:
        StepError: what went wrong.
    """
    try:
        while (pause := await _limited(relay, holding)) is not None:  # noqa: ASYNC110 - a pause, not a wait for an event
            await asyncio.sleep(pause)
        return holding.finish(await _collect(relay, holding.answer_path))
    except BaseException as error:
        holding.failed(error)
        raise


async def _limited(relay: Relay, holding: Holding) -> float | None:
    """Send the call once, and end it at the time limit, whether the service gives signs of life or not."""
    with anyio.move_on_after(holding.left()):
        return await _once(relay, holding)
    raise holding.overdue()


async def _once(relay: Relay, holding: Holding) -> float | None:
    """Send the call once; returns the seconds until it is sent again, None where it has been answered."""
    silence = holding.begins()
    try:
        async with relay.open(
            "POST", "/chat/completions", headers=_HEADERS, body=holding.content, silence=silence
        ) as reply:
            if reply.status >= 300:
                return holding.refused(reply.status, reply.headers, await reply.read())
            lines = Lines()
            async for chunk in reply.content.iter_any():
                for line in lines.feed(chunk):
                    holding.line(line)
    except DwAgentsError:  # some of them are OSErrors too
        raise
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        return holding.not_connected(f"{type(error).__name__}: {error}")
    except (aiohttp.ClientError, OSError) as error:
        return holding.broken(f"{type(error).__name__}: {error}")
    return holding.ended()


async def _collect(relay: Relay, path: str) -> bytes | None:
    """Read the stored answer; None where it cannot be had."""
    for attempt in range(_COLLECT_TRIES):
        if attempt:
            await asyncio.sleep(_COLLECT_PAUSE)
        try:
            reply = await relay.request("GET", path, timeout=_COLLECT)
        except WireError:
            continue
        if reply.status == 200:
            return reply.body
    return None
