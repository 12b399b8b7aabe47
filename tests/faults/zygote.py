"""A process that gives birth to others: it has imported everything, so that each is there within milliseconds.

Reads commands from standard input and writes what happens to standard output, one JSON object a line:

    {"start": "module:function", "arguments": {...}, "stderr": path}  ->  {"born": 123}
    and at the child's end, whenever that is                          ->  {"ended": 123, "status": 0, or -9 for SIGKILL}

It has a single thread, so forking is safe, and each child is a real process with a death of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import traceback
from typing import Any


def main() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    deaths, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    rest = b""
    while True:
        readable, _, _ = select.select([0, deaths], [], [])
        if deaths in readable:
            os.read(deaths, 4096)
            bury()
        if 0 in readable:
            chunk = os.read(0, 1 << 20)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                say({"born": start(json.loads(line))})


def bury() -> None:
    """Tell of every child that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        say({"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def say(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def start(command: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        errors = os.open(command["stderr"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.dup2(errors, 2)
        os.dup2(errors, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        module, name = command["start"].split(":")
        getattr(importlib.import_module(module), name)(**command["arguments"])
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it was is told by the traceback and the exit status
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
