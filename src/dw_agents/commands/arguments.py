"""What the commands take.

Owns: the arguments of `dw-agents jobs ...` and how they are read. Must not import anything heavy.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final, get_args

from dw_agents.journal.rows import ENDED, OPEN, State

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["add_jobs", "read_age", "read_states"]

_STATES: Final[tuple[str, ...]] = get_args(State)
"""In the order of a step's life."""
_FAMILIES: Final = {"open": OPEN, "ended": ENDED, "all": frozenset(_STATES)}

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

_DESCRIPTION: Final = """\
Look at the steps that the journal remembers, and act on those that no running program works on.

A step is: waiting (not sent), sending (being sent; if its process died, nobody knows whether it was accepted),
accepted (at the service), settled (ended there, its answer waits to be collected), and in the end delivered, failed,
lost or cancelled. An ID is a step's own (as `list` shows it), or the beginning of a response's or a batch's.
"""


def read_age(text: str) -> float:
    """Read a length of time such as ``90s``, ``20m``, ``2h``, ``1.5d`` or ``3w``, in seconds.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write 90s, 20m, 2h, 30d or 3w")
    return float(found[1]) * _SECONDS[found[2]]


def read_states(text: str) -> frozenset[str]:
    """Read names of states with commas between them; ``open`` and ``ended`` stand for several.

    Raises:
        argparse.ArgumentTypeError: one is not known.
    """
    states: set[str] = set()
    for name in (part.strip() for part in text.lower().split(",")):
        if name not in _FAMILIES and name not in _STATES:
            known = ", ".join([*_STATES, *_FAMILIES])
            raise argparse.ArgumentTypeError(f"{name!r} is no state; use some of {known}")
        states.update(_FAMILIES.get(name, {name}))
    return frozenset(states)


def add_jobs(commands: argparse._SubParsersAction[argparse.ArgumentParser], run: Callable[..., int]) -> None:
    """Add `jobs` and what stands below it.

    Args:
        commands: of the parser.
        run: is called with what was parsed; ``options.action`` names the command.
    """
    jobs = commands.add_parser(
        "jobs",
        help="look at and act on what the journal remembers",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = jobs.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)

    def action(name: str, words: str, status: str = "") -> argparse.ArgumentParser:
        text = f"{words[0].upper()}{words[1:]}." + (f" Exit status 1 if {status}." if status else "")
        parser = actions.add_parser(name, help=words, description=text, allow_abbrev=False)
        parser.set_defaults(command=run)
        _add_common(parser)
        return parser

    listed = action("list", "show the steps")
    _add_filters(listed)
    listed.add_argument(
        "--limit", type=_count, metavar="N", help="show the newest N rows only (default: 200, or all with --json)"
    )
    listed.add_argument("--lines", action="store_true", help="a row for each step of a batch, not one for all")
    _add_all_accounts(listed)

    shown = action("show", "show one step, and what the service says of it")
    shown.add_argument("id", metavar="ID")
    _add_all_accounts(shown)
    _add_patience(shown, "5s")

    waited = action("wait", "wait until jobs have ended at the service", "one could not be followed")
    _add_filters(waited)
    _add_patience(waited, "1h")
    waited.add_argument("--timeout", type=read_age, metavar="TIME", help="the longest to wait (default: for ever)")

    cancelled = action("cancel", "stop jobs at the service", "one was not stopped")
    cancelled.add_argument("ids", metavar="ID", nargs="*")
    cancelled.add_argument("--all", action="store_true", help="every open step")
    _add_filters(cancelled)
    cancelled.add_argument("--force", action="store_true", help="also what a running program waits for")
    cancelled.add_argument(
        "--whole-batch", action="store_true", help="stop a batch also when some of its steps were not named"
    )
    _add_patience(cancelled, "20s")

    adopted = action("adopt", "give a step the response that you found at the service")
    adopted.add_argument("id", metavar="ID")
    adopted.add_argument("response_id", metavar="RESPONSE_ID", help="for example from the dashboard; it is looked up")
    _add_patience(adopted, "20s")

    reconciled = action("reconcile", "clear up what nobody knows the outcome of", "something stays unknown")
    _add_patience(reconciled, "20s")

    pruned = action("prune", "forget ended steps")
    pruned.add_argument("--older", type=read_age, metavar="TIME", required=True, help="what last changed before")
    pruned.add_argument(
        "--lost",
        action="store_true",
        help="also open steps that no running program works on: asked again, they are paid again",
    )
    pruned.add_argument("--vacuum", action="store_true", help="give the space back to the file system")
    _add_all_accounts(pruned)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--journal", metavar="PATH", help="the journal's file (default: DW_AGENTS_JOURNAL, then the usual place)"
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="the service's address (default: as for an engine; so is the key)"
    )
    parser.add_argument("--json", action="store_true", help="for programs: JSON objects, one a line")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="NAME", help="steps of this named run")
    parser.add_argument(
        "--state", type=read_states, metavar="STATE", help="steps in these states, such as accepted,settled or open"
    )
    parser.add_argument("--older", type=read_age, metavar="TIME", help="steps first asked longer ago than 90s, 2h, 30d")
    parser.add_argument("--newer", type=read_age, metavar="TIME", help="steps first asked since then")


def _add_all_accounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all-accounts", action="store_true", help="steps of every account and address; needs no key")


def _add_patience(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--patience",
        type=read_age,
        default=read_age(default),
        metavar="TIME",
        help=f"how long to try again when the service does not answer (default: {default})",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)
