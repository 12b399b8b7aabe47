"""How a process says goodbye to the service, however it ends in good order.

Owns: the set of running network threads and the hooks that stop them at exit. Must not know what a runtime does beyond
``stop``.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import multiprocessing.util
import os
import sys
import threading
from typing import Protocol

__all__ = ["running", "watch_exit"]

_TIMEOUT = 10.0
"""Seconds that an exit may wait for the service."""


class _Stoppable(Protocol):
    def stop(self, timeout: float) -> None: ...


running: set[_Stoppable] = set()
"""Every network thread of this process, and of those that it was forked from: the sockets of the latter are still in
use there, and to collect such a runtime here would close them in the middle of a request."""

_watched = 0


def watch_exit() -> None:
    """See to it that this process stops what is in ``running`` when it ends."""
    global _watched  # noqa: PLW0603 - once a process
    if _watched == os.getpid():
        return
    _watched = os.getpid()
    if multiprocessing.parent_process() is None:
        atexit.register(_stop_all)
    else:
        # A child of multiprocessing leaves without running atexit, but runs these.
        multiprocessing.util.Finalize(None, _stop_all, exitpriority=100)
    register_early = getattr(threading, "_register_atexit", None)
    if register_early is not None:
        with contextlib.suppress(RuntimeError):  # the main thread has ended already
            register_early(_stop_all_after_an_error)


def _stop_all() -> None:
    for runtime in list(running):
        runtime.stop(_TIMEOUT)


def _stop_all_after_an_error() -> None:
    """Release worker threads that wait for answers, when the main thread died of Ctrl-C or an error.

    Python joins its worker threads before it runs atexit, and they would wait for hours. Where the main thread
    ended in good order they are the program, and go on.
    """
    if getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1"):
        _stop_all()
