"""The engine: the one owner of the network loop, the routes and the open tickets.

Owns: the public ``Engine``, which any thread may call, and the registry of shared engines. What runs on the network
thread is in ``runtime.py``. Must not import a framework's adapter.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, Self

from dw_agents.config import Account, Settings, check_headers, resolve_account
from dw_agents.errors import ConfigurationError, EngineClosed
from dw_agents.receipt import Receipt, Tally
from dw_agents.step import OnUnknown, Step, check
from dw_agents.ticket import Answer, Ticket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from types import TracebackType

    from dw_agents.runtime import Runtime
    from dw_agents.schedule.retries import Retries
    from dw_agents.schedule.window import Limits

__all__ = ["Engine"]

_shared: dict[tuple[Account, tuple[tuple[str, Any], ...]], Engine] = {}
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_registry = threading.RLock()


class Engine:
    """Takes steps from any thread or event loop and gets them answered on their tier.

    One background thread does all the network work; it starts with the first step. After a fork the child's first
    step starts a fresh one. At interpreter exit, steps in flight are kept in the journal for the next process that
    asks them; without a journal they are cancelled at the service.

    Args:
        api_key: a string, a ``SecretStr`` or a function that returns the string; default: ``DOUBLEWORD_API_KEY``, then
            what ``dw login`` wrote to ``~/.dw``.
        base_url: default: ``DOUBLEWORD_BASE_URL`` or ``DOUBLEWORD_API_BASE``, then ``https://api.doubleword.ai/v1``.
        on_unknown: what to do when a submission got no reply and may have been accepted: ``"resend"`` it once and
            count a possible duplicate in the receipt, or ``"raise"`` ``SubmissionUnknown``.
        retries: how to retry; see ``Retries``.
        headers: sent with every request, beside the key.
        ssl_context: in place of the system's trust store (``SSL_CERT_FILE`` and the like are honoured without it).
        max_polls_per_second: the most state look-ups a second, over all steps.
        batch_limits: how large a batch may grow and how long it waits for more; see ``Limits``.
        journal: the file that remembers what the service accepted, so that asking the same step again, also in another
            process, collects the answer instead of paying again; False for none. Default: ``DW_AGENTS_JOURNAL`` (a
            path, or ``off``), then ``dw-agents/journal.db`` in the platform's state directory.
        flex_bursts: how many flex steps at once travel: ``"responses"``, each as a background Response, or ``"batch"``,
            together in a batch with a window of ``1h``, which costs the same where the service offers it.
        run: the run that steps belong to which name none (see ``Step.run``). Default: ``DW_AGENTS_RUN``.

    Raises:
        MissingAPIKey: no key was found.
        ConfigurationError: a setting that cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: object = None,
        base_url: str | None = None,
        on_unknown: OnUnknown = "resend",
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_polls_per_second: float = 5000.0,
        batch_limits: Limits | None = None,
        journal: str | os.PathLike[str] | bool | None = None,
        run: str | None = None,
        flex_bursts: Literal["responses", "batch"] = "responses",
    ) -> None:
        if on_unknown not in {"resend", "raise"}:
            raise ConfigurationError(f"on_unknown={on_unknown!r} must be 'resend' or 'raise'.", field="on_unknown")
        if not max_polls_per_second >= 1:
            raise ConfigurationError("max_polls_per_second must be at least 1.", field="max_polls_per_second")
        if flex_bursts not in {"responses", "batch"}:
            raise ConfigurationError(
                f"flex_bursts={flex_bursts!r} must be 'responses' or 'batch'.", field="flex_bursts"
            )
        check_headers(headers or {})
        from dw_agents.journal.place import find_place

        find_place(journal)
        self.account = resolve_account(api_key, base_url)
        self._settings = Settings(
            on_unknown,
            retries,
            dict(headers or {}),
            ssl_context,
            max_polls_per_second,
            batch_limits,
            journal,
            os.environ.get("DW_AGENTS_RUN", "") if run is None else run,
            flex_bursts,
        )
        self._tally = Tally()
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._closed = False
        with _registry:
            _engines.add(self)

    @classmethod
    def shared(cls, *, api_key: object = None, base_url: str | None = None, **options: Any) -> Engine:
        """Return the process's engine for an account, so that steps of all frameworks travel together.

        Args:
            api_key: as for ``Engine``.
            base_url: as for ``Engine``.
            **options: the other settings of ``Engine``; other settings make another engine.
        """
        account = resolve_account(api_key, base_url)
        settings = tuple(sorted((k, _hashable(v)) for k, v in options.items() if v is not None))
        with _registry:
            engine = _shared.get((account, settings))
            if engine is None or engine.closed:
                engine = cls(api_key=account.api_key, base_url=account.base_url, **options)
                _shared[account, settings] = engine
            return engine

    def __repr__(self) -> str:
        return f"<Engine {self.account.base_url}{' closed' if self._closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def start(self) -> Self:
        """Start the thread and open the journal now, which the first step would do otherwise.

        Raises:
            JournalError: the journal that was asked for cannot be used.
            EngineClosed: after ``close``.
        """
        self._running()
        return self

    def submit(self, step: Step) -> Ticket:
        """Take up a step and return at once; it is sent in the background.

        Raises:
            InvalidStep: the step cannot travel as asked; nothing was sent.
            JournalError: the journal that was asked for cannot be used; nothing was sent.
            EngineClosed: after ``close``.
        """
        check(step)
        from dw_agents.wire.responses import encode

        body = encode(step)
        runtime = self._running()
        ticket = Ticket(
            step,
            body=body,
            submitted_at=time.monotonic(),
            owner_thread=runtime.thread_id,
            on_cancel=runtime.on_cancel,
        )
        runtime.take(ticket)
        return ticket

    def run(self, step: Step) -> Answer:
        """Submit a step and wait for its answer in this thread; Ctrl-C cancels it.

        Raises:
            StepError: what went wrong.
            InvalidStep: as for ``submit``.
        """
        return self.submit(step).result()

    async def arun(self, step: Step) -> Answer:
        """Submit a step and await its answer on any event loop; cancellation cancels it.

        Raises:
            StepError: what went wrong.
            InvalidStep: as for ``submit``.
        """
        return await self.submit(step)

    def receipt(self) -> Receipt:
        """Return what was done so far and what it cost; ``later - earlier`` gives what happened in between."""
        return self._tally.receipt()

    def snapshot(self) -> dict[str, int]:
        """Count the steps in flight by state: ``waiting``, ``submitting``, ``queued``, ``in_progress``."""
        runtime = self._runtime
        counts = Counter(ticket.state for ticket in list(runtime.open)) if runtime is not None else Counter()
        return {state: counts.get(state, 0) for state in ("waiting", "submitting", "queued", "in_progress")}

    def close(self, timeout: float = 10.0) -> None:
        """Stop the thread; a second call does nothing.

        What is in flight ends in ``StepCancelled`` here. What the service has accepted of it goes on there and is
        kept in the journal for whoever asks the same step again; without a journal it is cancelled at the service.

        Args:
            timeout: the most seconds to wait for the service.
        """
        with self._lock:
            self._closed = True
            runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.stop(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import anyio.to_thread

        await anyio.to_thread.run_sync(self.close)

    def _running(self) -> Runtime:
        runtime = self._runtime
        if runtime is not None and runtime.pid == os.getpid():
            return runtime
        with self._lock:
            if self._closed:
                raise EngineClosed("The engine was closed; make a new one.")
            runtime = self._runtime
            if runtime is None or runtime.pid != os.getpid():
                runtime = self._runtime = self._make_runtime()
                # Tickets may outlive the engine object: the thread goes on until the last of them has ended.
                weakref.finalize(self, runtime.retire).atexit = False
        return runtime

    def _make_runtime(self) -> Runtime:
        try:
            from dw_agents.runtime import Runtime

            return Runtime(self.account, self._settings, self._tally)
        except RuntimeError as error:
            # What is imported now wants to be told of the exit, and Python refuses once the main thread has ended.
            if threading.main_thread().is_alive():
                raise
            raise EngineClosed("The interpreter is exiting, and no engine was running: nothing was sent.") from error

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._tally = Tally()


def _hashable(value: object) -> object:
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


def _after_fork() -> None:
    global _registry  # noqa: PLW0603 - the lock is the process's, and this is a new process
    _registry = threading.RLock()
    for engine in list(_engines):
        engine._after_fork()  # noqa: SLF001 - the registry and the engine are one unit


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
