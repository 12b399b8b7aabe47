"""The ``upstream`` backend: any server that speaks the OpenAI API answers.

Owns: the HTTP session to that server and the reading of its errors. Must not import the server around it.
With it the emulator is a flex and batch tier of one's own in front of vLLM, Ollama or another server.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from dw_agents.emulator.backends.base import UpstreamError

__all__ = ["UpstreamBackend"]

_NOT_FOR_UPSTREAM = ("service_tier", "background", "stream", "stream_options")
_MAX_QUOTED = 2000


class UpstreamBackend:
    """Sends each request on to ``{base_url}/chat/completions`` or ``{base_url}/embeddings``.

    Args:
        base_url: address of the API with its version, such as ``http://127.0.0.1:11434/v1``.
        api_key: sent as a bearer token to that address only; redirects are not followed.
        model: name to ask for instead of the request's own, for a server that knows one model.
        timeout: seconds for a whole answer.
        connect_timeout: seconds for making the connection.
        headers: further headers of every request.

    Raises:
        ValueError: ``base_url`` is no http or https address.
    """

    name = "upstream"

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url must be an http or https address, not {base_url!r}")
        self.description = f"The model server at {parts.scheme}://{parts.netloc.rpartition('@')[2]} answers."
        self._base_url = base_url.rstrip("/")
        self._model = model
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=connect_timeout)
        self._headers = dict(headers or {})
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session; no connection is made before the first request."""
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout, trust_env=True)

    async def close(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a chat request on.

        Raises:
            UpstreamError: the server's own status and message; 502 where it cannot be reached or read, 504 on
                time-out.
        """
        return await self._post("/chat/completions", request)

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send an embeddings request on.

        Raises:
            UpstreamError: as for ``chat``.
        """
        return await self._post("/embeddings", request)

    async def _post(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        if self._session is None:
            raise UpstreamError(503, "the upstream backend is not started: call start() first")
        body = {key: value for key, value in request.items() if key not in _NOT_FOR_UPSTREAM}
        if self._model is not None:
            body["model"] = self._model
        try:
            async with self._session.post(self._base_url + path, json=body, allow_redirects=False) as reply:
                status, text = reply.status, await reply.text()
        except TimeoutError as error:
            raise UpstreamError(504, "the model server did not answer in time") from error
        except aiohttp.ClientError as error:
            raise UpstreamError(502, f"the model server cannot be reached: {error}") from error
        return _read(status, text)


def _read(status: int, text: str) -> dict[str, Any]:
    """Return the body of a successful reply; raise what an unsuccessful one says."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if status >= 400:
        raise UpstreamError(status, _message(body) or text.strip()[:_MAX_QUOTED] or f"HTTP {status}")
    if status >= 300:
        raise UpstreamError(502, f"the model server redirects (HTTP {status}); give its final address as base_url")
    if not isinstance(body, dict):
        raise UpstreamError(502, f"the model server's reply is no JSON object: {text.strip()[:200]!r}")
    return body


def _message(body: Any) -> str | None:
    """Find the message in ``{"error": {"message": ...}}``, ``{"error": ...}`` or ``{"message": ...}``."""
    if not isinstance(body, dict):
        return None
    error = body.get("error", body)
    found = error.get("message") if isinstance(error, dict) else error
    return found if isinstance(found, str) else None
