"""The table of routes: which handler answers which method on which path.

Owns: ``Route`` and ``routes``. A new resource adds its rows here; it needs nothing else of the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dw_agents.emulator import (
    batchactions,
    batches,
    batchreports,
    chat,
    content,
    embeddings,
    files,
    models,
    responses,
    stored,
    uploads,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dw_agents.emulator.call import Call, Download, EventStream
    from dw_agents.emulator.errors import Family, Reply

    Handler = Callable[[Call], Awaitable[Reply | EventStream | Download]]

__all__ = ["Route", "routes"]


class Route(NamedTuple):
    """One method on one path.

    Attributes:
        label: what counters and faults call it.
        handler: what answers.
        family: which shape its errors have.
        streamed: the handler reads the body itself, piece by piece.
    """

    label: str
    handler: Handler
    family: Family
    streamed: bool = False


def routes(*, cancel: bool, openai: bool) -> dict[str, dict[str, Route]]:
    """The table: path template to method to route.

    Args:
        cancel: whether ``POST /responses/{id}/cancel`` exists.
        openai: leave out what only Doubleword has.
    """
    rows: list[tuple[str, str, Handler, Family]] = [
        ("POST", "/responses", responses.create, "inference"),
        ("GET", "/responses/{id}", stored.retrieve, "objects"),
        ("DELETE", "/responses/{id}", stored.delete, "objects"),
        ("POST", "/chat/completions", chat.create, "inference"),
        ("POST", "/completions", chat.complete_text, "inference"),
        ("POST", "/embeddings", embeddings.create, "inference"),
        ("GET", "/models", models.list_models, "inference"),
        ("POST", "/files", uploads.create, "files"),
        ("GET", "/files", files.list_files, "files"),
        ("GET", "/files/{id}", files.retrieve, "files"),
        ("DELETE", "/files/{id}", files.delete, "files"),
        ("GET", "/files/{id}/content", content.retrieve, "files"),
        ("POST", "/batches", batches.create, "files"),
        ("GET", "/batches", batchreports.list_batches, "files"),
        ("GET", "/batches/{id}", batches.retrieve, "files"),
        ("POST", "/batches/{id}/cancel", batchactions.cancel, "files"),
    ]
    if cancel:
        rows.append(("POST", "/responses/{id}/cancel", stored.cancel, "objects"))
    if not openai:
        rows += [
            ("GET", "/files/{id}/cost-estimate", files.estimate, "files"),
            ("DELETE", "/batches/{id}", batchactions.delete, "files"),
            ("POST", "/batches/{id}/retry", batchactions.retry, "files"),
            ("POST", "/batches/{id}/retry-requests", batchactions.retry_requests, "files"),
            ("GET", "/batches/{id}/results", batchreports.results, "files"),
            ("GET", "/batches/{id}/analytics", batchreports.analytics, "files"),
        ]
    table: dict[str, dict[str, Route]] = {}
    for method, template, handler, family in rows:
        route = Route(f"{method} {template}", handler, family, streamed=handler is uploads.create)
        table.setdefault(template, {})[method] = route
    return table
