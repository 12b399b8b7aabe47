"""The two HTTP packages that the OpenAI SDK stands on: ``httpx`` (openai 2) and ``httpx2`` (openai 3).

Owns: which of the two a client is made of, and building clients whose requests go through a transport of ours. The two
have the same names, so a module of either is handed around as ``hx``. Must not import either: only the one in use is
there for certain.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

import openai

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Underlying", "family", "underlying_of", "wrapped"]

_PACKAGES: Final = ("httpx", "httpx2")
_ours: Final[weakref.WeakKeyDictionary[Any, Underlying]] = weakref.WeakKeyDictionary()
"""By the HTTP clients that were built here."""


def family(client_class: type[Any] = openai.DefaultHttpxClient) -> ModuleType:
    """Return the package that an HTTP client is made of; by default the one that the installed SDK prefers.

    Raises:
        TypeError: neither of the two.
    """
    for base in client_class.__mro__:
        name = base.__module__.partition(".")[0]
        if name in _PACKAGES:
            return importlib.import_module(name)
    raise TypeError(f"http_client must be a client of httpx or httpx2, not {client_class.__name__}.")


class Underlying:
    """The HTTP client that really sends: the user's, or one with the SDK's defaults, made when first used.

    Args:
        asynchronous: whether it is an ``AsyncClient``.
        client: the user's.
    """

    def __init__(self, *, asynchronous: bool, client: Any = None) -> None:
        self.asynchronous = asynchronous
        self.given = client
        self.hx = family() if client is None else family(type(client))
        self._made: Any = None
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """The client, open."""
        if self.given is not None:
            return self.given
        with self._lock:
            if self._made is None:
                make: Any = openai.DefaultAsyncHttpxClient if self.asynchronous else openai.DefaultHttpxClient
                self._made = make()
            return self._made

    @property
    def opened(self) -> Any:
        """The client, if there is one by now."""
        return self.given if self.given is not None else self._made

    def __del__(self) -> None:
        """Close what was made here and was not closed, as the SDK does with its own."""
        made = getattr(self, "_made", None)
        if made is None or made.is_closed:
            return
        if not self.asynchronous:
            with contextlib.suppress(Exception):
                made.close()
            return
        import asyncio

        with contextlib.suppress(Exception):  # no loop runs: nobody could wait for it
            closing = asyncio.get_running_loop().create_task(made.aclose())
            _closing.add(closing)
            closing.add_done_callback(_closing.discard)


_closing: Final[set[Any]] = set()


def underlying_of(client: Any) -> Underlying | None:
    """Return what an HTTP client that was built here sends with; None for any other."""
    try:
        return _ours.get(client) if client is not None else None
    except TypeError:  # it is nothing that could have been built here
        return None


def wrapped(underlying: Underlying, transport: Any) -> Any:
    """Build an HTTP client whose requests go through ``transport``, with what the user set on theirs."""
    hx, given = underlying.hx, underlying.given
    kind = hx.AsyncClient if underlying.asynchronous else hx.Client
    own: dict[str, Any] = {"follow_redirects": True}
    if given is not None:
        own = {
            "headers": given.headers, "cookies": given.cookies, "params": given.params, "timeout": given.timeout,
            "follow_redirects": given.follow_redirects,
        }  # fmt: skip
    client = kind(transport=transport, **own)
    _ours[client] = underlying
    return client
