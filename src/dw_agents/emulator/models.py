"""``GET /models`` and ``GET /healthz``.

Owns: the list of models and its query parameters. Must not import the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dw_agents.emulator.accounts import bearer
from dw_agents.emulator.errors import Reply, json_reply, proxy_error, text_reply
from dw_agents.emulator.reasoning import EFFORTS
from dw_agents.emulator.settings import DEFAULT_MODELS

if TYPE_CHECKING:
    from dw_agents.emulator.call import Call

__all__ = ["health", "list_models"]

_CREATED = 1_700_000_000
_FLAGS = ("available_for_realtime", "include_reasoning_capabilities")


async def list_models(call: Call) -> Reply:
    """Answer ``GET /models``: names only, no prices and no pages."""
    key = bearer(call.headers)
    if key is None:
        return proxy_error(401, "The request carries no API key.", "missing_authorization")
    account = call.service.accounts.known(key)
    if account is None:
        return proxy_error(401, "The API key is not known.", "invalid_api_key")
    query = call.query()
    for name in _FLAGS:
        if query.get(name, "true") not in ("true", "false"):
            return proxy_error(400, f"{name} is true or false.", "invalid_query_parameter", param=name)
    if "group" in query:
        return proxy_error(400, f"There is no group {query['group']!r} here.", "invalid_group", param="group")
    known = call.service.settings.models
    names = [name for name in (DEFAULT_MODELS if known is None else known) if account.may_use(name)]
    listed = [{"id": name, "object": "model", "created": _CREATED, "owned_by": "None"} for name in names]
    if query.get("include_reasoning_capabilities") == "true":
        efforts = {"chat_completions": list(EFFORTS), "responses": list(EFFORTS)}
        return json_reply(
            200,
            {
                "object": "list",
                "data": [{**model, "supported_reasoning_efforts": efforts} for model in listed],
            },
        )
    return json_reply(200, {"object": "list", "data": listed})


async def health(_call: Call) -> Reply:
    """Answer ``GET /healthz``."""
    return text_reply(200, "OK")
