"""What answers inside the emulator: the interface of a backend.

Owns: the ``Backend`` protocol and ``UpstreamError``. Must not import the server around it: a backend sees one
chat or embeddings request and returns one body, as a model server behind the API would.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Backend", "UpstreamError"]


class UpstreamError(Exception):
    """The model server refused or failed.

    Attributes:
        status: HTTP status, 400 to 599.
        message: what it said.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Backend(Protocol):
    """Answers chat and embeddings requests in the shapes of the OpenAI API."""

    name: str
    """``"rules"``, ``"local"`` or ``"upstream"``."""
    description: str
    """One sentence that says plainly what answers, for people who read a demo or a log."""

    async def start(self) -> None:
        """Load or connect; called once, on the emulator's loop, before the first request."""

    async def close(self) -> None:
        """Release what ``start`` took."""

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one body of ``POST /v1/chat/completions`` with a whole ``chat.completion`` object.

        Args:
            request: ``model``, ``messages`` and optionally ``tools``, ``tool_choice``, ``response_format``,
                ``stop``, ``max_tokens``, ``temperature``, ``seed``, ``parallel_tool_calls``,
                ``reasoning_effort``. Never streamed.

        Returns:
            One choice with ``message`` (``content``, ``tool_calls``, ``refusal``, ``reasoning_content`` as
            they apply) and ``finish_reason`` ``stop``, ``length``, ``tool_calls`` or ``content_filter``;
            ``usage`` with token counts.

        Raises:
            UpstreamError: the model refuses the request or fails.
        """

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one body of ``POST /v1/embeddings`` with a whole ``list`` object of ``embedding`` items.

        Raises:
            UpstreamError: as for ``chat``.
        """
