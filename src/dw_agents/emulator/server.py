"""The emulator as users hold it: a server on a thread of its own, started and stopped by ``with``.

Owns: the thread, its loop, the listening socket, and a clean and prompt end. Must not know what any route
does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread
from aiohttp import web

from dw_agents.emulator.accounts import Accounts
from dw_agents.emulator.app import App
from dw_agents.emulator.backends import make_backend
from dw_agents.emulator.counters import Counters
from dw_agents.emulator.service import Service
from dw_agents.emulator.settings import Settings

if TYPE_CHECKING:
    from types import TracebackType

    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from dw_agents.emulator.app import RecordedRequest
    from dw_agents.emulator.backends.base import Backend
    from dw_agents.emulator.batchstore import Batch
    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.filestore import StoredFile
    from dw_agents.emulator.jobs import Job

__all__ = ["Emulator"]

_TIME_TO_CLOSE = 0.5


class Emulator(Settings):
    """A local server that behaves like the Doubleword inference API.

    Use it as a context manager, sync or async; the server runs on its own thread either way. Every field of
    ``Settings`` is an argument.

    Example:
        >>> with Emulator(latency=2.0, speed=10.0) as emulator:
        ...     url, key = emulator.base_url, emulator.api_key

    Raises:
        ValueError: a setting that cannot be, or an unknown backend.
        OSError: the port is taken (on start).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.counters = Counters()
        self._backend: Backend = make_backend(self.backend) if isinstance(self.backend, str) else self.backend
        self._service: Service | None = None
        self._app: App | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._trouble: BaseException | None = None
        self._bound_port = 0

    @property
    def base_url(self) -> str:
        """Where clients connect, ``/v1`` included. The same routes are served under ``/ai/v1``."""
        self._running()
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._bound_port}/v1"

    @property
    def api_key(self) -> str:
        """The first accepted key."""
        return Accounts(self.api_keys).first_key

    @property
    def description(self) -> str:
        """What answers, in one plain sentence."""
        return self._backend.description

    @property
    def jobs(self) -> list[Job]:
        """Every stored job, oldest first, deleted ones included; to be read only."""
        return self._running().jobs.all()

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last requests (as many as ``record`` says), oldest first."""
        self._running()
        return list(self._app.recorded) if self._app is not None else []

    def job(self, ident: str) -> Job:
        """One job by its id.

        Raises:
            KeyError: there is no such job.
        """
        job = self._running().jobs.get(ident)
        if job is None:
            raise KeyError(ident)
        return job

    @property
    def files(self) -> list[StoredFile]:
        """Every file that was not deleted, oldest first; ``file.lines()`` decodes one."""
        return self._running().files.all()

    @property
    def batches(self) -> list[Batch]:
        """Every batch, oldest first, deleted ones included; to be read only."""
        return self._running().batches.all()

    def batch(self, ident: str) -> Batch:
        """One batch by its id.

        Raises:
            KeyError: there is no such batch.
        """
        batch = self._running().batches.get(ident)
        if batch is None:
            raise KeyError(ident)
        return batch

    def running(self) -> list[str]:
        """Ids of the jobs and batches that are not finished: what would still be paid for."""
        return [*self._running().jobs.running(), *self.running_batches()]

    def running_batches(self) -> list[str]:
        """Ids of the batches that are not finished."""
        return [batch.id for batch in self._running().batches.unfinished()]

    def set_faults(self, *faults: Fault) -> None:
        """Replace the faults in force; may be called from any thread while the server runs."""
        self.faults.replace(*faults)

    def start(self) -> Self:
        """Start the server; returns when it accepts connections.

        Raises:
            RuntimeError: it was started before.
            OSError: the port is taken.
        """
        if self._thread is not None:
            raise RuntimeError("this emulator was started before: make a new one")
        self._thread = threading.Thread(target=self._run, name="dw-agents-emulator", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._trouble is not None:
            self._thread.join()
            raise self._trouble
        return self

    def stop(self) -> None:
        """Stop the server; open connections are cut. Stopping twice is fine."""
        if self._thread is None:
            return
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and self._thread.is_alive():
            # The loop may have been closed in between: then the thread is ending by itself.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await anyio.to_thread.run_sync(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)

    def _running(self) -> Service:
        if self._service is None:
            raise RuntimeError("the emulator has not been started: use it in a with block, or call start()")
        return self._service

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in start()
            self._trouble = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self._backend.start()
        try:
            await self._serve_until(self._stop, Service(self, self._backend, self.counters))
        finally:
            await self._backend.close()

    async def _serve_until(self, stop: asyncio.Event, service: Service) -> None:
        loop = asyncio.get_running_loop()
        app = App(service)
        server = web.Server(
            app.handle,
            request_factory=self._make_request,
            handler_cancellation=True,
            access_log=None,
        )
        listening = await loop.create_server(server, self.host, self.port, backlog=2048)
        self._bound_port = listening.sockets[0].getsockname()[1]
        self._service, self._app = service, app
        service.scheduler.start()
        self._ready.set()
        try:
            await stop.wait()
        finally:
            listening.close()
            await self._hang_up(server)
            await service.close()

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: Any,
        writer: Any,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop = self._loop or asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self.body_limit)

    async def _hang_up(self, server: web.Server) -> None:
        """Cut every connection and wait, briefly, for the handlers behind them to end."""
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIME_TO_CLOSE):
                # The server tells nobody when its last connection has gone.
                while server.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
