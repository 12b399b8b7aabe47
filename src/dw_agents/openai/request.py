"""What the SDK asks, read out of its HTTP requests.

Owns: which requests travel on a tier, the address and the key that they name, the time limit that the user set, and the
headers that are ours or cannot be carried. Does no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
import openai

from dw_agents.adapting.carry import warn_once
from dw_agents.errors import MissingAPIKey
from dw_agents.translate.call import ENDPOINTS
from dw_agents.translate.travel import HEADER_PREFIX
from dw_agents.wire import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Asked",
    "bearer_of",
    "drop_own_headers",
    "endpoint_of",
    "key_of",
    "lasting_headers",
    "read",
    "warn_of_headers",
]

_DEPLOYMENT: Final = re.compile(r"/deployments/.+$")
_OF_THE_SERVICE_VERSION: Final = "api-version"
_DEFAULT_TIMEOUT: Final = openai.DEFAULT_TIMEOUT.as_dict()
_NOT_CARRIED_IN_SILENCE: Final = frozenset({
    "accept", "accept-encoding", "api-key", "authorization", "connection", "content-length", "content-type", "cookie",
    "host", "openai-organization", "openai-project", "user-agent",
    # Tracing belongs to the HTTP request that it was made for, and the engine makes its own.
    "baggage", "sentry-trace", "traceparent", "tracestate", "x-request-id", "x-client-request-id",
})  # fmt: skip
_PREFIXES_IN_SILENCE: Final = ("x-stainless-", HEADER_PREFIX, "x-b3-")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may travel on a tier.

    Attributes:
        endpoint: below the base URL.
        base_url: what stands before it.
        body: decoded; None where it is no JSON object.
        query: of the address, without what only names the version of an API.
        timeout: seconds, where the user set a limit; the SDK's own default is none.
    """

    endpoint: str
    base_url: str
    body: dict[str, Any] | None
    query: str
    timeout: float | None


def endpoint_of(request: Any) -> str | None:
    """Return the endpoint of a request that may travel on a tier; None for any other."""
    if request.method != "POST":
        return None
    path = request.url.path
    return next((endpoint for endpoint in ENDPOINTS if path.endswith(endpoint)), None)


def read(request: Any) -> Asked:
    """Read a request of an endpoint that ``endpoint_of`` knows, and whose body is there.

    Args:
        request: an ``httpx`` (or ``httpx2``) ``Request``.
    """
    endpoint = endpoint_of(request) or ""
    try:
        body = msgspec.json.decode(request.content)
    except UNREADABLE:
        body = None
    url = request.url
    path = url.path.removesuffix(endpoint)
    base = f"{url.scheme}://{url.netloc.decode()}{_DEPLOYMENT.sub('', path)}"
    pairs = parse_qsl(url.query.decode(), keep_blank_values=True)
    query = urlencode([(name, value) for name, value in pairs if name != _OF_THE_SERVICE_VERSION])
    held = body if isinstance(body, dict) else None
    return Asked(endpoint, base, held, query, _deadline(request.extensions.get("timeout")))


def _deadline(limits: Mapping[str, float | None] | None) -> float | None:
    if not limits or dict(limits) == _DEFAULT_TIMEOUT:
        return None
    return limits.get("read")


def key_of(request: Any) -> str:
    """Return the key that a request carries.

    Raises:
        MissingAPIKey: it carries none that could be used.
    """
    found = bearer_of(request.headers) or request.headers.get("api-key", "")
    if not found:
        raise MissingAPIKey(
            "The request carries no key that can be used on the service's tiers. Give one: OpenAI(api_key=...) or "
            "deferred(client, api_key=...).",
            field="api_key",
        )
    return str(found)


def bearer_of(headers: Mapping[str, Any] | None) -> str:
    """Return the key in the ``Authorization`` of some headers; empty where there is none."""
    for name, value in (headers or {}).items():
        scheme, _, token = value.partition(" ") if isinstance(value, str) else ("", "", "")
        if name.lower() == "authorization" and scheme.lower() == "bearer":
            return token.strip()
    return ""


def lasting_headers(*given: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the headers of a client that its steps carry too.

    What every SDK and framework says of itself is left out: calls of all of them are to share one engine. The SDK's
    marks that leave a header out are no text.

    Args:
        given: by the user to the SDK's client, and to the HTTP client under it.
    """
    return {
        name: value
        for headers in given
        for name, value in (headers or {}).items()
        if isinstance(value, str) and not _passes_in_silence(name)
    }


def _passes_in_silence(name: str) -> bool:
    return name.lower() in _NOT_CARRIED_IN_SILENCE or name.lower().startswith(_PREFIXES_IN_SILENCE)


def drop_own_headers(request: Any) -> None:
    """Take out of a request what only says how it travels."""
    for name in [name for name in request.headers if name.lower().startswith(HEADER_PREFIX)]:
        del request.headers[name]


def warn_of_headers(request: Any, carried: Mapping[str, str]) -> None:
    """Tell the user, once for each, which headers of a call do not reach the service.

    Args:
        request: that travels as a step.
        carried: what the engine sends too.
    """
    known = {name.lower(): value for name, value in carried.items()}
    for name, value in request.headers.items():
        if known.get(name.lower()) != value and not _passes_in_silence(name):
            warn_once(
                f"extra_headers.{name.lower()}",
                f"The header {name!r} is not carried to the service as this call has it: calls on a tier are sent by "
                "the engine. Instead: give default_headers to the client, or headers to an engine of your own.",
            )
