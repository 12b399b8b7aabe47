"""How a call travels, as opposed to what it asks.

Owns: ``Travel`` and who wins where client, header and body say different things. Must not do I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dw_agents.adapting.settings import check_tier, check_timeout, check_window
from dw_agents.errors import InvalidStep

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HEADER_PREFIX", "Travel"]

HEADER_PREFIX: Final = "x-dw-agents-"
"""Of the headers that say how a call travels; they are never sent on."""

_PER_CALL: Final = ("service_tier", "completion_window", "on_unknown", "run", "scope", "label")
_EMBEDDINGS_WINDOW: Final = {"flex": "1h", "background": "24h"}
_TEXTS: Final = ("run", "scope", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class Travel:
    """How the calls of a client travel, and, after ``for_call``, how one of them does.

    Attributes:
        service_tier: ``"flex"`` (minutes), ``"batch"`` (hours), ``"priority"`` (realtime) or ``"background"`` (spare
            capacity).
        completion_window: for ``"batch"``: ``"24h"`` or ``"1h"``.
        on_unknown: after a submission without a reply: ``"resend"`` once, or ``"raise"``. Default: the engine's.
        run: see ``Step.run``.
        scope: see ``Step.scope``.
        label: shown to people in logs and errors.
        max_retries: see ``Step.max_retries``.
        timeout: seconds that the call may take. Default: no limit.

    Raises:
        InvalidStep: a value that cannot hold; names the setting.
    """

    service_tier: str = "flex"
    completion_window: str | None = None
    on_unknown: str | None = None
    run: str = ""
    scope: str = ""
    label: str = ""
    max_retries: int | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        check_tier(self.service_tier)
        check_window(self.completion_window, self.service_tier)
        check_timeout(self.timeout)
        if self.on_unknown not in (None, "resend", "raise"):
            raise InvalidStep(f"on_unknown={self.on_unknown!r} must be 'resend' or 'raise'.", field="on_unknown")
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise InvalidStep(f"{name}={getattr(self, name)!r} must be text.", field=name)

    def for_call(
        self, endpoint: str, headers: Mapping[str, str], body: Mapping[str, Any], *, timeout: float | None = None
    ) -> tuple[Travel, dict[str, Any]]:
        """Say how one call travels, and return what is left of its body: what it asks.

        The body wins over the headers (``X-DW-Agents-Service-Tier``, ``X-DW-Agents-Completion-Window`` and so on), and
        these win over the client. ``service_tier="auto"`` leaves the choice to the client. Embeddings have no flex
        tier: on a client of that tier they go by batch with the window of an hour, which is sold at the price of flex;
        on a ``"background"`` client by batch with 24 hours.

        Args:
            endpoint: ``"/responses"``, ``"/chat/completions"`` or ``"/embeddings"``.
            headers: of the request, with case-insensitive look-up.
            body: the decoded request.
            timeout: the caller's own, in place of the client's.

        Raises:
            InvalidStep: a value that cannot hold; names the setting.
        """
        asked: dict[str, Any] = {}
        for name in _PER_CALL:
            given = body.get(name)
            if given is None:
                given = headers.get(HEADER_PREFIX + name.replace("_", "-"))
            if given is not None and (name, given) != ("service_tier", "auto"):
                asked[name] = given
        tier = asked.get("service_tier", self.service_tier)
        check_tier(tier)
        own_window = self.completion_window if self.service_tier == tier else None
        if endpoint == "/embeddings" and tier in _EMBEDDINGS_WINDOW:
            own_window, tier = _EMBEDDINGS_WINDOW[tier], "batch"
        asked["service_tier"] = tier
        asked.setdefault("completion_window", own_window)
        if timeout is not None:
            asked["timeout"] = timeout
        return replace(self, **asked), {name: value for name, value in body.items() if name not in _PER_CALL}
