"""``POST /chat/completions`` and ``POST /completions``.

Owns: realtime chat, flex chat (which always blocks) and the plain completions that are only proxied. Must not
import the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.call import EventStream, check_background_tier, decode, service_tier, strip_stored
from dw_agents.emulator.errors import Refused, Reply, invalid_request, json_reply, proxy_error
from dw_agents.emulator.jobs import Job, new_id
from dw_agents.emulator.objects import error_type
from dw_agents.emulator.reasoning import reasoning_refusal
from dw_agents.emulator.responses import held_events, replay, timed_out
from dw_agents.emulator.sse import DONE, chat_chunks, chat_replay, data

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from dw_agents.emulator.call import Call
    from dw_agents.emulator.service import Service

__all__ = ["complete_text", "create", "text_completion", "unusable", "unusable_prompt"]

_CANCELLED = 499


async def create(call: Call) -> Reply | EventStream:
    """Answer ``POST /chat/completions``; there is no 202 here, whatever ``background`` says."""
    body = decode(call.body)
    tier = service_tier(body)
    if tier == "background":
        check_background_tier(body, responses=False)
    return await (_flex(call, body) if tier == "flex" else _realtime(call, body))


async def _flex(call: Call, body: dict[str, Any]) -> Reply | EventStream:
    service = call.service
    model = body.get("model")
    account = call.submitter(model if isinstance(model, str) else "")
    job = Job(
        tier="flex",
        endpoint="/chat/completions",
        body=strip_stored(body),
        owner=account.owner,
        created=service.clock.now(),
        faults=call.job_faults(),
        user_agent=call.headers.get("User-Agent", ""),
    )
    service.submit(job)
    if body.get("stream") is True:
        finished = _flex_replay(job, include_usage=_wants_usage(body))
        return EventStream(held_events(service, job, finished, _late(job, service.settings.blocking_timeout)))
    if not await service.wait(job):
        return timed_out(job, service.settings.blocking_timeout, code=504)
    if job.state == "completed":
        return json_reply(200, job.answer)
    status, error = _failure(job)
    return json_reply(status, {"error": error})


def _failure(job: Job) -> tuple[int, dict[str, Any]]:
    if job.error is None:
        return _CANCELLED, {"message": "request_canceled", "type": error_type(_CANCELLED), "code": _CANCELLED}
    status = job.error.get("code", 500)
    return status, {**job.error, "code": status}


def _flex_replay(job: Job, *, include_usage: bool) -> Iterable[bytes]:
    if job.state == "completed" and job.answer is not None:
        yield from chat_replay(job.answer, include_usage=include_usage)
    else:
        yield data({"error": _failure(job)[1]})
        yield DONE


def _late(job: Job, limit: float) -> Iterable[bytes]:
    yield timed_out(job, limit, code=504).body.join((b"data: ", b"\n\n"))
    yield DONE


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


async def _realtime(call: Call, body: dict[str, Any]) -> Reply | EventStream:
    service = call.service
    problem = unusable(body)
    if problem is not None:
        return problem
    account = call.caller(body["model"])
    refusal = reasoning_refusal(body)
    if refusal is not None:
        return refusal
    faults = call.job_faults()
    job = Job(
        tier="priority",
        endpoint="/chat/completions",
        body=strip_stored(body),
        owner=account.owner,
        created=service.clock.now(),
        state="in_progress",
        faults=faults,
    )
    try:
        answer = await service.realtime_chat(body, faults)
    except UpstreamError as error:
        return _upstream_failed(error)
    answer["id"] = job.id
    job.answer = answer
    streamed = body.get("stream") is True
    item = {"type": "message", "role": "assistant", "content": answer}
    job.complete(service.clock.now(), output=[] if streamed else [item], usage=answer.get("usage"))
    service.jobs.add(job)
    if streamed:
        return replay(chat_chunks(answer, include_usage=_wants_usage(body)))
    return json_reply(200, answer)


def unusable(body: dict[str, Any]) -> Reply | None:
    """The 400 that this body of ``POST /chat/completions`` gets, or none."""
    if not isinstance(body.get("model"), str):
        return proxy_error(400, "The request names no model.", "bad_request", param="model")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        return proxy_error(400, "messages must be an array with at least one message.", "bad_request", param="messages")
    return None


def _upstream_failed(error: UpstreamError) -> Reply:
    return proxy_error(error.status, error.message, "upstream_error", kind=error_type(error.status))


async def complete_text(call: Call) -> Reply:
    """Answer ``POST /completions``: a plain proxy that knows no tiers; streaming is not offered here."""
    try:
        body = decode(call.body)
    except Refused:
        return proxy_error(400, "The body is no JSON object.", "bad_request")
    problem = unusable_prompt(body)
    if problem is not None:
        return problem
    if body.get("stream") is True:
        return invalid_request(400, "the emulator does not stream /completions")
    call.caller(body["model"])
    faults = call.job_faults()
    try:
        answer = await text_completion(call.service, body, lambda chat: call.service.realtime_chat(chat, faults))
    except UpstreamError as error:
        return _upstream_failed(error)
    return json_reply(200, answer)


def unusable_prompt(body: dict[str, Any]) -> Reply | None:
    """The 400 that this body of ``POST /completions`` gets, or none."""
    if not isinstance(body.get("model"), str):
        return proxy_error(400, "The request names no model.", "bad_request", param="model")
    prompts = _prompts(body)
    if not isinstance(prompts, list) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        return proxy_error(400, "prompt must be text or an array of texts.", "bad_request", param="prompt")
    return None


async def text_completion(
    service: Service, body: dict[str, Any], ask: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """Answer a usable body of ``POST /completions`` by asking one chat request for each prompt."""
    answers = [await ask(_as_chat(body, prompt)) for prompt in _prompts(body)]
    return _text_completion(service, body["model"], answers)


def _prompts(body: dict[str, Any]) -> Any:
    prompts = body.get("prompt")
    return [prompts] if isinstance(prompts, str) else prompts


def _as_chat(body: dict[str, Any], prompt: str) -> dict[str, Any]:
    chat: dict[str, Any] = {"model": body["model"], "messages": [{"role": "user", "content": prompt}]}
    for name in ("max_tokens", "temperature", "top_p", "stop", "seed"):
        if name in body:
            chat[name] = body[name]
    return chat


def _text_completion(service: Service, model: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
    choices = []
    for index, answer in enumerate(answers):
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
        choices.append({"index": index, "text": text, "logprobs": None, "finish_reason": choice["finish_reason"]})
        for name in usage:
            usage[name] += (answer.get("usage") or {}).get(name, 0)
    return {
        "id": new_id(),
        "object": "text_completion",
        "created": int(service.clock.now()),
        "model": model,
        "choices": choices,
        "usage": usage,
    }
