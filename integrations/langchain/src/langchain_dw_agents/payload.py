"""From LangChain's request payload to the JSON body of ``/responses``.

Owns: what is added to LangChain's conversion (stop sequences), what is taken from it (streaming, Python
classes). Pure; must not import the chat model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dw_agents.adapting.items import fitted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["request_body"]

_NOT_FOR_THE_WIRE: Final = ("stream", "stream_usage", "service_tier", "text_format")


def request_body(payload: Mapping[str, Any], *, stop: list[str] | str | None = None) -> dict[str, Any]:
    """Make the JSON body out of LangChain's payload for the Responses API.

    Args:
        payload: what ``BaseChatOpenAI._get_request_payload`` returned, asked with ``stream=True`` so that a
            schema given as a class is already JSON.
        stop: the stop sequences, which LangChain leaves out of Responses payloads though this service reads
            them.

    Raises:
        InvalidStep: something in it cannot be carried.
    """
    body = {name: value for name, value in payload.items() if name not in _NOT_FOR_THE_WIRE}
    body.update(body.pop("extra_body", None) or {})
    if stop:
        body["stop"] = [stop] if isinstance(stop, str) else list(stop)
    return fitted(body)
