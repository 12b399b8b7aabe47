"""What runs on the engine's network thread.

Owns: the thread, its event loop, the hand-over of steps to it, deadlines, and the orderly stop. Everything but
``take``, ``abandon``, ``stop`` and ``retire`` is called on that thread only. Must not be imported by the routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from dw_agents.errors import DeadlineExceeded, EngineClosed, StepCancelled, StepNotRecorded
from dw_agents.journal.book import Book
from dw_agents.journal.place import find_place, open_journal
from dw_agents.leaving import running, watch_exit
from dw_agents.routes.base import Route, Shared
from dw_agents.routes.batch import BatchRoute
from dw_agents.routes.bursts import BurstRoute
from dw_agents.routes.flex import FlexRoute
from dw_agents.routes.realtime import RealtimeRoute
from dw_agents.schedule.retries import Retries, RetryBudget
from dw_agents.schedule.window import Limits
from dw_agents.wire.http import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.config import Account, Settings
    from dw_agents.journal.rows import Found
    from dw_agents.journal.writer import Writer
    from dw_agents.receipt import Tally
    from dw_agents.ticket import Ticket

__all__ = ["Runtime"]

_LONGEST_TIMER = 1e8


class Runtime:
    """The network thread of one engine in one process; it runs from the start.

    Args:
        account: the key and the address.
        settings: what the user chose.
        tally: counts for the receipt.

    Raises:
        JournalError: the journal that the user named cannot be used.
        OSError: the certificate files that the environment names cannot be read, and the like.
    """

    def __init__(self, account: Account, settings: Settings, tally: Tally) -> None:
        self.pid = os.getpid()
        self.open: set[Ticket] = set()
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.on_cancel = self.abandon
        """One object for all tickets, instead of one made for each."""
        self._scheduled = False
        self._stopping = False
        self._ended = False
        self._wait_for_stop: list[Callable[[], None]] = []
        self._deadlines: dict[Ticket, asyncio.TimerHandle] = {}
        self._writer = _journal(settings)
        self._loop = _new_loop()
        self._started = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(account, settings, tally), name="dw-agents", daemon=True
        )
        self._thread.start()
        self._await_start()
        running.add(self)
        watch_exit()

    @property
    def thread_id(self) -> int | None:
        """Of the network thread, so that a blocking wait on it can be refused."""
        return self._thread.ident

    def _await_start(self) -> None:
        self._started.wait()
        if self._trouble is not None:
            if self._writer is not None:
                self._writer.close()  # others of this process may share it, and it ends with the last of them
            raise self._trouble

    def take(self, ticket: Ticket) -> None:
        """Hand a step to the network thread; from any thread, without waiting."""
        self._hand_over(self._start, ticket)

    def abandon(self, ticket: Ticket) -> None:
        """Tell the network thread that a ticket was cancelled by its caller; from any thread."""
        with contextlib.suppress(EngineClosed):  # then it has ended everything that was open
            self._hand_over(self._abandon, ticket)

    def stop(self, timeout: float) -> None:
        """Cancel what is open, wait for the service at most ``timeout`` seconds, and end the thread."""
        if self.pid != os.getpid() or self not in running:
            return
        finished = threading.Event()
        try:
            self._hand_over(self._begin_stop, timeout, finished.set)
            finished.wait(timeout + 2.0)
        except EngineClosed:
            pass  # it had nothing to do, and has ended meanwhile
        if threading.get_ident() != self.thread_id:
            self._thread.join(2.0)
        running.discard(self)

    def retire(self) -> None:
        """Stop once nothing is open any more; for an engine that nobody refers to."""
        if self.pid == os.getpid() and self in running:
            self._hand_over(self._retire)

    def _hand_over(self, call: Callable[..., None], *args: Any) -> None:
        item = (call, args)
        self._inbox.append(item)
        # One wake-up serves everything that is handed over before the thread gets to it.
        if not self._scheduled and not self._ended:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the loop was closed just now: see below
                self._loop.call_soon_threadsafe(self._drain)
        # Looked at after the hand-over, as the thread empties its inbox after it has set this: one of the two sees
        # the other, so nothing is left lying.
        if self._ended:
            with contextlib.suppress(ValueError):  # the thread took it out, and acted on it
                self._inbox.remove(item)
                raise EngineClosed("The engine has stopped; make a new one.")

    def _drain(self) -> None:
        self._scheduled = False
        while self._inbox:
            call, args = self._inbox.popleft()
            call(*args)

    def _run(self, account: Account, settings: Settings, tally: Tally) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._build(account, settings, tally))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for the start
            self._trouble = error
        finally:
            self._started.set()
        if self._trouble is None:
            self._loop.run_forever()
        self._ended = True
        self._drain()
        self._loop.close()
        for finished in self._wait_for_stop:
            finished()

    async def _build(self, account: Account, settings: Settings, tally: Tally) -> None:
        """Make what belongs to this thread's loop."""
        self._shared = Shared(
            loop=self._loop,
            connection=Connection(account, headers=settings.headers, tls=settings.ssl_context),
            retries=settings.retries or Retries(),
            budget=RetryBudget(),
            on_unknown=settings.on_unknown,
            tally=tally,
            clock=time.monotonic,
            book=Book(self._writer, self._loop, account, settings.run),
            ask=self._ask,
            open=self.open,
        )
        flex = FlexRoute(self._shared, max_polls_per_second=settings.max_polls_per_second)
        limits = settings.batch_limits or Limits()
        self._routes: dict[str, Route] = {
            "priority": RealtimeRoute(self._shared),
            # Also where bursts do not travel by batch now: those that an earlier process sent may be asked again.
            "flex": BurstRoute(self._shared, flex, limits, collect=settings.flex_bursts == "batch"),
            "background": flex,
            "batch": BatchRoute(self._shared, limits),
        }

    def _start(self, ticket: Ticket) -> None:
        self.open.add(ticket)
        if ticket.done():
            self._shared.forget(ticket)
            return
        if self._stopping:
            ticket.settle(
                error=StepCancelled(f"{ticket}: the engine was closed; the step was not sent.", ticket=ticket),
                state="cancelled",
            )
            self._shared.forget(ticket)
            return
        step = ticket.step
        if step.timeout is not None:
            handle = self._loop.call_later(min(step.timeout, _LONGEST_TIMER), self._expire, ticket)
            self._deadlines[ticket] = handle
            ticket.add_done_callback(lambda: self._hand_over(self._cancel_deadline, ticket))
        self._ask(ticket)

    def _ask(self, ticket: Ticket) -> None:
        with self._shared.guarded(ticket):
            self._shared.book.ask(ticket, self._asked)

    def _asked(self, ticket: Ticket, found: Found | StepNotRecorded | None) -> None:
        with self._shared.guarded(ticket):
            if isinstance(found, StepNotRecorded):
                self._shared.fail(ticket, found)
                return
            is_new = found is None or found.state == "waiting"
            if not ticket.done():
                self._routes[ticket.step.service_tier].start(ticket, None if is_new else found)
            elif is_new:
                self._shared.book.cancelled(ticket)  # its caller left in the meantime
            else:
                self._shared.book.released(ticket)

    def _abandon(self, ticket: Ticket) -> None:
        with self._shared.guarded(ticket):
            self._routes[ticket.step.service_tier].abandon(ticket)

    def _expire(self, ticket: Ticket) -> None:
        step = ticket.step
        where = "cancelled at the service" if ticket.accepted_at else "not accepted by the service yet"
        error = DeadlineExceeded(
            f"{ticket} had no answer within timeout={step.timeout:g} s; {where}. "
            "Deferred tiers take minutes to hours: give more time, or use service_tier='priority'.",
            ticket=ticket,
        )
        if ticket.settle(error=error, state="cancelled"):
            self._abandon(ticket)

    def _cancel_deadline(self, ticket: Ticket) -> None:
        handle = self._deadlines.pop(ticket, None)
        if handle is not None:
            handle.cancel()

    def _retire(self) -> None:
        if self.open or not all(route.idle() for route in self._routes.values()):
            self._loop.call_later(0.5, self._retire)
        else:
            self._begin_stop(0.0, lambda: running.discard(self))

    def _begin_stop(self, timeout: float, finished: Callable[[], None]) -> None:
        self._wait_for_stop.append(finished)
        if not self._stopping:  # by an engine that was dropped, just as the program ends
            self._stopping = True
            self._shared.spawn(self._stop(timeout))

    async def _stop(self, timeout: float) -> None:  # noqa: ASYNC109 - what is left is named, not raised
        left = list(self.open)
        for ticket in left:
            error = StepCancelled(f"{ticket}: the engine was closed before the answer came.", ticket=ticket)
            ticket.interrupted = self._shared.book.kept
            if ticket.settle(error=error, state="cancelled"):
                self._abandon(ticket)
        routes = set(self._routes.values())
        me = asyncio.current_task()
        until = self._loop.time() + timeout
        while self._loop.time() < until and not all(route.idle() for route in routes):
            work = [task for task in self._shared.tasks if task is not me]
            if not work:
                break
            await asyncio.wait(work, timeout=until - self._loop.time(), return_when=asyncio.FIRST_COMPLETED)
        self._report(left, in_time=all(route.idle() for route in routes))
        others = [task for task in asyncio.all_tasks() if task is not me]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._shared.connection.close()
        self._shared.book.close()
        await asyncio.sleep(0)
        self._loop.stop()

    def _report(self, left: list[Ticket], *, in_time: bool) -> None:
        """Say on stderr what was in flight: logging may be shut down already, and money is involved."""
        if not left:
            return
        if self._shared.book.kept:
            self._report_kept(left)
            return
        running = self._shared.not_cancelled
        if not in_time:
            running = [t.response_id for t in left if t.response_id is not None]
        text = f"dw-agents: {len(left)} step{'s were' if len(left) > 1 else ' was'} in flight and cancelled"
        if running:
            shown = ", ".join(running[:10]) + (", ..." if len(running) > 10 else "")
            text += f"; {len(running)} may still run and be billed: {shown}"
        print(text + ".", file=sys.stderr)  # noqa: T201 - see above

    def _report_kept(self, left: list[Ticket]) -> None:
        accepted = sum(ticket.accepted_at is not None for ticket in left)
        text = f"dw-agents: {len(left)} step{'s were' if len(left) > 1 else ' was'} in flight"
        if accepted:
            text += (
                f"; {accepted} of them run on at the service and will be billed. The journal has them: run the same "
                "program again to collect the answers, `dw-agents jobs list` to see them, or `dw-agents jobs cancel "
                "--all` to stop them"
            )
        print(text + ".", file=sys.stderr)  # noqa: T201 - see above


def _journal(settings: Settings) -> Writer | None:
    path, chosen = find_place(settings.journal)
    return open_journal(path, chosen=chosen)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
