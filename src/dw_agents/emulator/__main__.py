"""``python -m dw_agents.emulator``: serve until Ctrl-C or SIGTERM.

Owns: the command line. Must not know what any route does.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

from dw_agents.emulator.backends import UpstreamError, make_backend
from dw_agents.emulator.clock import parse_duration
from dw_agents.emulator.fault import Fault
from dw_agents.emulator.faults import Faults
from dw_agents.emulator.server import Emulator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator.backends.base import Backend

__all__ = ["main"]


def _duration(text: str) -> str:
    parse_duration(text)
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dw_agents.emulator",
        description="A local server that behaves like the Doubleword inference API. Times are service seconds.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--port", type=int, default=8321, help="port to listen on; 0 takes a free one (default: 8321)")
    add(
        "--backend",
        choices=("rules", "local", "upstream"),
        default="rules",
        help="what answers (default: rules)",
    )
    add("--upstream", metavar="URL", help="base URL of the OpenAI-compatible server behind --backend upstream")
    add("--upstream-key", metavar="KEY", help="API key for that server")
    add(
        "--api-key",
        action="append",
        metavar="KEY",
        help="a key to accept; may be repeated (default: dw-test-key)",
    )
    add(
        "--model",
        action="append",
        metavar="NAME",
        help="a model that exists; may be repeated (default: any name)",
    )
    add("--speed", type=float, default=1.0, help="service seconds per real second (default: 1)")
    add(
        "--latency",
        type=_duration,
        default="0",
        help="queued job to answer: 2, 1,3 or lognormal:median=90,sigma=0.3",
    )
    add(
        "--pickup",
        type=_duration,
        default="0",
        help="submission until a job may be claimed, in the same forms",
    )
    add("--realtime-latency", type=_duration, default="0", help="time of a realtime call, in the same forms")
    add("--batch-latency", type=_duration, default="0", help="start of a batch to its end, in the same forms")
    add("--line-latency", type=_duration, help="start of a batch to one line's answer (default: all at its end)")
    add("--visible-after", type=float, default=0.0, help="how long a new response answers 404 (default: 0)")
    add("--claim-interval", type=float, help="gap between two looks at the queue (default: claim at once)")
    add("--model-concurrency", type=int, help="most jobs of one model in progress (default: no limit)")
    add(
        "--profile",
        choices=("doubleword", "openai"),
        default="doubleword",
        help="whose files and batches (default: doubleword)",
    )
    add(
        "--cancel-route",
        choices=("delete", "post"),
        help="cancel as Doubleword or as OpenAI (default: by profile)",
    )
    add(
        "--fault",
        action="append",
        default=[],
        metavar="SPEC",
        help='such as "status:status=429,retry_after=1,rate=0.1"',
    )
    add("--seed", type=int, default=0, help="where durations and faults draw their chances from (default: 0)")
    return parser


def _backend(options: argparse.Namespace) -> Backend:
    if options.backend != "upstream":
        return make_backend(options.backend)
    if not options.upstream:
        raise ValueError("--backend upstream needs --upstream URL, the server that answers")
    key = {"api_key": options.upstream_key} if options.upstream_key else {}
    return make_backend("upstream", base_url=options.upstream, **key)


def _emulator(options: argparse.Namespace) -> Emulator:
    return Emulator(
        _backend(options),
        host=options.host,
        port=options.port,
        api_keys=tuple(options.api_key or ("dw-test-key",)),
        models=options.model,
        speed=options.speed,
        latency=options.latency,
        pickup=options.pickup,
        realtime_latency=options.realtime_latency,
        visible_after=options.visible_after,
        claim_interval=options.claim_interval,
        model_concurrency=options.model_concurrency,
        profile=options.profile,
        cancel_route=options.cancel_route,
        batch_latency=options.batch_latency,
        line_latency=options.line_latency,
        faults=Faults(*(Fault.parse(text) for text in options.fault)),
        seed=options.seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop.

    Args:
        arguments: the command line, without the program's name; by default the process's own.

    Returns:
        Exit status: 0 after a clean stop, 1 when the server could not start, 2 for a wrong argument.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        emulator = _emulator(options)
    except ValueError as error:
        parser.error(str(error))
    try:
        emulator.start()
    except (OSError, ImportError, UpstreamError) as error:
        sys.stderr.write(f"The emulator could not start: {error}\n")
        return 1
    with contextlib.ExitStack() as at_end:
        at_end.callback(emulator.stop)
        sys.stdout.write(
            f"Emulator of the Doubleword inference API\n"
            f"  base URL: {emulator.base_url}\n"
            f"  API key:  {emulator.api_key}\n"
            f"  answers:  {emulator.description}\n"
            f"Stop it with Ctrl-C.\n"
        )
        sys.stdout.flush()
        stopped.wait()
        counts = emulator.counters.snapshot()
    sys.stdout.write(
        f"Stopped after {counts.requests} requests; model calls: {counts.flex} flex, "
        f"{counts.batch} batch, {counts.background} background, {counts.realtime} realtime.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
