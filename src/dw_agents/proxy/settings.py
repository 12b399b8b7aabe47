"""What can be set of the proxy, and what is refused before it listens.

Owns: ``Settings`` and the rule that only a proxy that asks for a token may be reached from other machines. Must not do
I/O.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from dw_agents.errors import ConfigurationError
from dw_agents.step import MAX_BODY_BYTES
from dw_agents.translate.travel import Travel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.config import Secret

__all__ = ["TOKEN_VARIABLE", "Settings", "is_loopback"]

TOKEN_VARIABLE: Final = "DW_AGENTS_PROXY_TOKEN"  # noqa: S105 - the variable's name, no token
_SHORTEST_TOKEN: Final = 16
_LARGEST_UPLOAD: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the proxy listens, whom it serves and how their calls travel.

    Attributes:
        host: address to listen on. Default: this machine only.
        port: port to listen on; 0 takes a free one.
        token: what clients must send as their API key (``Authorization: Bearer``, or ``X-DW-Agents-Token``); at least
            16 characters. Default: none is asked for, which is allowed on a loopback address only.
        api_key: of the service, as for ``Engine``; never shown to clients.
        base_url: of the service, as for ``Engine``.
        client_keys: send each client's own key to the service in place of ``api_key``; the token, if there is one,
            then comes in ``X-DW-Agents-Token``.
        travel: how calls travel that do not say so themselves.
        engine: other settings of the ``Engine`` (``journal``, ``retries``, ``flex_bursts``, ...).
        keep_alive: seconds between the comments that tell a streaming client that its answer is still awaited.
        early_head: seconds after which the head of an answer that is not streamed is sent, so that clients that give up
            on silence go on waiting; blanks follow every ``keep_alive`` seconds. What goes wrong after that has the
            status 200 and an ``error`` in its body. Default: never.
        drain: seconds that calls in flight get to end when the proxy is stopped.
        allow_origins: web pages that may call, such as ``"https://app.example"``; ``"*"`` for all. Default: none.
        body_limit: bytes of the body of a call.
        upload_limit: bytes of the body of a request that is passed on, an upload for example.

    Raises:
        ConfigurationError: a value that cannot hold; names the setting.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    token: Secret | None = None
    api_key: object = field(default=None, repr=False)
    base_url: str | None = None
    client_keys: bool = False
    travel: Travel = field(default_factory=Travel)
    engine: Mapping[str, Any] = field(default_factory=dict)
    keep_alive: float = 15.0
    early_head: float | None = None
    drain: float = 5.0
    allow_origins: tuple[str, ...] = ()
    body_limit: int = MAX_BODY_BYTES
    upload_limit: int = _LARGEST_UPLOAD

    def __post_init__(self) -> None:
        self._check_token()
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError(f"port={self.port!r} must be between 0 and 65535.", field="port")
        for name, least in (("keep_alive", 0.01), ("early_head", 0.01), ("drain", 0.0)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ConfigurationError(f"{name}={value!r} must be a number of seconds.", field=name)
        for origin in self.allow_origins:
            parts = urlsplit(origin)
            if origin != "*" and (not parts.scheme or not parts.netloc or parts.path or parts.query):
                raise ConfigurationError(
                    f"allow_origin={origin!r} must be scheme and host, for example 'https://app.example', or '*'.",
                    field="allow_origin",
                )

    def _check_token(self) -> None:
        if self.token is None:
            if not is_loopback(self.host):
                raise ConfigurationError(
                    f"host={self.host!r} can be reached from other machines, and whoever reaches the proxy spends your "
                    f"credits. Set {TOKEN_VARIABLE} (for example to the output of `openssl rand -hex 24`) and give it "
                    "to the clients as their API key, or listen on 127.0.0.1.",
                    field="token",
                )
            return
        text = self.token.get_secret_value()
        if len(text) < _SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
            raise ConfigurationError(
                f"{TOKEN_VARIABLE} must be at least {_SHORTEST_TOKEN} letters, digits and signs without blanks; for "
                "example the output of `openssl rand -hex 24`.",
                field="token",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name that is not sure to stay here is not taken for one."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
