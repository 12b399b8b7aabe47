"""The connection to the service: one aiohttp session, and what can be said about a request that failed.

Owns: TLS, proxies, headers, time-outs and redirects; whether a failed request can have reached the server. Must
not know what the requests mean, retry anything, or import the routes.
"""

from __future__ import annotations

import os
import platform
import ssl
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict

import dw_agents

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping
    from types import TracebackType

    from dw_agents.config import Account

__all__ = ["Connection", "Incoming", "NotSent", "Reply", "ReplyLost", "WireError"]

CONNECT_TIMEOUT: Final = 15.0
"""Seconds to connect, TLS included."""
KEEP_ALIVE: Final = 10.0
"""Seconds that an idle connection is kept: less than servers keep theirs, lest a request meets a closing one."""


class WireError(Exception):
    """A request that got no usable reply; ``str()`` says what happened without naming secrets."""


class NotSent(WireError):
    """No connection was made: the server cannot have seen the request."""


class ReplyLost(WireError):
    """The request left, but its reply did not arrive whole: the server may have acted on it.

    Attributes:
        status: of the reply, if its head arrived.
        partial: what arrived of its body.
    """

    def __init__(self, message: str, *, status: int | None = None, partial: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.partial = partial


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that arrived whole.

    Attributes:
        status: the HTTP status.
        headers: with case-insensitive look-up.
        body: the undecoded body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, for messages."""
        return self.body.decode("utf-8", "replace").strip()


@dataclass(frozen=True, slots=True)
class Incoming:
    """A reply whose head has arrived.

    Attributes:
        status: the HTTP status.
        headers: with case-insensitive look-up.
        chunks: the body, as it comes.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Connection:
    """Requests to one account's address, and to no other host.

    Args:
        account: the key and the address.
        headers: added to every request.
        tls: a context to use in place of the default one.
    """

    def __init__(
        self, account: Account, *, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(account.base_url)
        self._base = account.base_url
        self._host = parts.netloc
        proxy = _proxy_for(parts.scheme, parts.hostname or "", parts.netloc)
        secure: ssl.SSLContext | bool = (tls or _default_tls()) if parts.scheme == "https" else True
        self._session = aiohttp.ClientSession(
            # The engine's own allowances bound what is under way, so the pool must not queue anything.
            connector=aiohttp.TCPConnector(limit=0, ssl=secure, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=60),
            headers=_headers(account, headers or {}),
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            # aiohttp's own trust_env would also read ~/.netrc; only the proxy variables are wanted.
            trust_env=False,
            proxy=proxy,
        )

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterable[bytes] | None = None,
        *,
        timeout: float,  # noqa: ASYNC109 - named in the message on expiry
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request and read its reply whole. Never follows a redirect.

        Args:
            method: ``GET``, ``POST`` or ``DELETE``.
            path: below the base URL, starting with a slash.
            body: JSON text, or a stream (give its ``Content-Length`` in ``headers``).
            timeout: seconds to wait for the reply; a stream is sent in as long as it takes.
            headers: in addition to those of every request.

        Raises:
            NotSent: no connection was made.
            ReplyLost: the request left, and no whole reply came.
        """
        failure = _Failure(self._host, timeout)
        received = bytearray()
        try:
            with failure:
                async with self._session.request(
                    method,
                    self._base + path,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=_limits(
                        timeout, total=None if body is not None and not isinstance(body, bytes) else timeout
                    ),
                ) as response:
                    failure.status = response.status
                    async for chunk in response.content.iter_any():
                        received += chunk
                    return Reply(response.status, response.headers, bytes(received))
        except ReplyLost as error:
            error.partial = bytes(received)
            raise
        raise AssertionError("unreachable: a failure is raised or a reply returned")

    @asynccontextmanager
    async def download(self, path: str, *, timeout: float) -> AsyncIterator[Incoming]:  # noqa: ASYNC109 - as above
        """Read a reply as a stream, for files that do not fit into memory.

        Args:
            path: below the base URL.
            timeout: seconds to wait for the next byte.

        Raises:
            NotSent: no connection was made.
            ReplyLost: the stream broke off; what was read of it is good.
        """
        failure = _Failure(self._host, timeout)
        with failure:
            async with self._session.get(
                self._base + path, allow_redirects=False, timeout=_limits(timeout)
            ) as response:
                failure.status = response.status
                yield Incoming(response.status, response.headers, response.content.iter_any())

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Failure:
    """Translates what aiohttp raises into what can be said about the request."""

    __slots__ = ("_host", "_timeout", "status")

    def __init__(self, host: str, timeout: float) -> None:
        self._host = host
        self._timeout = timeout
        self.status: int | None = None

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
            raise NotSent(f"could not connect to {self._host} ({_why(error)})") from error
        if isinstance(error, aiohttp.ClientHttpProxyError):
            raise NotSent(f"the proxy refused the connection to {self._host} ({error.status})") from error
        if isinstance(error, UnicodeError):
            raise NotSent(f"{self._host} is no host name that can be looked up") from error
        if isinstance(error, TimeoutError):
            raise ReplyLost(f"no reply within {self._timeout:g} s", status=self.status) from error
        if isinstance(error, aiohttp.ClientError | OSError):
            what = f"the connection broke before the reply was whole ({_why(error)})"
            raise ReplyLost(what, status=self.status) from error


@lru_cache(maxsize=64)
def _limits(timeout: float, total: float | None = None) -> aiohttp.ClientTimeout:
    total = None if total is None else total + CONNECT_TIMEOUT
    return aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_TIMEOUT, sock_read=timeout)


def _headers(account: Account, given: Mapping[str, str]) -> CIMultiDict[str]:
    headers = CIMultiDict(
        {"User-Agent": _user_agent(), "Accept": "application/json", "Content-Type": "application/json"}
    )
    headers.update(given)
    # Last, and under whatever spelling: the key is never another's.
    headers["Authorization"] = f"Bearer {account.api_key.get_secret_value()}"
    return headers


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _user_agent() -> str:
    return f"dw-agents/{dw_agents.__version__} python/{platform.python_version()} aiohttp/{aiohttp.__version__}"


def _proxy_for(scheme: str, host: str, netloc: str) -> str | None:
    """Find the proxy that ``HTTP(S)_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` (or the system) prescribe."""
    if urllib.request.proxy_bypass(netloc) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")


def _default_tls() -> ssl.SSLContext:
    """Trust what the system trusts; ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` and ``REQUESTS_CA_BUNDLE`` are honoured."""
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    folder = os.environ.get("SSL_CERT_DIR")
    if bundle or folder:
        return ssl.create_default_context(cafile=bundle or None, capath=folder or None)
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        _add_certifi(context)
    return context


def _add_certifi(context: ssl.SSLContext) -> None:
    """Fall back on certifi's authorities, where an interpreter came without any and certifi is installed."""
    try:
        certifi: Any = __import__("certifi")
    except ImportError:
        return
    context.load_verify_locations(certifi.where())
