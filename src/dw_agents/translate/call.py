"""A call of the OpenAI API as it is going to travel.

Owns: the decision between the three ways (a step of the engine, a held connection, the service itself) and the shape in
which the answer is handed to the caller. Pure: nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dw_agents.adapting.settings import check_model_name
from dw_agents.errors import InvalidStep
from dw_agents.step import Step
from dw_agents.translate.chat_answer import completed_chat, to_chat_completion
from dw_agents.translate.chat_request import NotCarried, refuse_lost, to_responses
from dw_agents.translate.events import chat_chunks, response_events
from dw_agents.translate.responses import carried_body, completed_response

if TYPE_CHECKING:
    from dw_agents.translate.travel import Travel

__all__ = ["ENDPOINTS", "Ask", "Hold", "PassOn", "Plan", "Shape", "plan"]

ENDPOINTS: Final = ("/chat/completions", "/responses", "/embeddings")
"""Whose POSTs travel on a tier."""

_FORM: Final = frozenset({"stream", "stream_options", "background"})
"""How the caller wants to be answered, which is not the service's business."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the caller is handed.

    Attributes:
        endpoint: that the caller asked.
        asked: the caller's body.
        service_tier: that is used.
        translated: whether a chat request travels as a Response.
    """

    endpoint: str
    asked: Mapping[str, Any] = field(repr=False)
    service_tier: str
    translated: bool = False

    @property
    def streamed(self) -> bool:
        """Whether the answer is written as events."""
        return self.asked.get("stream") is True

    @property
    def verbatim(self) -> bool:
        """Whether the answer is handed over as it came."""
        return self.endpoint == "/embeddings"

    def body(self, answer: Mapping[str, Any], *, truncated: bool) -> dict[str, Any]:
        """Return the answer as the object that the caller's endpoint returns.

        Raises:
            KeyError, TypeError, AttributeError: it does not have the shape that the API promises.
        """
        if self.endpoint == "/responses":
            return completed_response(answer, self.asked, service_tier=self.service_tier, truncated=truncated)
        chat = to_chat_completion(answer, truncated=truncated) if self.translated else answer
        return completed_chat(chat, model=str(self.asked.get("model")), service_tier=self.service_tier)

    def write(self, answer: Mapping[str, Any], *, truncated: bool = False) -> tuple[str, bytes]:
        """Return the content type and the content of the reply.

        Raises:
            KeyError, TypeError, AttributeError: the answer does not have the shape that the API promises.
        """
        body = self.body(answer, truncated=truncated)
        if not self.streamed:
            return "application/json", msgspec.json.encode(body)
        if self.endpoint == "/responses":
            return "text/event-stream", b"".join(response_events(body))
        options = self.asked.get("stream_options") or {}
        return "text/event-stream", b"".join(chat_chunks(body, include_usage=options.get("include_usage") is True))


@dataclass(frozen=True, slots=True)
class Ask:
    """The call is a step of the engine."""

    step: Step
    shape: Shape


@dataclass(frozen=True, slots=True)
class Hold:
    """The call is a flex chat call on a connection that is held until the answer comes.

    Attributes:
        step: what is asked, for the ticket; the engine does not take it.
        shape: of the answer.
        field: what ``/responses`` could not express.
        mend: what to change so that it could; empty where nothing would.
    """

    step: Step
    shape: Shape
    field: str
    mend: str

    @property
    def notice(self) -> str:
        """What the user is told, once."""
        mend = f" To have it polled: {self.mend}." if self.mend else ""
        return (
            f"{self.field} cannot travel as a background Response: this call, and others like it, go by the service's "
            "blocking chat form on flex. It holds a connection until the answer comes, and is neither resumed after a "
            f"crash nor stopped at the service when it is cancelled.{mend}"
        )


@dataclass(frozen=True, slots=True)
class PassOn:
    """The call goes to the service itself, which answers it as it likes.

    Attributes:
        body: what is sent.
    """

    body: dict[str, Any]


Plan = Ask | Hold | PassOn


def plan(endpoint: str, body: Mapping[str, Any], travel: Travel, *, query: str = "") -> Plan:
    """Decide how a call travels.

    Args:
        endpoint: one of ``ENDPOINTS``.
        body: what is asked, without what ``Travel.for_call`` took out of it.
        travel: how, as this call says.
        query: of the address; empty where it says nothing.

    Raises:
        InvalidStep: something in it cannot be carried; names the field and what would work.
    """
    check_model_name(body.get("model"))
    if travel.service_tier == "priority":
        return _at_once(endpoint, body, travel, query)
    if query:
        raise InvalidStep(
            f"extra_query cannot be carried on service_tier={travel.service_tier!r}: {query!r}. "
            'Instead: leave it out, or use service_tier="priority".',
            field="extra_query",
        )
    if endpoint == "/chat/completions":
        return _deferred_chat(body, travel)
    if endpoint == "/responses" and _own_background(body):
        return _polled_by_the_caller(body, travel.service_tier)
    return _asked(endpoint, body, travel)


def _asked(endpoint: str, body: Mapping[str, Any], travel: Travel) -> Ask:
    asked = _without_form(body)
    if endpoint == "/responses":
        asked = carried_body(asked)
    return Ask(_step(endpoint, asked, travel), Shape(endpoint, body, travel.service_tier))


def _at_once(endpoint: str, body: Mapping[str, Any], travel: Travel, query: str) -> Ask | PassOn:
    """Let the service answer a realtime call itself where that is better, or where the engine cannot express it."""
    streamed = body.get("stream") is True
    if not (streamed or query or body.get("n") not in (None, 1) or _own_background(body)):
        return _asked(endpoint, body, travel)
    sent = {name: value for name, value in body.items() if not (streamed and name == "background")}
    return PassOn(sent if endpoint == "/embeddings" else {**sent, "service_tier": travel.service_tier})


def _deferred_chat(body: Mapping[str, Any], travel: Travel) -> Ask | Hold:
    endpoint, tier = "/chat/completions", travel.service_tier
    refuse_lost(body)
    if not isinstance(body.get("stream_options"), Mapping | None):
        raise InvalidStep("stream_options must be an object.", field="stream_options")
    if tier == "batch":
        return _asked(endpoint, body, travel)
    asked = _without_form(body)
    try:
        translated = carried_body(to_responses(asked))
    except NotCarried as reason:
        if tier != "flex":
            mend = reason.mend or 'service_tier="flex"'
            raise InvalidStep(
                f"{reason.field} cannot be carried on service_tier={tier!r}. Instead: {mend}.", field=reason.field
            ) from None
        return Hold(_step(endpoint, asked, travel), Shape(endpoint, body, tier), reason.field, reason.mend)
    return Ask(_step("/responses", translated, travel), Shape(endpoint, body, tier, translated=True))


def _without_form(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _FORM}


def _own_background(body: Mapping[str, Any]) -> bool:
    """Whether the caller wants an id now and polls it; a stream cannot be polled."""
    return body.get("background") is True and body.get("stream") is not True


def _polled_by_the_caller(body: Mapping[str, Any], tier: str) -> PassOn:
    """Leave a call alone whose caller wants an id now and will poll it."""
    if tier == "batch":
        raise InvalidStep(
            "background=True asks for an id at once, and a line of a batch has none. Instead: leave it out and await "
            'the answer, or use service_tier="flex".',
            field="background",
        )
    return PassOn({**body, "service_tier": tier})


def _step(endpoint: str, body: Mapping[str, Any], travel: Travel) -> Step:
    return Step(
        endpoint=endpoint,
        body=body,
        service_tier=travel.service_tier,  # type: ignore[arg-type]  # Travel checks it
        completion_window=travel.completion_window,
        timeout=travel.timeout,
        max_retries=travel.max_retries,
        on_unknown=travel.on_unknown,  # type: ignore[arg-type]  # Travel checks it
        run=travel.run,
        scope=travel.scope,
        label=travel.label,
    )
