"""Who may call.

Owns: the token, and the refusal of what web pages send without their user's knowledge: a page can reach a server on its
reader's own machine, by its address or by a name that it lets point there. Pure: it looks at headers.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from dw_agents.proxy.errors import Refused
from dw_agents.proxy.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.proxy.settings import Settings

__all__ = ["Guard", "bearer"]

TOKEN_HEADER: Final = "X-DW-Agents-Token"  # noqa: S105 - a header's name, no token
_KEY_HEADERS: Final = ("X-Api-Key", "Api-Key")


def bearer(headers: Mapping[str, str]) -> str:
    """Return the key that a client sent, in the header of OpenAI, of Anthropic or of Azure; empty where there is none.

    Args:
        headers: with case-insensitive look-up.
    """
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return next((found for name in _KEY_HEADERS if (found := headers.get(name, "").strip())), "")


class Guard:
    """Decides whether a request is served.

    Args:
        settings: of the proxy.
    """

    def __init__(self, settings: Settings) -> None:
        self._token = None if settings.token is None else _digest(settings.token.get_secret_value())
        self._client_keys = settings.client_keys
        self._origins = frozenset(settings.allow_origins)
        self._only_local_names = settings.token is None and is_loopback(settings.host)

    def check(self, headers: Mapping[str, str]) -> None:
        """Let a request pass.

        Args:
            headers: with case-insensitive look-up.

        Raises:
            Refused: it may not.
        """
        self.check_page(headers)
        if self._token is None:
            return
        given = headers.get(TOKEN_HEADER, "").strip() or ("" if self._client_keys else bearer(headers))
        # Digests are compared, so that not even the token's length can be told from the time that it takes.
        if not hmac.compare_digest(_digest(given), self._token):
            where = f"the header {TOKEN_HEADER}" if self._client_keys else "the API key"
            raise Refused(
                401,
                f"This proxy asks for a token in {where}, and {'another' if given else 'none'} came.",
                kind="authentication_error",
                code="proxy_token",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def check_page(self, headers: Mapping[str, str]) -> None:
        """Let a request pass as far as web pages are concerned.

        Raises:
            Refused: it comes from a page that was not allowed, or by a name that is not this machine's.
        """
        origin = headers.get("Origin")
        if origin is not None and not self.allows(origin):
            raise Refused(
                403,
                f"Calls from web pages are off, and this one comes from {origin[:200]!r}. To allow that page: "
                "dw-agents serve --allow-origin ORIGIN.",
                kind="permission_error",
                code="origin_refused",
            )
        host = headers.get("Host")
        # Programs of old send none, browsers always do.
        if self._only_local_names and host is not None and not is_loopback(_name(host)):
            raise Refused(
                403,
                f"This proxy is for this machine, and the request names the host {host[:200]!r}. Use 127.0.0.1 or "
                "localhost, or start the proxy with a token.",
                kind="permission_error",
                code="host_refused",
            )

    def allows(self, origin: str) -> bool:
        """Whether a web page may call."""
        return "*" in self._origins or origin in self._origins

    def page_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that let an allowed page read the reply to its request."""
        origin = headers.get("Origin")
        if origin is None or not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "X-Request-Id, X-DW-Agents-Ticket",
            "Vary": "Origin",
        }


def _name(host: str) -> str:
    """Return the name or address in a Host header; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
