"""The model's settings: where they come from, which are refused, and the step that they make.

Owns: defaults from the environment, the checks on fields (at construction and per call), and the split of a
call's arguments into what travels in the body and what says how it travels. Must not import the chat model.
"""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, Final, TypedDict

from langchain_core.runnables.config import ensure_config
from pydantic import SecretStr
from pydantic.v1 import BaseModel as BaseModelV1

from dw_agents import Engine, Step
from dw_agents.adapting.settings import (
    KEY_VARIABLE,
    address_from_environment,
    check_heartbeat,
    check_model_name,
    check_tier,
    check_timeout,
    check_window,
)
from dw_agents.errors import DwAgentsError, InvalidStep
from langchain_dw_agents.errors import in_langchain_terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_openai.chat_models.base import BaseChatOpenAI

__all__ = [
    "KEY_VARIABLE",
    "Travel",
    "address_from_environment",
    "check",
    "check_heartbeat",
    "check_model_name",
    "check_timeout",
    "engine",
    "is_pydantic_1",
    "key_from_environment",
    "secret",
    "split",
    "step",
    "whereabouts",
]

_NO_CLIENT: Final = "the engine does the talking; configure it with Engine.shared(...) before the first call"
_FIELDS_WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "client": _NO_CLIENT,
    "async_client": _NO_CLIENT,
    "root_client": _NO_CLIENT,
    "root_async_client": _NO_CLIENT,
    "http_client": _NO_CLIENT,
    "http_async_client": _NO_CLIENT,
    "http_socket_options": _NO_CLIENT,
    "default_query": "put what the address needs into base_url",
    "openai_organization": "the key alone says whose account it is",
}


class Travel(TypedDict):
    """How a call travels, as opposed to what it asks."""

    service_tier: str
    completion_window: str | None
    on_unknown: str | None
    timeout: float | None
    max_retries: int | None
    run: str
    heartbeat: float | None


def key_from_environment() -> SecretStr | None:
    """Return the key in ``DOUBLEWORD_API_KEY``, if any."""
    key = os.environ.get(KEY_VARIABLE)
    return SecretStr(key) if key else None


def secret(key: object) -> Any:
    """Wrap a key that is text, so that it shows nowhere.

    Raises:
        InvalidStep: an async function, which could not be called where the key is needed.
    """
    if inspect.iscoroutinefunction(key):
        raise InvalidStep(
            "api_key is an async function; give a string, a SecretStr or a plain function.", field="api_key"
        )
    return SecretStr(key) if isinstance(key, str) else key


def engine(api_key: object, base_url: str | None, headers: Mapping[str, str] | None) -> Engine:
    """Return the engine that everything of one account shares in this process.

    Raises:
        MissingAPIKey: no key in ``api_key``, the environment or ``~/.dw``.
        ConfigurationError: a key or an address that cannot be used.
    """
    try:
        return Engine.shared(api_key=api_key, base_url=base_url, headers=dict(headers) if headers else None)
    except DwAgentsError as error:
        raise in_langchain_terms(error) from None


def check(model: BaseChatOpenAI) -> None:
    """Refuse fields that cannot hold.

    Raises:
        InvalidStep: names the field and the mend (pydantic reports it as a ``ValidationError``).
    """
    check_model_name(model.model_name)
    check_tier(model.service_tier)
    check_timeout(model.request_timeout)
    check_window(getattr(model, "completion_window", None), model.service_tier)
    model.openai_api_key = secret(model.openai_api_key)
    for name, mend in _FIELDS_WITHOUT_EFFECT.items():
        if getattr(model, name) is not None:
            raise InvalidStep(f"{name} has no effect here: {mend}.", field=name)
    _check_streaming_fields(model)


def _check_streaming_fields(model: BaseChatOpenAI) -> None:
    if model.openai_proxy and model.openai_proxy != os.environ.get("OPENAI_PROXY"):
        raise InvalidStep(
            "openai_proxy has no effect here; set HTTPS_PROXY, which the engine honours.",
            field="openai_proxy",
        )
    default_pause = type(model).model_fields["stream_chunk_timeout"].get_default(call_default_factory=True)
    if model.stream_chunk_timeout and model.stream_chunk_timeout != default_pause:
        raise InvalidStep(
            "stream_chunk_timeout cannot hold: the answer comes in one piece, after as long as the tier "
            "takes; use timeout= for a limit on the whole call.",
            field="stream_chunk_timeout",
        )
    if model.include_response_headers:
        raise InvalidStep(
            "include_response_headers cannot hold: a deferred answer has no reply of its own.",
            field="include_response_headers",
        )
    if model.use_responses_api is False:
        raise InvalidStep(
            "use_responses_api=False cannot hold: the deferred tiers are on the Responses API; leave it out.",
            field="use_responses_api",
        )
    if model.use_previous_response_id:
        raise InvalidStep(
            "use_previous_response_id cannot hold: the service cannot load earlier responses; the whole "
            "history is sent each time.",
            field="use_previous_response_id",
        )


def split(model: BaseChatOpenAI, kwargs: Mapping[str, Any]) -> tuple[Travel, dict[str, Any]]:
    """Split a call's arguments; what the call does not say about travelling, the model's fields do.

    Raises:
        InvalidStep: a per-call setting that cannot hold.
    """
    asked = dict(kwargs)

    def setting(name: str, field: str = "") -> Any:
        return asked.pop(name) if name in asked else getattr(model, field or name)

    travel = Travel(
        service_tier=setting("service_tier"),
        completion_window=setting("completion_window"),
        on_unknown=setting("on_unknown"),
        timeout=setting("timeout", "request_timeout"),
        max_retries=setting("max_retries"),
        run=setting("run"),
        heartbeat=setting("heartbeat"),
    )
    check_tier(travel["service_tier"])
    check_timeout(travel["timeout"])
    check_heartbeat(travel["heartbeat"])
    if travel["service_tier"] != "batch" and "completion_window" not in kwargs:
        travel["completion_window"] = None  # the model's window is for its own tier; this call chose another
    if "model" in asked:
        check_model_name(asked["model"])
    for name in ("ls_structured_output_format", "stream", "stream_usage"):
        asked.pop(name, None)
    return travel, asked


def step(body: Mapping[str, Any], travel: Travel, where: tuple[str, str]) -> Step:
    """Make the step of a call.

    Args:
        body: the JSON body.
        travel: how it travels.
        where: its scope and label; see ``whereabouts``.
    """
    scope, label = where
    return Step(
        endpoint="/responses",
        body=body,
        service_tier=travel["service_tier"],  # type: ignore[arg-type]  # check_tier saw to it
        completion_window=travel["completion_window"],
        timeout=travel["timeout"],
        max_retries=travel["max_retries"],
        run=travel["run"],
        on_unknown=travel["on_unknown"],  # type: ignore[arg-type]  # the engine checks it
        scope=scope,
        label=label,
    )


def whereabouts(metadata: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the scope and the label of a call from its run's metadata.

    The scope is LangGraph's checkpoint namespace, which stays the same when a graph is resumed. The label,
    for people, is the agent's name, else the node's.

    Args:
        metadata: of the model's run; None where LangChain gives no run (streams): the enclosing run's then.
    """
    known: Mapping[str, Any] = metadata if metadata is not None else (ensure_config().get("metadata") or {})
    scope = known.get("langgraph_checkpoint_ns") or ""
    label = known.get("lc_agent_name") or known.get("langgraph_node") or ""
    return str(scope), str(label)


def is_pydantic_1(schema: object) -> bool:
    """Whether ``schema`` is a class of pydantic 1."""
    return isinstance(schema, type) and issubclass(schema, BaseModelV1)
