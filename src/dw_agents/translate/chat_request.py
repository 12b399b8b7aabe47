"""From a chat completion request to a body of ``/responses`` that asks the same.

Owns: what of a chat request ``/responses`` can express on this service, and what no deferred chat call brings back.
Nothing is dropped: a field, a message or a part that is not known to arrive raises ``NotCarried``, so that the call can
travel another way. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dw_agents.adapting.carry import RULES
from dw_agents.errors import InvalidStep

__all__ = ["NotCarried", "refuse_lost", "to_responses"]

_SAME: Final = frozenset({
    "model", "temperature", "top_p", "stop", "parallel_tool_calls", "user", "metadata", "store", "prompt_cache_key",
    "prompt_cache_retention", "safety_identifier",
})  # fmt: skip
_OF_THE_STREAM: Final = frozenset({"stream", "stream_options"})
_REALTIME: Final = 'service_tier="priority" brings it'
_LOST: Final[Mapping[str, tuple[str, str]]] = {
    "n": ("the service gives one answer a call", "the same call n times: the calls travel together"),
    "logprobs": ("deferred answers come without log probabilities", _REALTIME),
    "top_logprobs": ("deferred answers come without log probabilities", _REALTIME),
    "audio": ("deferred answers come without audio", _REALTIME),
    "modalities": ("deferred answers are text", _REALTIME),
}


class NotCarried(Exception):
    """``/responses`` cannot express a part of the request.

    Attributes:
        field: where it stands, for example ``"messages[2].name"``.
        mend: what to do so that it can; empty where nothing would.
    """

    def __init__(self, field: str, mend: str = "") -> None:
        super().__init__(field)
        self.field = field
        self.mend = mend


def refuse_lost(chat: Mapping[str, Any]) -> None:
    """Refuse a chat request whose answer could not come back whole from a deferred tier.

    Raises:
        InvalidStep: names the field and what would work.
    """
    for name, (loss, instead) in _LOST.items():
        value = chat.get(name)
        if name == "modalities" and not isinstance(value, list | None):
            raise InvalidStep(f"modalities={value!r} must be a list.", field=name)
        if value is not None and not RULES[name].idle(value):
            raise InvalidStep(f"{name}={value!r} cannot be carried: {loss}. Instead: {instead}.", field=name)
    if not isinstance(chat.get("messages"), list):
        raise InvalidStep("messages must be a list of messages.", field="messages")


def to_responses(chat: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a body of ``/chat/completions``.

    Args:
        chat: the decoded request; ``stream`` and ``stream_options`` are for who reads the answer.

    Raises:
        NotCarried: a part of it has no place in a Responses request on this service.
    """
    body: dict[str, Any] = {}
    for name, value in chat.items():
        if value is None or name in _OF_THE_STREAM or (name in RULES and RULES[name].idle(value)):
            continue
        if name in _SAME:
            body[name] = value
            continue
        if name not in _OTHERWISE:
            raise NotCarried(name)
        own_name, convert = _OTHERWISE[name]
        converted = convert(value)
        if body.setdefault(own_name, converted) != converted:
            raise NotCarried(name, "give one of max_tokens and max_completion_tokens")
    return body


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise NotCarried(where)
    return value


def _only(value: Any, where: str, *names: str) -> Mapping[str, Any]:
    """Return an object that holds nothing but these fields; what is null or empty asks for nothing."""
    if not isinstance(value, Mapping):
        raise NotCarried(where)
    for name, held in value.items():
        if name not in names and held is not None and held != []:
            raise NotCarried(f"{where}.{name}", _mend(name))
    return value


def _mend(name: str) -> str:
    if name == "name":
        return "write the name into the text"
    if name in {"reasoning", "reasoning_content"}:
        return "leave the thoughts of earlier answers out"
    return ""


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise NotCarried(where)
    return value


class _Messages:
    """Turns messages into input items, one after the other."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._after_assistant = False

    def items(self, messages: Any) -> list[dict[str, Any]]:
        """Return the items of all messages."""
        found: list[dict[str, Any]] = []
        for place, message in enumerate(_list(messages, "messages")):
            where = f"messages[{place}]"
            role = message.get("role") if isinstance(message, Mapping) else None
            if role == "assistant":
                found.extend(self._assistant(message, where))
            elif role == "tool":
                found.append(self._tool(message, where))
            elif role in ("system", "developer", "user"):  # no set: it may be anything
                given = _only(message, where, "role", "content")
                found.append(_message(role, _content(given.get("content"), where)))
            else:
                raise NotCarried(f"{where}.role")
            self._after_assistant = role == "assistant"
        return found

    def _assistant(self, message: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
        given = _only(message, where, "role", "content", "tool_calls")
        calls = given.get("tool_calls") or []
        content = given.get("content")
        if calls and not content and self._after_assistant:
            # The service would add the calls to the message before, and make one of two.
            raise NotCarried(where, "put the calls into the message before")
        found = [] if calls and not content else [_message("assistant", _said(content, where))]
        for place, call in enumerate(_list(calls, f"{where}.tool_calls")):
            found.append(self._call(call, f"{where}.tool_calls[{place}]"))
        return found

    def _call(self, call: Any, where: str) -> dict[str, Any]:
        given = _only(call, where, "id", "type", "function", "index")
        function = _only(given.get("function"), f"{where}.function", "name", "arguments")
        call_id, name = _text(given.get("id"), f"{where}.id"), _text(function.get("name"), f"{where}.function.name")
        self._names[call_id] = name
        return {
            "type": "function_call",
            "call_id": call_id,
            "name": name,
            "arguments": _text(function.get("arguments"), f"{where}.function.arguments"),
        }

    def _tool(self, message: Mapping[str, Any], where: str) -> dict[str, Any]:
        given = _only(message, where, "role", "content", "tool_call_id", "name")
        call_id = _text(given.get("tool_call_id"), f"{where}.tool_call_id")
        if given.get("name") not in (None, self._names.get(call_id)):
            raise NotCarried(f"{where}.name", "leave it out: the call has the name")
        content = given.get("content")
        if isinstance(content, list):
            parts = [_only(part, f"{where}.content", "type", "text") for part in content]
            # Model servers put a newline between the texts of one message.
            content = "\n".join(_text(part.get("text"), f"{where}.content") for part in parts)
        return {"type": "function_call_output", "call_id": call_id, "output": _text(content, f"{where}.content")}


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _content(content: Any, where: str) -> Any:
    if isinstance(content, str):
        return content
    return [_part(part, f"{where}.content[{place}]") for place, part in enumerate(_list(content, f"{where}.content"))]


def _part(part: Any, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        given = _only(part, where, "type", "text")
        return {"type": "input_text", "text": _text(given.get("text"), f"{where}.text")}
    if kind == "image_url":
        image = _only(_only(part, where, "type", "image_url").get("image_url"), f"{where}.image_url", "url", "detail")
        converted = {"type": "input_image", "image_url": _text(image.get("url"), f"{where}.image_url.url")}
        if image.get("detail") is not None:
            converted["detail"] = _text(image["detail"], f"{where}.image_url.detail")
        return converted
    raise NotCarried(where)


def _said(content: Any, where: str) -> Any:
    """Return what the assistant said, which holds nothing but text."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = []
    for place, part in enumerate(_list(content, f"{where}.content")):
        spot = f"{where}.content[{place}]"
        if _only(part, spot, "type", "text").get("type") != "text":
            raise NotCarried(spot)
        parts.append({"type": "output_text", "text": _text(part.get("text"), f"{spot}.text")})
    return parts


def _tool(place: int, tool: Any) -> dict[str, Any]:
    where = f"tools[{place}]"
    given = _only(tool, where, "type", "function")
    if given.get("type") != "function":
        raise NotCarried(f"{where}.type")
    function = _only(given.get("function"), f"{where}.function", "name", "description", "parameters", "strict")
    parameters = function.get("parameters")
    if isinstance(parameters, Mapping) and parameters.get("additionalProperties", False) is not False:
        raise NotCarried(f"{where}.function.parameters.additionalProperties", "name every parameter")
    converted = {
        "type": "function",
        "name": _text(function.get("name"), f"{where}.function.name"),
        # Said, since what chat takes for no is taken for yes where it is not said.
        "strict": function.get("strict") is True,
    }
    for name in ("description", "parameters"):
        if function.get(name) is not None:
            converted[name] = function[name]
    return converted


def _tool_choice(choice: Any) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    function = _only(choice, "tool_choice", "type", "function").get("function")
    return {
        "type": "function",
        "name": _text(_only(function, "tool_choice.function", "name").get("name"), "tool_choice"),
    }


def _format(wanted: Any) -> dict[str, Any]:
    given = _only(wanted, "response_format", "type", "json_schema")
    kind = given.get("type")
    if kind in ("text", "json_object"):
        return {"type": kind}
    if kind != "json_schema":
        raise NotCarried("response_format.type")
    schema = _only(given.get("json_schema"), "response_format.json_schema", "name", "schema", "strict")
    _text(schema.get("name"), "response_format.json_schema.name")
    if not isinstance(schema.get("schema"), Mapping):
        raise NotCarried("response_format.json_schema.schema")
    return {"type": "json_schema", **{name: value for name, value in schema.items() if value is not None}}


_OTHERWISE: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "max_completion_tokens": ("max_output_tokens", lambda value: value),
    "max_tokens": ("max_output_tokens", lambda value: value),
    "messages": ("input", lambda value: _Messages().items(value)),
    "reasoning_effort": ("reasoning", lambda value: {"effort": value}),
    "response_format": ("text", lambda value: {"format": _format(value)}),
    "tool_choice": ("tool_choice", _tool_choice),
    "tools": ("tools", lambda value: [_tool(place, tool) for place, tool in enumerate(_list(value, "tools"))]),
}
"""The field of ``/responses`` for each that has another name or another form there."""
