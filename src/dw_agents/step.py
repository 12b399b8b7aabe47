"""A step: what is asked and how it may travel.

Owns: ``Step`` and the checks that refuse one before anything is sent. Must not import the engine, the routes or
anything that does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from dw_agents.errors import InvalidStep

__all__ = ["MAX_BODY_BYTES", "SERVICE_TIERS", "OnUnknown", "ServiceTier", "Step", "check"]

ServiceTier = Literal["priority", "flex", "batch", "background"]
OnUnknown = Literal["resend", "raise"]

SERVICE_TIERS: Final[tuple[str, ...]] = ("priority", "flex", "batch", "background")
MAX_BODY_BYTES: Final = 10 * 1024 * 1024
"""The API's limit for one request body (10 MB)."""

_ENDPOINTS: Final = ("/responses", "/chat/completions", "/embeddings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One model or embedding call: an endpoint, a JSON body, and how it may travel.

    Attributes:
        body: the request body as the endpoint takes it, a JSON object with a ``model``; without ``service_tier``,
            ``background`` and ``stream``, which belong to the tier.
        endpoint: the path below the base URL: ``"/responses"``, ``"/chat/completions"`` or ``"/embeddings"``.
        service_tier: ``"priority"`` (realtime), ``"flex"`` (minutes), ``"batch"`` (hours) or ``"background"``
            (spare capacity).
        completion_window: for ``"batch"`` only: ``"24h"`` or ``"1h"``.
        timeout: seconds from submission until the caller no longer wants the answer; the step is then
            cancelled at the service and ends in ``DeadlineExceeded``. Default: no limit.
        max_retries: how often the submission may be tried again, in place of the engine's setting; 0 turns
            retrying off.
        on_unknown: what to do when a submission got no reply and may have been accepted: ``"resend"`` once,
            or ``"raise"`` ``SubmissionUnknown``. Default: the engine's setting.
        scope: tells apart equal bodies that are different work (a LangGraph checkpoint namespace, for example).
        run: the name of the run that the step belongs to: asked again under the same name, in whatever process, a
            step that was answered is not paid again. Default: the engine's setting.
        label: shown to people in logs and errors.
    """

    body: Mapping[str, Any]
    endpoint: str = "/responses"
    service_tier: ServiceTier = "flex"
    completion_window: str | None = None
    timeout: float | None = None
    max_retries: int | None = None
    on_unknown: OnUnknown | None = None
    scope: str = ""
    run: str = ""
    label: str = ""

    @property
    def model(self) -> str:
        """The model that the body names."""
        return str(self.body.get("model", ""))


def check(step: Step) -> None:
    """Refuse a step that cannot travel as asked, before anything is sent.

    Raises:
        InvalidStep: names the field and what would work.
    """
    body = step.body
    if step.service_tier not in SERVICE_TIERS:
        raise InvalidStep(
            f"service_tier={step.service_tier!r} is not known; use one of {', '.join(map(repr, SERVICE_TIERS))}.",
            field="service_tier",
        )
    if not isinstance(body, Mapping):
        raise InvalidStep(f"body must be a JSON object, not {type(body).__name__}.", field="body")
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise InvalidStep(f"model is {model!r}; name one, for example 'Qwen/Qwen3.5-35B-A3B-FP8'.", field="model")
    if step.completion_window is not None and step.service_tier != "batch":
        raise InvalidStep(
            f'completion_window={step.completion_window!r} belongs to service_tier="batch"; '
            f"this step is {step.service_tier!r}.",
            field="completion_window",
        )
    if step.timeout is not None and not step.timeout > 0:
        raise InvalidStep(f"timeout={step.timeout!r} must be a number of seconds above 0.", field="timeout")
    if step.max_retries is not None and step.max_retries < 0:
        raise InvalidStep(f"max_retries={step.max_retries!r} must be 0 or more.", field="max_retries")
    if step.on_unknown not in {None, "resend", "raise"}:
        raise InvalidStep(f"on_unknown={step.on_unknown!r} must be 'resend' or 'raise'.", field="on_unknown")
    _check_endpoint(step.endpoint, step.service_tier)
    _check_body(body, step.service_tier)


def _check_endpoint(endpoint: str, tier: str) -> None:
    if endpoint not in _ENDPOINTS:
        raise InvalidStep(
            f"endpoint={endpoint!r} is not known; use one of {', '.join(map(repr, _ENDPOINTS))}.", field="endpoint"
        )
    if tier in {"flex", "background"} and endpoint == "/embeddings":
        raise InvalidStep(
            f"service_tier={tier!r} has no embeddings (the service would bill them as realtime); "
            'use service_tier="batch" or "priority".',
            field="service_tier",
        )
    if tier in {"flex", "background"} and endpoint != "/responses":
        raise InvalidStep(
            f'endpoint={endpoint!r} cannot be polled on service_tier={tier!r}; send the step to "/responses".',
            field="endpoint",
        )


def _check_body(body: Mapping[str, Any], tier: str) -> None:
    if body.get("stream"):
        raise InvalidStep(
            "stream=True cannot travel on a deferred tier; leave it out, the answer arrives whole.",
            field="stream",
        )
    if body.get("service_tier") not in {None, tier} or body.get("background") not in {
        None,
        tier != "priority",
    }:
        raise InvalidStep(
            "service_tier and background belong to the step, not to its body: Step(service_tier=...).",
            field="service_tier",
        )
    if body.get("n") not in {None, 1}:
        raise InvalidStep(
            f"n={body['n']!r}: the API gives one answer a step; submit {body['n']} steps instead.", field="n"
        )
    if body.get("previous_response_id") is not None:
        raise InvalidStep(
            "previous_response_id is not supported by the service; send the whole input again.",
            field="previous_response_id",
        )
