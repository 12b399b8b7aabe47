"""The handle to a submitted step, and its answer.

Owns: ``Ticket`` (the state of a step and how callers wait for it, from any thread and any event loop) and ``Answer``.
Must not import the engine, the routes or anything that does I/O: a ticket is told how to abandon itself by whoever
made it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dw_agents.errors import EngineForked, EngineLoopError, StepCancelled
from dw_agents.interrupts import is_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from dw_agents.step import Step

__all__ = ["Answer", "Ticket", "TicketStatus"]

TicketStatus = Literal["waiting", "submitting", "queued", "in_progress", "completed", "failed", "cancelled"]

_lock = threading.Lock()
"""Held for a few instructions: who ends a ticket, and how many wait for it, is decided by one thread at a time."""


def _after_fork() -> None:
    # Another thread of the parent may have held it at the fork, and would never let go here.
    global _lock  # noqa: PLW0603 - the lock is the process's, and this is a new process
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Answer:
    """What the service answered to one step.

    Attributes:
        raw: the JSON text of the answer as it came: a Response, a chat completion or an embeddings list.
        ticket: the step's ticket.
        truncated: whether the answer was cut at the token limit. On flex the service does not say so; an
            output as long as ``max_output_tokens`` counts as cut.
    """

    raw: bytes = field(repr=False)
    ticket: Ticket
    truncated: bool = False

    _body: dict[str, Any] | None = field(default=None, init=False, repr=False)

    @property
    def body(self) -> dict[str, Any]:
        """The answer as a JSON object, decoded on first use."""
        if self._body is None:
            import msgspec

            # Answers are kept by the thousand, and most are looked into once or never.
            object.__setattr__(self, "_body", msgspec.json.decode(self.raw))
        decoded: dict[str, Any] | None = self._body
        return decoded if decoded is not None else {}

    @property
    def usage(self) -> dict[str, Any] | None:
        """The ``usage`` object of the answer, None where the service sent none."""
        usage = self.body.get("usage")
        return usage if isinstance(usage, dict) else None


class Ticket:
    """The handle to a submitted step: its state, its answer, and the way to cancel it.

    Await it on any event loop (asyncio or trio), or call ``result()`` in any thread. When everyone who waited
    for it has been cancelled, the step is cancelled too: nobody should pay for an answer that nobody awaits.

    Attributes:
        step: what was asked.
        response_id: the service's id, once it accepted the step.
        posts: how many times the step was sent.
        polls: how many times its state was asked for.
        possible_duplicates: how many of the posts may have been accepted without our knowing.
        replayed: whether the answer is one that was delivered before, or that another living process submitted and
            waits for too (see ``Step.run``): it is not paid here.
        submitted_at: ``time.monotonic()`` of the submission by the caller.
        accepted_at: the same, of the service's acceptance, or of the taking over of a job that was accepted before.
        ended_at: the same, of the end.
    """

    __slots__ = (
        "_answer", "_done", "_error", "_on_cancel", "_owner_thread", "_pid", "_waiters", "_waiting",
        "accepted_at", "body", "ended_at", "interrupted", "polls", "possible_duplicates", "posts", "replayed",
        "response_id", "row", "state", "step", "submitted_at",
    )  # fmt: skip

    def __init__(
        self,
        step: Step,
        *,
        body: bytes = b"",
        submitted_at: float = 0.0,
        owner_thread: int | None = None,
        on_cancel: Callable[[Ticket], object] | None = None,
    ) -> None:
        self.step = step
        self.body = body
        """Encoded, until the end: what is sent again is what was asked, whatever became of the caller's object."""
        self.state: TicketStatus = "waiting"
        self.response_id: str | None = None
        self.posts = self.polls = self.possible_duplicates = 0
        self.replayed = False
        self.row: int | None = None
        """Of the journal, while this engine works on the step; for the routes."""
        self.interrupted = False
        """Whether Ctrl-C ended the wait: the journal then keeps the job for whoever asks again."""
        self.submitted_at = submitted_at
        self.accepted_at: float | None = None
        self.ended_at: float | None = None
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._done = False
        self._waiters: list[Callable[[], object]] = []
        self._waiting = 0
        self._on_cancel = on_cancel
        self._owner_thread = owner_thread
        self._pid = os.getpid()

    def __repr__(self) -> str:
        what = f"{self.step.label!r} " if self.step.label else ""
        return f"<Ticket {what}{self.step.model} {self.step.service_tier} {self.response_id or 'no id'} {self.state}>"

    def __str__(self) -> str:
        step = self.step
        what = f"step {step.label!r}" if step.label else "step"
        return f"{what} ({step.model}, {step.service_tier}{f', {self.response_id}' if self.response_id else ''})"

    @property
    def status(self) -> TicketStatus:
        """``waiting`` (not sent), ``submitting``, ``queued``, ``in_progress``, or an end: see ``done``."""
        return self.state

    def done(self) -> bool:
        """Whether the step has ended: ``completed``, ``failed`` or ``cancelled``."""
        return self._done

    def result(self, timeout: float | None = None) -> Answer:
        """Wait in this thread for the answer.

        A ``timeout`` leaves the step running; a ``KeyboardInterrupt`` cancels it.

        Args:
            timeout: seconds to wait; default: as long as it takes.

        Raises:
            TimeoutError: not there yet.
            StepError: what went wrong.
            EngineLoopError: this is the engine's own thread, which would wait for itself.
            EngineForked: the ticket was made before a fork.
        """
        self._arrive()
        try:
            ended = self.join(timeout)
        except BaseException as error:
            self._leave(error)
            raise
        self._leave()
        if not ended:
            raise TimeoutError(f"{self} has not ended after {timeout} s; it goes on.")
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._wait_outcome().__await__()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait on this event loop until the step ends or ``seconds`` pass; return whether it ended.

        Never raises the step's error; being cancelled here leaves the step running.
        """
        if self._done:
            return True
        import anyio

        with anyio.move_on_after(seconds):
            await self._ended()
        return self._done

    def cancel(self, reason: BaseException | None = None) -> bool:
        """Give the step up: callers get ``StepCancelled`` now, the service is told in the background.

        Args:
            reason: what made the caller give up, where it was an exception: after Ctrl-C, a job that the service has
                accepted is kept in the journal, if there is one, for whoever asks the same step again.

        Returns:
            False when the step had already ended.
        """
        if reason is not None and is_interrupt(reason):
            self.interrupted = True
        return self.settle(
            error=StepCancelled(f"{self} was cancelled.", ticket=self),
            state="cancelled",
            by_caller=True,
        )

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` when the step ends: on the engine's thread, or here and now if it has ended.

        It may be called twice when the end comes during this call, so it must be idempotent and quick.
        """
        self._waiters.append(callback)
        if self._done:
            callback()

    def progress(self, state: TicketStatus) -> None:
        """Note how far the step is, unless it has ended; for the routes."""
        if self.state == state:
            return
        with _lock:
            if not self._done:
                self.state = state

    def settle(
        self,
        *,
        answer: Answer | None = None,
        error: BaseException | None = None,
        state: TicketStatus,
        by_caller: bool = False,
    ) -> bool:
        """End the ticket, once; for the routes, not for callers. Returns False if it had ended already."""
        with _lock:
            if self._done:
                return False
            self._answer, self._error, self.state = answer, error, state
            self._done = True
            self.body = b""
        while self._waiters:
            try:
                self._waiters.pop()()
            except IndexError:
                break  # the last one has just gone by itself
            except Exception:
                logging.getLogger("dw_agents").exception("a done callback of %s failed", self)
        # In a forked child the engine behind the ticket is the parent's, and so is the step.
        if by_caller and self._on_cancel is not None and self._pid == os.getpid():
            self._on_cancel(self)
        return True

    def _outcome(self) -> Answer:
        if self._error is not None:
            raise self._error
        if self._answer is None:
            raise RuntimeError(f"{self} ended with neither an answer nor an error; please report it")
        return self._answer

    def join(self, seconds: float | None = None) -> bool:
        """Wait in this thread until the step ends or ``seconds`` pass; return whether it ended."""
        if self._done:
            return True
        self._check_process()
        if threading.get_ident() == self._owner_thread:
            raise EngineLoopError(
                "result() was called on the engine's own thread, where it would wait for itself; "
                "do the waiting in the thread or loop that submitted the step."
            )
        ended = threading.Event()
        self.add_done_callback(ended.set)
        try:
            return ended.wait(seconds)
        finally:
            self._forget(ended.set)

    async def _wait_outcome(self) -> Answer:
        if not self._done:
            self._arrive()
            try:
                await self._ended()
            except BaseException as error:
                self._leave(error)
                raise
            self._leave()
        return self._outcome()

    async def _ended(self) -> None:
        self._check_process()
        from dw_agents.alarm import alarm

        wait, wake = alarm()
        self.add_done_callback(wake)
        try:
            await wait
        finally:
            self._forget(wake)

    def _forget(self, callback: Callable[[], object]) -> None:
        # Who looks again and again must not leave a callback behind each time.
        with contextlib.suppress(ValueError):
            self._waiters.remove(callback)

    def _arrive(self) -> None:
        with _lock:
            self._waiting += 1

    def _leave(self, error: BaseException | None = None) -> None:
        with _lock:
            self._waiting -= 1
            last = self._waiting == 0
        if error is not None and last:
            self.cancel(error)

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise EngineForked(f"{self} was made before a fork; only the parent process can collect it.")
