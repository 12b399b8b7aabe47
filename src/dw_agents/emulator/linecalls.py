"""One line of a batch at the model: the same calls as the inference routes make, without HTTP around them.

Owns: from a stored request to the body of its answer. Must not import stores, the runner or the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dw_agents.emulator.answers import shows_details
from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.call import strip_stored
from dw_agents.emulator.chat import text_completion, unusable, unusable_prompt
from dw_agents.emulator.embeddings import embed
from dw_agents.emulator.embeddings import unusable as unusable_input
from dw_agents.emulator.jobs import new_id
from dw_agents.emulator.objects import full_object, output_items, response_status, response_usage
from dw_agents.emulator.translate import BadBodyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator.errors import Reply
    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.lines import Request
    from dw_agents.emulator.service import Service

__all__ = ["answer"]


async def answer(service: Service, request: Request, owner: str, faults: Sequence[Fault]) -> dict[str, Any]:
    """The body of the answer to one line.

    Args:
        service: the service.
        request: the line.
        owner: who pays.
        faults: the faults that strike it.

    Raises:
        UpstreamError: it was refused or failed.
        NetworkError: the model could not be reached.
        CancelledUpstream: a fault cancelled it.
    """
    body = strip_stored(request.body)
    endpoint = request.url.removeprefix("/v1")
    if endpoint == "/responses":
        return await _response(service, body, owner, faults)
    if endpoint == "/chat/completions":
        return await _chat(service, body, owner, faults)
    if endpoint == "/embeddings":
        _refuse(unusable_input(body))
        service.check_payer(owner, body["model"])
        return await embed(service, body, faults)
    if endpoint == "/completions":
        _refuse(unusable_prompt(body))
        service.check_payer(owner, body["model"])
        return await text_completion(service, body, lambda chat: service.answers.chat(chat, faults, retry=True))
    raise UpstreamError(404, f"Nothing is served at {request.url}")


async def _response(service: Service, body: dict[str, Any], owner: str, faults: Sequence[Fault]) -> dict[str, Any]:
    try:
        chat = service.runnable("/responses", body, owner)
    except BadBodyError as error:
        raise UpstreamError(400, str(error)) from None
    said = await service.answers.chat(chat, faults, retry=True)
    # The daemon reads a stream, at whose end every response is completed; OpenAI keeps what cut it off.
    cut_off = service.openai and response_status(said) == "incomplete"
    shown = full_object(
        new_id(),
        body,
        created=service.clock.now(),
        status="incomplete" if cut_off else "completed",
        output=output_items(said, streamed=True),
        usage=response_usage(said.get("usage"), details=shows_details(faults)),
        service_tier=said.get("service_tier") or "default",
    )
    if cut_off:
        shown["incomplete_details"] = {"reason": "max_output_tokens"}
    return shown


async def _chat(service: Service, body: dict[str, Any], owner: str, faults: Sequence[Fault]) -> dict[str, Any]:
    _refuse(unusable(body))
    said = await service.answers.chat(service.runnable("/chat/completions", body, owner), faults, retry=True)
    said["id"] = new_id()
    if not service.openai:
        for choice in said["choices"]:
            # The daemon reads the answer as a stream and puts it together without them.
            choice.pop("logprobs", None)
    return said


def _refuse(problem: Reply | None) -> None:
    if problem is not None:
        raise UpstreamError(problem.status, msgspec.json.decode(problem.body)["error"]["message"])
