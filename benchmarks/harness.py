"""Runs one client against one fresh emulator, each on a core of its own where there are two.

Owns: the processes, their cores and their time limits. Must not know what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["HERE", "PEERS", "DidNotEnd", "Server", "cores", "run_client", "serving"]

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"

_SERVER_ANSWERS_WITHIN = 60.0


class DidNotEnd(Exception):
    """A client that was stopped, or that failed; says why."""


def cores() -> tuple[int | None, int | None]:
    """The cores of the client and of the server; None where they must share."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    mine = sorted(os.sched_getaffinity(0))
    return (mine[0], mine[-1]) if len(mine) > 1 else (None, None)


class Server:
    """A running emulator.

    Attributes:
        base_url: where it listens.
        api_key: what it accepts.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        where = self._read()
        self.base_url: str = where["base_url"]
        self.api_key: str = where["api_key"]

    def stats(self) -> dict[str, Any]:
        """Ask what it did so far."""
        if self._process.stdin is None:
            raise RuntimeError("the server was started without an input")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        out = self._process.stdout
        if out is None or not select.select([out], [], [], _SERVER_ANSWERS_WITHIN)[0]:
            raise DidNotEnd("the emulator does not answer")
        line = out.readline()
        if not line:
            raise DidNotEnd(f"the emulator ended by itself ({self._process.poll()})")
        read: dict[str, Any] = json.loads(line)
        return read


@contextmanager
def serving(settings: Mapping[str, Any]) -> Iterator[Server]:
    """Run an emulator with the settings until the block ends."""
    asked = json.dumps({**settings, "core": cores()[1]})
    command = [sys.executable, "-m", "benchmarks.server", asked]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def run_client(
    script: str, asked: Mapping[str, Any], *, python: str | Path, server: Server | None, limit: float
) -> dict[str, Any]:
    """Run a client to its end and return what it reported.

    Args:
        script: the module's name below ``benchmarks``.
        asked: what it is to do; ``journal`` (bool) says whether dw-agents may keep its journal.
        python: the interpreter.
        server: where it sends its calls, if it sends any.
        limit: seconds after which it is stopped.

    Raises:
        DidNotEnd: it failed, or was still running.
    """
    given = {"core": cores()[0], **asked}
    if server is not None:
        given |= {"base_url": server.base_url, "api_key": server.api_key}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        journal = str(Path(folder) / "journal.db") if given.pop("journal", False) else "off"
        process = subprocess.Popen(
            [python, "-m", f"benchmarks.{script}", json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=stack.enter_context(Path(folder, "stderr").open("w+")),
            text=True,
            cwd=HERE.parent,
            env={**os.environ, "DW_AGENTS_JOURNAL": journal},
        )
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise DidNotEnd(f"stopped after {limit:.0f} s") from None
        finally:
            process.kill()
            process.communicate()
        if process.returncode:
            last = Path(folder, "stderr").read_text().strip().splitlines()[-1:]
            raise DidNotEnd(f"failed: {' '.join(last)[:200]}")
    reported: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return reported
