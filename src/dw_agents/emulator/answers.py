"""Getting one answer from the backend, with the faults of a model call applied.

Owns: calling the backend, the daemon's own retries, and bending a good answer into a cut-off, refused,
reasoning or parallel one. Must not import routes or HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dw_agents.emulator.backends.base import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator.backends.base import Backend
    from dw_agents.emulator.clock import Clock
    from dw_agents.emulator.fault import Fault

__all__ = ["Answers", "CancelledUpstream", "NetworkError", "shows_details"]

_RETRIED = frozenset({404, 408, 429, 499})
_SERVER_ERROR = 500
_MAX_BACKOFF = 10.0


class CancelledUpstream(Exception):
    """A fault says that the service cancels this job."""


class NetworkError(Exception):
    """The model server could not be reached: a failure without an HTTP status."""


class Answers:
    """Asks the backend.

    Args:
        backend: what answers.
        clock: service time, for the waits between retries.
        retries: how often a failure that may pass (404, 408, 429, 499, 5xx) is tried again before the job
            fails.
    """

    def __init__(self, backend: Backend, clock: Clock, *, retries: int = 0) -> None:
        self._backend = backend
        self._clock = clock
        self._retries = retries

    async def chat(self, request: dict[str, Any], faults: Sequence[Fault] = (), *, retry: bool) -> dict[str, Any]:
        """Answer a chat request.

        Args:
            request: a body of ``POST /chat/completions``.
            faults: the faults that strike this call.
            retry: a daemon asks, which retries; a realtime call does not.

        Raises:
            UpstreamError: the model refused or failed.
            NetworkError: it could not be reached.
            CancelledUpstream: the service cancelled the job.
        """
        _refuse(faults)
        asked = {name: value for name, value in request.items() if name not in ("stream", "stream_options")}
        answer = await self._patiently(asked, retries=self._retries if retry else 0)
        for fault in faults:
            if fault.kind == "parallel_calls":
                answer = await self._in_parallel(asked, answer)
            else:
                _bend(answer, fault, asked)
        return answer

    async def embed(self, request: dict[str, Any], faults: Sequence[Fault] = ()) -> dict[str, Any]:
        """Answer an embeddings request; raises as ``chat`` does."""
        _refuse(faults)
        answer = await self._backend.embed(request)
        if any(fault.kind == "omit_usage" for fault in faults):
            answer.pop("usage", None)
        return answer

    async def _patiently(self, request: dict[str, Any], *, retries: int) -> dict[str, Any]:
        backoff = 1.0
        while True:
            try:
                return await self._backend.chat(request)
            except UpstreamError as error:
                passing = error.status >= _SERVER_ERROR or error.status in _RETRIED
                if not passing or retries <= 0:
                    raise
            retries -= 1
            await self._clock.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF)

    async def _in_parallel(self, request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """Call two tools (or the only one twice), each with the arguments the backend gives it."""
        tools = request.get("tools") or []
        names = [tool["function"]["name"] for tool in tools]
        if not names:
            return answer
        calls: list[dict[str, Any]] = []
        for number, name in enumerate((names * 2)[:2]):
            forced = {**request, "tool_choice": {"type": "function", "function": {"name": name}}}
            made = (await self._backend.chat(forced))["choices"][0]["message"].get("tool_calls") or []
            calls.extend({**call, "id": f"{call['id']}_{number}"} for call in made[:1])
        choice = answer["choices"][0]
        choice["message"] = {**choice["message"], "content": None, "tool_calls": calls}
        choice["finish_reason"] = "tool_calls"
        return answer


def shows_details(faults: Sequence[Fault]) -> bool:
    """Whether the usage of this model call keeps its breakdowns."""
    return all(fault.kind != "omit_usage_details" for fault in faults)


def _refuse(faults: Sequence[Fault]) -> None:
    for fault in faults:
        if fault.kind == "cancelled":
            raise CancelledUpstream
        if fault.kind in ("fail_job", "fail_line"):
            message = fault.message or f"upstream failed with {fault.code} (injected by the emulator)"
            if fault.code is None:
                reason = {
                    "type": "NetworkError",
                    "details": {"error": fault.message or "connection reset by peer"},
                }
                raise NetworkError(msgspec.json.encode(reason).decode())
            raise UpstreamError(fault.code, message)


def _bend(answer: dict[str, Any], fault: Fault, request: dict[str, Any]) -> None:
    choice = answer["choices"][0]
    message = choice["message"]
    if fault.kind == "truncate":
        text = message.get("content") or ""
        message["content"] = text[: len(text) // 2]
        choice["finish_reason"] = "length"
        limit = request.get("max_tokens") or request.get("max_completion_tokens")
        usage = answer.get("usage")
        if limit is not None and usage is not None:
            usage["completion_tokens"] = limit
            usage["total_tokens"] = usage.get("prompt_tokens", 0) + limit
    elif fault.kind == "refuse":
        refusal = fault.message or "I can't help with that."
        choice["message"] = {"role": "assistant", "content": None, "refusal": refusal}
        choice["finish_reason"] = "stop"
    elif fault.kind == "reasoning":
        message["reasoning_content"] = fault.message or "First I look at what is asked, then I answer it."
        details = (answer.get("usage") or {}).get("completion_tokens_details")
        if details is not None:
            details["reasoning_tokens"] = details.get("reasoning_tokens", 0) + 12
    elif fault.kind == "omit_usage":
        answer.pop("usage", None)
    elif fault.kind == "omit_usage_details" and answer.get("usage") is not None:
        answer["usage"].pop("prompt_tokens_details", None)
        answer["usage"].pop("completion_tokens_details", None)
