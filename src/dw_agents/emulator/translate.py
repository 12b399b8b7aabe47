"""From a Responses request to the chat request that the model behind it gets.

Owns: the parse rules of ``POST /responses`` and what is forwarded, renamed or silently dropped on the way.
Pure; must not import anything of the server. Fields that have no place in the result (``seed``, ``metadata``,
``include``, penalties, ``logprobs`` and every unknown one) are lost here, as they are on the service.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["BadBodyError", "to_chat"]

_SKIPPED_TOOLS = frozenset(
    {"code_interpreter", "computer_use_preview", "file_search", "hosted_tool", "mcp", "web_search_preview"}
)
_SAMPLING: dict[str, tuple[type, ...]] = {
    "temperature": (int, float),
    "top_p": (int, float),
    "max_output_tokens": (int,),
    "stop": (str, list),
    "parallel_tool_calls": (bool,),
    "user": (str,),
}


class BadBodyError(ValueError):
    """The body is no Responses request; the text says where."""

    def __init__(self, where: str) -> None:
        super().__init__(f"invalid OpenAI Responses request: {where}")


def to_chat(body: dict[str, Any]) -> dict[str, Any]:
    """Translate one body of ``POST /responses``.

    Args:
        body: the decoded request.

    Returns:
        The body of ``POST /chat/completions``: ``model``, ``messages``, and of ``temperature``, ``top_p``,
        ``max_tokens``, ``stop``, ``tools``, ``tool_choice``, ``parallel_tool_calls``, ``user``,
        ``reasoning_effort`` and ``response_format`` what the request asked for. Never streamed.

    Raises:
        BadBodyError: the request does not parse.
    """
    model = body.get("model")
    if not isinstance(model, str):
        _bad("model", "a string", model)
    chat: dict[str, Any] = {"model": model, "messages": _messages(body), **_sampling(body)}
    if body.get("truncation") not in (None, "auto", "disabled"):
        _bad("truncation", "auto or disabled", body["truncation"])
    tools = _tools(body.get("tools"))
    if tools:
        chat["tools"] = tools
    if body.get("tool_choice") is not None:
        chat["tool_choice"] = _tool_choice(body["tool_choice"])
    effort = _object(body, "reasoning").get("effort")
    if effort is not None:
        if not isinstance(effort, str):
            _bad("reasoning.effort", "a string", effort)
        chat["reasoning_effort"] = effort
    response_format = _response_format(_object(body, "text").get("format"))
    if response_format is not None:
        chat["response_format"] = response_format
    return chat


def _sampling(body: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, kinds in _SAMPLING.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            _bad(name, " or ".join(kind.__name__ for kind in kinds), value)
        kept["max_tokens" if name == "max_output_tokens" else name] = value
    if kept.get("max_tokens", 0) < 0:
        _bad("max_output_tokens", "zero or more", kept["max_tokens"])
    return kept


def _bad(where: str, wanted: str, got: Any) -> NoReturn:
    shown = repr(got)
    raise BadBodyError(f"{where} must be {wanted}, not {shown[:80]}")


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        _bad(name, "an object", value)
    return value


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    instructions = body.get("instructions")
    if instructions is not None:
        if not isinstance(instructions, str):
            _bad("instructions", "a string", instructions)
        messages.append({"role": "system", "content": instructions})
    given = body.get("input")
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
    elif isinstance(given, list):
        for index, item in enumerate(given):
            _add_item(messages, item, f"input[{index}]")
    else:
        _bad("input", "a string or an array of items", given)
    return messages


def _add_item(messages: list[dict[str, Any]], item: Any, where: str) -> None:
    if not isinstance(item, dict):
        _bad(where, "an object", item)
    kind = item.get("type", "message")
    if not isinstance(kind, str):
        _bad(f"{where}.type", "a string", kind)
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str):
            _bad(f"{where}.role", "a string", role)
        messages.append({"role": role, "content": _content(item.get("content"), f"{where}.content")})
    elif kind == "function_call":
        call_id, name, arguments = (_text(item, field, where) for field in ("call_id", "name", "arguments"))
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": None})
        messages[-1].setdefault("tool_calls", []).append(call)
    elif kind == "function_call_output":
        call_id, output = (_text(item, field, where) for field in ("call_id", "output"))
        messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
    # Everything else (reasoning, item_reference, unknown types) vanishes without an error.


def _text(item: dict[str, Any], field: str, where: str) -> str:
    value = item.get(field)
    if not isinstance(value, str):
        _bad(f"{where}.{field}", "a string", value)
    return value


def _content(content: Any, where: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        _bad(where, "a string or an array of parts", content)
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        converted = _part(part, f"{where}[{index}]")
        if converted is not None:
            parts.append(converted)
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(part: Any, where: str) -> dict[str, Any] | None:
    if not isinstance(part, dict):
        _bad(where, "an object", part)
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": _text(part, "text", where)}
    if kind == "refusal":
        return {"type": "text", "text": _text(part, "refusal", where)}
    if kind == "input_file":
        return None
    if kind == "input_image":
        if part.get("image_url") is None:
            return None
        image: dict[str, Any] = {"url": _text(part, "image_url", where)}
        if part.get("detail") is not None:
            image["detail"] = _text(part, "detail", where)
        return {"type": "image_url", "image_url": image}
    raise BadBodyError(f"{where}.type: unknown kind of content part {kind!r}")


def _tools(tools: Any) -> list[dict[str, Any]]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        _bad("tools", "an array", tools)
    converted: list[dict[str, Any]] = []
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            _bad(where, "an object", tool)
        kind = tool.get("type")
        if kind in _SKIPPED_TOOLS:
            continue
        if kind != "function":
            raise BadBodyError(f"{where}.type: unknown kind of tool {kind!r}")
        for field in ("name", "description", "parameters"):
            if field not in tool:
                raise BadBodyError(f"{where}: missing field `{field}`")
        parameters = tool["parameters"]
        if isinstance(parameters, dict):
            parameters = {**parameters, "additionalProperties": False}
        function = {
            "name": _text(tool, "name", where),
            "description": _text(tool, "description", where),
            "parameters": parameters,
            "strict": True if tool.get("strict") is None else tool["strict"],
        }
        converted.append({"type": "function", "function": function})
    return converted


def _tool_choice(choice: Any) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    _bad("tool_choice", "a string or a named function", choice)


def _response_format(wanted: Any) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        _bad("text.format", "an object", wanted)
    kind = wanted.get("type")
    if kind in ("text", "json_object"):
        return {"type": kind}
    if kind == "json_schema":
        schema = {name: wanted[name] for name in ("name", "schema", "strict") if name in wanted}
        _text(wanted, "name", "text.format")
        if not isinstance(schema.get("schema"), dict):
            _bad("text.format.schema", "an object", wanted.get("schema"))
        return {"type": "json_schema", "json_schema": schema}
    raise BadBodyError(f"text.format.type: unknown format {kind!r}")
