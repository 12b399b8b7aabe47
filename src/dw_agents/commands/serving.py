"""`dw-agents serve`: what it takes.

Owns: its arguments and what they mean as settings. The proxy is in ``proxy``, which is imported when it is needed:
`--help` is quick.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, Final

from dw_agents.commands.arguments import read_age
from dw_agents.step import SERVICE_TIERS

if TYPE_CHECKING:
    from dw_agents.proxy import Settings

__all__ = ["add_serve", "run"]

_OFF: Final = "off"

_DESCRIPTION: Final = """\
Serve OpenAI's API on this machine; calls travel on a service tier. Programs in any language use it by changing their
base URL. /v1/responses, /v1/chat/completions and /v1/embeddings take the tier's route; everything else below /v1 is
passed on to the service. A call chooses for itself with `service_tier` in its body or the header
X-DW-Agents-Service-Tier. The service's key is found as for an engine and is shown to no client.

With DW_AGENTS_PROXY_TOKEN in the environment, clients must send that token as their API key. Without it, only
addresses of this machine can be listened on.
"""


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `serve` to the commands of a parser."""
    serve = commands.add_parser(
        "serve",
        help="an OpenAI-compatible server on this machine whose calls travel on a tier",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    serve.set_defaults(command=run)
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--port", type=int, default=8787, help="port to listen on; 0 takes a free one (default: 8787)")
    add(
        "--service-tier",
        choices=SERVICE_TIERS,
        default="flex",
        help="of calls that name none (default: flex)",
    )
    add("--completion-window", metavar="WINDOW", help="for --service-tier batch: 24h (default) or 1h")
    add(
        "--on-unknown",
        choices=("resend", "raise"),
        default="resend",
        help="after a submission without a reply, which may have been accepted: send it once more, or fail the call",
    )
    add("--run", metavar="NAME", help="the run that calls belong to; asked again under it, they are not paid again")
    add(
        "--journal",
        metavar="PATH",
        help="the journal's file, or off (default: DW_AGENTS_JOURNAL, then the usual place)",
    )
    add("--base-url", metavar="URL", help="the service's address (default: as for an engine)")
    add(
        "--flex-bursts",
        choices=("responses", "batch"),
        default="responses",
        help="how many flex calls at once travel: each for itself, or together in a batch with a window of 1h",
    )
    add(
        "--client-keys",
        action="store_true",
        help="send each client's own key to the service; a token then comes in X-DW-Agents-Token",
    )
    add(
        "--keep-alive",
        type=read_age,
        default=15.0,
        metavar="TIME",
        help="how often a waiting stream sends a comment (default: 15s)",
    )
    add(
        "--early-head",
        type=read_age,
        metavar="TIME",
        help="when an answer that is not streamed begins with status 200 and blanks, for clients that do not bear "
        "silence; errors after that are in its body (default: never)",
    )
    add(
        "--drain",
        type=read_age,
        default=5.0,
        metavar="TIME",
        help="how long calls in flight may go on when it is stopped (default: 5s)",
    )
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web page that may call, such as https://app.example, or '*'; may be repeated (default: none)",
    )
    add("--verbose", action="store_true", help="a line for each call on stderr")


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop.

    Returns:
        Exit status: 0 after a stop in good order, 1 when the address cannot be had.

    Raises:
        DwAgentsError: a setting, a key or a journal that cannot be used.
    """
    from dw_agents.proxy.running import serve

    return serve(_settings(options), verbose=options.verbose)


def _settings(options: argparse.Namespace) -> Settings:
    from dw_agents.config import Secret
    from dw_agents.proxy import Settings
    from dw_agents.proxy.settings import TOKEN_VARIABLE
    from dw_agents.translate.travel import Travel

    token = os.environ.get(TOKEN_VARIABLE)
    engine: dict[str, Any] = {"flex_bursts": options.flex_bursts}
    if options.journal is not None:
        engine["journal"] = False if options.journal == _OFF else options.journal
    return Settings(
        host=options.host,
        port=options.port,
        token=None if token is None else Secret(token.strip()),
        base_url=options.base_url,
        client_keys=options.client_keys,
        travel=Travel(
            service_tier=options.service_tier,
            completion_window=options.completion_window,
            on_unknown=options.on_unknown,
            run=options.run or "",
        ),
        engine=engine,
        keep_alive=options.keep_alive,
        early_head=options.early_head,
        drain=options.drain,
        allow_origins=tuple(options.allow_origin),
    )
