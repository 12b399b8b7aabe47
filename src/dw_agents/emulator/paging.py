"""Query parameters that lists share, and the pages that they ask for.

Owns: reading numbers, cutting pages, the envelope of a list. Pure; must not import stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dw_agents.emulator.errors import Refused, text_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["MOST", "listing", "number"]

MOST = 101
"""No page is longer, whatever ``limit`` says."""

_USUAL = 20


class _Listed(Protocol):
    id: str


_Item = TypeVar("_Item", bound=_Listed)


def number(query: Mapping[str, str], name: str, usual: int) -> int:
    """One whole number of the query.

    Raises:
        Refused: 400, it is none.
    """
    text = query.get(name)
    if text is None:
        return usual
    try:
        return int(text)
    except ValueError:
        raise Refused(
            text_reply(400, f"Failed to deserialize query string: {name}: invalid digit found in string")
        ) from None


def listing(
    query: Mapping[str, str], items: Sequence[_Item], show: Callable[[_Item], dict[str, Any]]
) -> dict[str, Any]:
    """The page that ``after`` and ``limit`` ask for, as a list object.

    Args:
        query: the request's parameters.
        items: what there is, in the order wanted.
        show: how one is shown.
    """
    limit = min(max(number(query, "limit", _USUAL), 1), MOST)
    after = query.get("after")
    first = 0
    if after is not None:
        first = next((at + 1 for at, item in enumerate(items) if item.id == after), len(items))
    page = items[first : first + limit]
    return {
        "object": "list",
        "data": [show(item) for item in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": first + limit < len(items),
    }
