"""``POST /responses``: the same request, travelling in six ways.

Owns: flex and background submissions, blocking and streamed flex, realtime calls. Must not import the app.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dw_agents.emulator.accounts import bearer
from dw_agents.emulator.answers import shows_details
from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.call import EventStream, check_background_tier, decode, service_tier, strip_stored
from dw_agents.emulator.errors import Refused, Reply, invalid_request, json_reply, proxy_error
from dw_agents.emulator.jobs import Job
from dw_agents.emulator.objects import (
    accepted_object,
    error_type,
    full_object,
    openai_object,
    output_items,
    response_status,
    response_usage,
    stored_object,
)
from dw_agents.emulator.reasoning import reasoning_refusal
from dw_agents.emulator.sse import KEEPALIVE, event, response_events, response_replay
from dw_agents.emulator.translate import BadBodyError, to_chat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from dw_agents.emulator.call import Call
    from dw_agents.emulator.jobs import Tier
    from dw_agents.emulator.service import Service

__all__ = ["create", "held_events", "replay", "timed_out"]

_FIRST_ERROR, _LAST_STATUS = 400, 599


async def create(call: Call) -> Reply | EventStream:
    """Answer ``POST /responses``."""
    body = decode(call.body)
    if "previous_response_id" in body:
        _hydrate(call, body)
    tier = service_tier(body)
    background = body.get("background") is True
    if tier == "background":
        check_background_tier(body, responses=True)
    if tier == "realtime":
        return _realtime_background(call, body) if background else await _realtime(call, body)
    job = _submit(call, body, tier)
    if background:
        return _accepted(call.service, job)
    if body.get("stream") is True:
        return EventStream(held_events(call.service, job, _flex_replay(job), _timed_out_events(job)))
    return await _blocking(call.service, job)


def _hydrate(call: Call, body: dict[str, Any]) -> None:
    """Look the previous response up, which on the service never ends well."""
    previous = body["previous_response_id"]
    try:
        to_chat(body)
    except BadBodyError:
        raise Refused(_cannot_load()) from None
    if previous is None:
        return
    if not isinstance(previous, str) or call.service.jobs.get(previous) is None:
        raise Refused(invalid_request(400, f"previous response not found: {previous}"))
    # The stored object lacks fields that the service insists on when it reads it back.
    raise Refused(_cannot_load())


def _cannot_load() -> Reply:
    return invalid_request(500, "failed to load previous response", type="server_error")


def _submit(call: Call, body: dict[str, Any], tier: Tier) -> Job:
    model = body.get("model")
    account = call.submitter(model if isinstance(model, str) else "")
    if tier == "background" and not account.background_role:
        raise Refused(invalid_request(403, 'service_tier: "background" needs the role BackgroundInferenceUser'))
    job = Job(
        tier=tier,
        endpoint="/responses",
        body=strip_stored(body),
        owner=account.owner,
        created=call.service.clock.now(),
        faults=call.job_faults(),
        user_agent=call.headers.get("User-Agent", ""),
    )
    call.service.submit(job)
    return job


def _accepted(service: Service, job: Job) -> Reply:
    if service.like_openai:
        return json_reply(200, openai_object(job))
    return json_reply(202, accepted_object(job))


async def _blocking(service: Service, job: Job) -> Reply:
    if not await service.wait(job):
        return timed_out(job, service.settings.blocking_timeout)
    status = 200
    if job.state != "completed":
        code = (job.error or {}).get("code", 500)
        status = code if _FIRST_ERROR <= code <= _LAST_STATUS else 500
    return Reply(status, service.encoded(job))


def timed_out(job: Job, limit: float, **extra: Any) -> Reply:
    """504 of a blocking call; the id of the job, which lives on, stands only in the text."""
    uuid = job.id.removeprefix("resp_")
    message = f"Request timed out: Storage error: Timeout waiting for request {uuid} to complete after {limit:g}s"
    return invalid_request(504, message, type="server_error", **extra)


def replay(frames: Iterable[bytes]) -> EventStream:
    """A stream of events that are all known already."""

    async def send() -> AsyncGenerator[bytes, None]:
        for frame in frames:
            yield frame

    return EventStream(send())


async def held_events(
    service: Service, job: Job, finished: Iterable[bytes], late: Iterable[bytes]
) -> AsyncGenerator[bytes, None]:
    """Comments while a job runs, then its replay.

    Args:
        service: the service.
        job: what to wait for.
        finished: the events once the job has ended; read only then.
        late: the events when the time-out of blocking calls passes first; read only then.
    """
    waiting = asyncio.ensure_future(service.wait(job))
    try:
        gap = service.clock.real(service.settings.keepalive_every)
        while not (await asyncio.wait({waiting}, timeout=gap))[0]:
            yield KEEPALIVE
        for frame in finished if waiting.result() else late:
            yield frame
    finally:
        waiting.cancel()


def _flex_replay(job: Job) -> Iterable[bytes]:
    stored = stored_object(job)
    if job.state == "completed":
        yield from response_replay(stored_object(job))
        return
    yield event("response.created", {name: stored[name] for name in ("id", "object", "status")})
    yield event("response.failed", stored)


def _timed_out_events(job: Job) -> Iterable[bytes]:
    yield event("response.created", {"id": None, "object": "response", "status": "failed"})
    message = f"Request failed: Timeout waiting for request {job.id.removeprefix('resp_')}"
    yield event("response.failed", {"error": {"message": message, "type": "server_error", "code": 504}})


def _realtime_background(call: Call, body: dict[str, Any]) -> Reply:
    """Accept before anything is checked: a bad key gets its 202 too, and an id that never becomes visible."""
    service = call.service
    account = service.accounts.known(bearer(call.headers))
    job = Job(
        tier="priority",
        endpoint="/responses",
        body=strip_stored(body),
        owner=account.owner if account else "",
        created=service.clock.now(),
        state="in_progress",
        faults=call.job_faults() if account else (),
        user_agent=call.headers.get("User-Agent", ""),
    )
    if account is not None:
        service.submit_realtime(job)
    return _accepted(service, job)


async def _realtime(call: Call, body: dict[str, Any]) -> Reply | EventStream:
    service = call.service
    streamed = body.get("stream") is True
    try:
        chat = to_chat(body)
    except BadBodyError as error:
        return invalid_request(400, str(error))
    account = call.caller(chat["model"])
    refusal = reasoning_refusal(chat)
    if refusal is not None:
        return refusal
    faults = call.job_faults()
    job = Job(
        tier="priority",
        endpoint="/responses",
        body=strip_stored(body),
        owner=account.owner,
        created=service.clock.now(),
        state="in_progress",
        faults=faults,
    )
    try:
        answer = await service.realtime_chat(chat, faults)
    except UpstreamError as error:
        if streamed and error.__cause__ is not None:
            return replay(_broken_stream(job, body, error))
        return proxy_error(error.status, error.message, "upstream_error", kind=error_type(error.status))
    output = output_items(answer, streamed=streamed)
    usage = response_usage(answer.get("usage"), details=shows_details(faults))
    final = full_object(
        job.id,
        body,
        created=job.created,
        status=response_status(answer),
        output=output,
        usage=usage,
        service_tier=answer.get("service_tier") or "default",
    )
    job.answer = answer
    # A streamed realtime row holds the raw stream, from which no output can be read back.
    job.complete(service.clock.now(), output=[] if streamed else output, usage=usage)
    service.jobs.add(job)
    return replay(response_events(final)) if streamed else json_reply(200, final)


def _broken_stream(job: Job, body: dict[str, Any], error: UpstreamError) -> Iterable[bytes]:
    opened = full_object(job.id, body, created=job.created, status="in_progress", output=[], usage=None)
    yield event("response.created", {"type": "response.created", "response": opened, "sequence_number": 0})
    yield event("error", {"type": "error", "error": {"message": error.message, "type": "server_error"}})
