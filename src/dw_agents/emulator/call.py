"""One HTTP call as routes see it, and the first steps that all inference routes share.

Owns: ``Call``, the kinds of reply that are not whole (``EventStream``, ``Download``), reading the body, the
service tier, and who may submit what. Must not import routes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

import msgspec

from dw_agents.emulator.accounts import bearer
from dw_agents.emulator.errors import (
    Refused,
    Reply,
    balance_too_low,
    files_unauthenticated,
    invalid_request,
    model_not_found,
    no_access,
    proxy_forbidden,
    proxy_unauthenticated,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from aiohttp import web

    from dw_agents.emulator.accounts import Account
    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.service import Service

__all__ = ["Call", "Download", "EventStream", "check_background_tier", "decode", "service_tier", "strip_stored"]

_CLIENT_IDS = ("id", "completion_id", "completionId", "response_id", "responseId")
_NOT_STORED = ("service_tier", "background", "stream", "stream_options")

RequestTier = Literal["realtime", "flex", "background"]


@dataclass(slots=True)
class EventStream:
    """A reply of server-sent events, already framed."""

    events: AsyncGenerator[bytes, None]


@dataclass(slots=True)
class Download:
    """A reply that is read from a file while it is sent.

    Attributes:
        chunks: whole lines, some at a time.
        size: bytes that they are likely to add up to.
        headers: its headers, the content type included.
    """

    chunks: Iterator[bytes]
    size: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One request.

    Attributes:
        service: the state behind the routes.
        route: label of the route, such as ``"POST /responses"``.
        path: path and query as sent.
        ident: the id in the path, or ``""``.
        headers: the request's headers, names in any case.
        body: the request's bytes; empty for an upload.
        upload: for an upload: the request itself, whose body is still to be read.
    """

    service: Service
    route: str
    path: str
    ident: str
    headers: Mapping[str, str]
    body: bytes
    upload: web.BaseRequest | None = None

    def query(self) -> dict[str, str]:
        """The query's parameters; of one given twice, the last."""
        return dict(parse_qsl(self.path.partition("?")[2], keep_blank_values=True))

    def job_faults(self) -> list[Fault]:
        """The faults that will strike the model call which this request asks for; each is counted."""
        faults = self.service.faults
        if not faults:
            return []
        struck = faults.for_job(self.route, self.path, self.body, self.service.clock.now())
        for fault in struck:
            self.service.counters.fired(fault.kind)
        return struck

    def reader(self) -> Account | None:
        """The account behind the key, for stored objects."""
        return self.service.accounts.known(bearer(self.headers))

    def filer(self) -> Account:
        """The account behind the key, for files and batches.

        Raises:
            Refused: 401.
        """
        account = self.reader()
        if account is None:
            raise Refused(files_unauthenticated())
        return account

    def submitter(self, model: str) -> Account:
        """The account that submits a flex or background job.

        Raises:
            Refused: 401 without a key, 403 for an unknown key or model, 429 over the unverified cap.
        """
        key = bearer(self.headers)
        if key is None:
            raise Refused(invalid_request(401, "API key required"))
        account = self.service.accounts.known(key)
        if account is None:
            raise Refused(invalid_request(403, "Invalid API key"))
        if not self.service.knows_model(model) or not account.may_use(model):
            raise Refused(no_access(model, flex=True))
        if not account.take_submission(self.service.clock.now()):
            message = f"Unverified accounts may submit {account.unverified_limit} requests per hour."
            raise Refused(invalid_request(429, message))
        return account

    def caller(self, model: str) -> Account:
        """The account of a realtime call; the model is looked at before the key.

        Raises:
            Refused: 404 for an unknown model, 401 without a key, 403 for an unknown key or a model that it
                may not use, 402 without credits.
        """
        if not self.service.knows_model(model):
            raise Refused(model_not_found(model))
        key = bearer(self.headers)
        if key is None:
            raise Refused(proxy_unauthenticated())
        account = self.service.accounts.known(key)
        if account is None:
            raise Refused(proxy_forbidden())
        if not account.may_use(model):
            raise Refused(no_access(model, flex=False))
        if not account.has_credits:
            raise Refused(balance_too_low())
        return account


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, without the id fields that clients may not choose.

    Raises:
        Refused: not a JSON object: 400 with an empty body.
    """
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, dict):
        raise Refused(Reply(400, b"", ""))
    for name in _CLIENT_IDS:
        value.pop(name, None)
    return value


def service_tier(body: dict[str, Any]) -> RequestTier:
    """How the service reads ``service_tier``: a value that it does not know is realtime, without an error."""
    tier = body.get("service_tier")
    if tier == "flex":
        return "flex"
    return "background" if tier == "background" else "realtime"


def check_background_tier(body: dict[str, Any], *, responses: bool) -> None:
    """Hold a ``background`` tier request to its contract.

    Args:
        body: the decoded request.
        responses: it came to ``/responses``, the only place that takes this tier.

    Raises:
        Refused: 400.
    """
    if not responses:
        message = (
            'service_tier: "background" is only supported by /v1/responses. Submit the request to /v1/responses '
            "with background: true, or choose a foreground service_tier."
        )
        raise Refused(invalid_request(400, message))
    if body.get("background") is not True:
        message = (
            'service_tier: "background" is asynchronous and requires background: true. Set background: true and '
            "poll GET /v1/responses/{id}, or choose a foreground service_tier."
        )
        raise Refused(invalid_request(400, message))


def strip_stored(body: dict[str, Any]) -> dict[str, Any]:
    """The request as it is stored: how it travelled is not part of it."""
    return {name: value for name, value in body.items() if name not in _NOT_STORED}
