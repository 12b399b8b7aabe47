"""The proxy as a process of its own.

Owns: the signals that stop it, what is told on the terminal, and the limits of the process. Must not read a command
line.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dw_agents.errors import DwAgentsError
from dw_agents.proxy.server import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.proxy.settings import Settings

__all__ = ["serve"]

_FILES: Final = 65_536
"""Open files to ask for: calls hold their connections for minutes, and the usual limit is 1,024."""


def serve(settings: Settings, *, verbose: bool = False) -> int:
    """Serve until SIGINT or SIGTERM; a second one cuts short what the first lets end.

    Args:
        settings: of the proxy.
        verbose: write a line for each request to stderr.

    Returns:
        Exit status: 0 after a stop in good order, 1 when the address cannot be had.

    Raises:
        DwAgentsError: a setting, a key or a journal that cannot be used.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    logging.captureWarnings(capture=True)
    warnings.formatwarning = _message_alone
    _raise_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    proxy = Proxy(settings)
    stopped = asyncio.Event()

    def stop() -> None:
        if stopped.is_set():
            proxy.hurry()
        stopped.set()

    _on_signals(stop)
    try:
        await proxy.start()
    except OSError as error:
        if isinstance(error, DwAgentsError):
            raise
        _say(f"dw-agents: cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}")
        return 1
    _greet(proxy)
    await stopped.wait()
    if proxy.in_flight:
        _say(f"Stopping; calls in flight: {proxy.in_flight:,}. Another signal stops at once.")
    left = await proxy.stop()
    _out("Stopped.", *([f"Calls cut off: {left:,}."] if left else []))
    _out(*(str(receipt) for receipt in proxy.receipts() if receipt.lines))
    return 0


def _greet(proxy: Proxy) -> None:
    settings = proxy.settings
    window = f" {settings.travel.completion_window}" if settings.travel.completion_window else ""
    whose = "each client's own" if settings.client_keys else "its own"
    _out(
        "dw-agents serve",
        f"  base URL: {proxy.base_url}",
        f"  tier:     {settings.travel.service_tier}{window}",
        f"  service:  {proxy.service_url}, with {whose} key",
        f"  token:    {'asked for' if settings.token is not None else 'not asked for'}",
        "Stop it with Ctrl-C.",
    )


def _message_alone(message: Warning | str, *_: object, **__: object) -> str:
    return str(message)


def _out(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()  # whoever started it waits for the address


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _raise_limit() -> None:
    """Allow for many connections, where the platform has such a limit."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
