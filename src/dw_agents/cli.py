"""The command `dw-agents`.

Owns: the entry point, and what every command has in common: how wrong input, Ctrl-C and a closed pipe end it. What the
commands take and do is in ``commands``. Must not import anything heavy: `--help` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import dw_agents
from dw_agents.commands.arguments import add_jobs
from dw_agents.commands.serving import add_serve
from dw_agents.errors import ConfigurationError, DwAgentsError, JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_WRONG_INPUT = 2
_INTERRUPTED = 130
_NOBODY_READS = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line, without the program's name; default: the process's own.

    Returns:
        Exit status: 0 when all went well, 1 when something needs a look, 2 for wrong input, 130 after Ctrl-C.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as done:
        return int(done.code or 0)
    try:
        return _run(options)
    except KeyboardInterrupt:
        sys.stderr.write("dw-agents: stopped.\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more about it when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS


def _run(options: argparse.Namespace) -> int:
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (DwAgentsError, OSError) as error:  # OSError: certificate files that cannot be read, and the like
        sys.stderr.write(f"dw-agents: {error}\n")
        return _WRONG_INPUT if isinstance(error, ConfigurationError | JournalError) else 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dw-agents", description="Run LLM agents on cheaper asynchronous inference.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"dw-agents {dw_agents.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_jobs(commands, _jobs)
    add_serve(commands)
    return parser


def _jobs(options: argparse.Namespace) -> int:
    from dw_agents.commands.jobs import run

    return run(options)
