"""``POST /embeddings``: always realtime, whatever tier is asked for.

Owns: checking the request and the encoding of the vectors. Must not import the app.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

from dw_agents.emulator.answers import CancelledUpstream, NetworkError
from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.call import check_background_tier, decode, service_tier
from dw_agents.emulator.errors import Reply, json_reply, proxy_error
from dw_agents.emulator.objects import error_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator.call import Call
    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.service import Service

__all__ = ["create", "embed", "unusable"]


async def create(call: Call) -> Reply:
    """Answer ``POST /embeddings``. ``service_tier: "flex"`` is billed as realtime without a word."""
    body = decode(call.body)
    if service_tier(body) == "background":
        check_background_tier(body, responses=False)
    problem = unusable(body)
    if problem is not None:
        return problem
    call.caller(body["model"])
    service = call.service
    service.counters.called("realtime")
    await service.clock.sleep(service.realtime_latency())
    try:
        return json_reply(200, await embed(service, body, call.job_faults()))
    except UpstreamError as error:
        return _failed(error.status, error.message)
    except NetworkError as error:
        return _failed(502, str(error))
    except CancelledUpstream:
        return _failed(499, "Request was cancelled")


def unusable(body: dict[str, Any]) -> Reply | None:
    """The 400 that this request gets, or none."""
    if not isinstance(body.get("model"), str):
        return proxy_error(400, "The request names no model.", "bad_request", param="model")
    if not _usable_input(body.get("input")):
        message = "input must be text, an array of texts, or arrays of token numbers."
        return proxy_error(400, message, "bad_request", param="input")
    return None


async def embed(service: Service, body: dict[str, Any], faults: Sequence[Fault]) -> dict[str, Any]:
    """Answer a usable request; raises as ``Answers.embed`` does."""
    answer = await service.answers.embed(_asked(body), faults)
    if body.get("encoding_format") == "base64":
        for item in answer["data"]:
            item["embedding"] = _base64(item["embedding"])
    return answer


def _asked(body: dict[str, Any]) -> dict[str, Any]:
    """What the model server sees: how the vectors are written down is this module's business."""
    return {
        name: value for name, value in body.items() if name not in ("service_tier", "background", "encoding_format")
    }


def _usable_input(given: Any) -> bool:
    if isinstance(given, str):
        return True
    if not isinstance(given, list) or not given:
        return False
    texts = all(isinstance(item, str) for item in given)
    tokens = all(isinstance(item, int) for item in given)
    arrays = all(isinstance(item, list) and item and all(isinstance(token, int) for token in item) for item in given)
    return texts or tokens or arrays


def _base64(vector: list[float] | str) -> str:
    if isinstance(vector, str):
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _failed(status: int, message: str) -> Reply:
    return proxy_error(status, message, "upstream_error", kind=error_type(status))
