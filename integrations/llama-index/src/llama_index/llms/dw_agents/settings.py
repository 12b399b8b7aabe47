"""What is said about a call: what travels in its body, and how it travels.

Owns: the split of a call's arguments into the two, the checks on both, the body and the step that they make. Must not
import the LLM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dw_agents import Step
from dw_agents.adapting.items import fitted
from dw_agents.adapting.settings import check_heartbeat, check_model_name, check_tier, check_timeout, check_window
from dw_agents.errors import InvalidStep
from llama_index.llms.dw_agents.schemas import strict_format
from llama_index.llms.dw_agents.tools import normal_choice, normal_tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llama_index.llms.dw_agents.fields import Fields

__all__ = ["Travel", "body_of", "split", "step_of"]

_SAMPLING: Final = ("model", "temperature", "top_p", "max_tokens", "stop", "reasoning_effort", "parallel_tool_calls")
"""Fields of the LLM that travel in the body."""

_OF_THE_LLM: Final[Mapping[str, str]] = {
    "api_base": "api_base",
    "extra_headers": "default_headers",
    "extra_query": "base_url",
}
"""Under other names than those of its fields; and the field that is meant."""

_CONVERSATION: Final = ("input", "messages")


class Travel(TypedDict):
    """How a call travels, as opposed to what it asks."""

    service_tier: str
    completion_window: str | None
    on_unknown: str | None
    timeout: float | None
    max_retries: int | None
    heartbeat: float | None
    run: str
    label: str
    scope: str


def split(llm: Fields, kwargs: Mapping[str, Any]) -> tuple[Travel, dict[str, Any]]:
    """Split what is said about a call.

    A call's own arguments come before ``additional_kwargs``, and these before the LLM's fields.

    Returns:
        How the call travels, and what goes into its body, under LlamaIndex's names.

    Raises:
        InvalidStep: a setting that cannot hold; names it and the mend.
    """
    said = _checked(type(llm), {**llm.additional_kwargs, **kwargs})
    per_call = {*_SAMPLING, *Travel.__annotations__}
    for name in said:
        if name in _OF_THE_LLM or (name in type(llm).model_fields and name not in per_call):
            raise InvalidStep(
                f"{name} cannot be given per call: it belongs to the LLM. Instead: "
                f"DoublewordLLM({_OF_THE_LLM.get(name, name)}=...).",
                field=name,
            )

    def setting(name: str) -> Any:
        return said.pop(name) if name in said else getattr(llm, name)

    window_said = "completion_window" in said
    travel = Travel(
        service_tier=setting("service_tier"),
        completion_window=setting("completion_window"),
        on_unknown=setting("on_unknown"),
        timeout=setting("timeout"),
        max_retries=setting("max_retries"),
        heartbeat=setting("heartbeat"),
        run=setting("run"),
        label=setting("label"),
        scope=str(said.pop("scope", "")),
    )
    check_tier(travel["service_tier"])
    check_timeout(travel["timeout"])
    check_heartbeat(travel["heartbeat"])
    if travel["service_tier"] != "batch" and not window_said:
        travel["completion_window"] = None  # the LLM's window is for its own tier; this call chose another
    check_window(travel["completion_window"], travel["service_tier"])
    return travel, {**{name: getattr(llm, name) for name in _SAMPLING}, **said}


@cache
def _checks(kind: type[BaseModel]) -> Mapping[str, TypeAdapter[Any]]:
    lenient = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)
    checks: dict[str, TypeAdapter[Any]] = {}
    for name, field in kind.model_fields.items():
        if name in (*_SAMPLING, *Travel.__annotations__):
            allowed: Any = Annotated[field.annotation, field]
            checks[name] = TypeAdapter(allowed, config=lenient)
    return checks


def _checked(kind: type[BaseModel], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a call's arguments to what the fields of the same name allow."""
    checks = _checks(kind)
    checked = dict(kwargs)
    for name in kwargs.keys() & checks.keys():
        try:
            checked[name] = checks[name].validate_python(kwargs[name])
        except ValidationError as error:
            reasons = "; ".join(sorted({one["msg"] for one in error.errors()}))
            raise InvalidStep(f"{name}={kwargs[name]!r} cannot hold: {reasons}.", field=name) from None
    return checked


def body_of(asked: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make the JSON body of ``/responses``.

    Args:
        asked: what goes into it, under LlamaIndex's names; see ``split``.
        items: the input.

    Raises:
        InvalidStep: something in it cannot be carried; names it and the mend.
    """
    check_model_name(asked.get("model"))
    body: dict[str, Any] = {"input": list(items)}
    for name, value in asked.items():
        if value is not None:
            _INTO_BODY.get(name, _as_it_is)(body, name, value)
    if not body.get("tools"):
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(name, None)
    return fitted(body)


def _as_it_is(body: dict[str, Any], name: str, value: Any) -> None:
    _check_conversation([name])
    body[name] = value


def _check_conversation(names: Iterable[str]) -> None:
    """Refuse a second conversation: one of the two would be lost without a word."""
    for name in names:
        if name in _CONVERSATION:
            raise InvalidStep(
                f"{name} would replace the messages of this call. Instead: give them to chat or achat.", field=name
            )


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidStep(f"{name}={value!r} must be a dictionary.", field=name)


def _limit(body: dict[str, Any], _: str, value: Any) -> None:
    body["max_output_tokens"] = value


def _stop(body: dict[str, Any], _: str, value: Any) -> None:
    if value:
        body["stop"] = [value] if isinstance(value, str) else list(value)


def _effort(body: dict[str, Any], _: str, value: Any) -> None:
    body["reasoning"] = {**body.get("reasoning", {}), "effort": value}


def _reasoning(body: dict[str, Any], name: str, value: Any) -> None:
    _check_mapping(name, value)
    body["reasoning"] = {**body.get("reasoning", {}), **value}


def _tools(body: dict[str, Any], name: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(tool, Mapping) for tool in value):
        raise InvalidStep(
            f"{name}={value!r} must be a list of the API's dictionaries. Instead, for tools of LlamaIndex: "
            "chat_with_tools or achat_with_tools.",
            field=name,
        )
    body["tools"] = [normal_tool(tool) for tool in value]


def _images(_: dict[str, Any], name: str, value: Any) -> None:
    """Refuse the images of LlamaIndex's former multi-modal LLMs, which the answer would silently be without."""
    if value:
        raise InvalidStep(
            f"{name} cannot be carried beside a prompt. Instead: chat, with an ImageBlock in a user message.",
            field=name,
        )


def _choice(body: dict[str, Any], _: str, value: Any) -> None:
    body["tool_choice"] = normal_choice(value)


def _extra(body: dict[str, Any], name: str, value: Any) -> None:
    _check_mapping(name, value)
    _check_conversation(value)
    body.update(value)


def _format(body: dict[str, Any], _: str, value: Any) -> None:
    """Take a class, or a format in the shape of chat completions or of ``/responses``."""
    chosen: Any = value
    if isinstance(value, type) and issubclass(value, BaseModel):
        chosen = strict_format(value)
    elif isinstance(value, Mapping) and isinstance(value.get("json_schema"), Mapping):
        chosen = {"type": "json_schema", **value["json_schema"]}
    if not isinstance(chosen, Mapping) or chosen.get("type") not in ("text", "json_object", "json_schema"):
        raise InvalidStep(
            f"response_format={value!r} is neither a class that a strict schema can describe nor a format that the API "
            "knows. Instead: llm.as_structured_llm(YourClass), or {'type': 'json_schema', 'name': ..., 'schema': ...}.",
            field="response_format",
        )
    body["text"] = {**body.get("text", {}), "format": dict(chosen)}


_INTO_BODY: Final[Mapping[str, Callable[[dict[str, Any], str, Any], None]]] = {
    "max_tokens": _limit,
    "max_completion_tokens": _limit,
    "stop": _stop,
    "reasoning_effort": _effort,
    "reasoning": _reasoning,
    "tools": _tools,
    "tool_choice": _choice,
    "extra_body": _extra,
    "image_documents": _images,
    "response_format": _format,
}


def step_of(body: Mapping[str, Any], travel: Travel) -> Step:
    """Make the step of a call."""
    return Step(
        endpoint="/responses",
        body=body,
        service_tier=travel["service_tier"],  # type: ignore[arg-type]  # check_tier saw to it
        completion_window=travel["completion_window"],
        timeout=travel["timeout"],
        max_retries=travel["max_retries"],
        on_unknown=travel["on_unknown"],  # type: ignore[arg-type]  # held to the field's own type
        scope=travel["scope"],
        run=travel["run"],
        label=travel["label"],
    )
