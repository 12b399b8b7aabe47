"""Does a value fit a JSON schema? And can it be made to fit?

Owns: ``fits`` (the keywords that tool schemas and structured output use), ``fit`` (text, numbers and
single-item lists converted to the type a schema asks for) and ``resolve`` (``$ref`` and ``allOf``
flattened). Must not import the conversation or the backends: schema and value in, verdict out.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MISSING", "Schema", "fit", "fits", "resolve", "types"]

Schema = dict[str, Any]

MISSING: Any = object()
"""Stands for "no value", since ``None`` is a JSON value."""

_MAX_HOPS = 32


def resolve(schema: Any, root: Schema) -> Schema:
    """Flatten ``$ref`` and ``allOf`` of one level; keys beside a reference win.

    Args:
        schema: a JSON schema; ``True`` and ``None`` mean "anything".
        root: the document that ``#/...`` references point into.

    Raises:
        ValueError: the schema is ``False``, or a reference points nowhere or in a circle.
    """
    if schema is False:
        raise ValueError("the schema false admits no value")
    flat: Schema = dict(schema) if isinstance(schema, dict) else {}
    for _ in range(_MAX_HOPS):
        if "$ref" in flat:
            reference = flat.pop("$ref")
            flat = _merge(_lookup(reference, root), flat)
        elif "allOf" in flat:
            for part in flat.pop("allOf"):
                flat = _merge(resolve(part, root), flat)
        else:
            return flat
    raise ValueError("the schema's references go round in a circle")


def types(schema: Schema) -> list[str]:
    """Return the types a resolved schema names, or the one its keywords imply; empty when any will do."""
    named = schema.get("type")
    if isinstance(named, str):
        return [named]
    if isinstance(named, list):
        return [str(name) for name in named]
    if "properties" in schema or "required" in schema:
        return ["object"]
    if "items" in schema or "prefixItems" in schema:
        return ["array"]
    return []


def fits(value: Any, schema: Any, root: Schema) -> bool:
    """Tell whether ``value`` is valid under the schema."""
    try:
        flat = resolve(schema, root)
    except ValueError:
        return False
    if "const" in flat and value != flat["const"]:
        return False
    if "enum" in flat and value not in flat["enum"]:
        return False
    variants = flat.get("anyOf") or flat.get("oneOf")
    if variants and not any(fits(value, variant, root) for variant in variants):
        return False
    names = types(flat)
    if names and not any(_IS[name](value) for name in names if name in _IS):
        return False
    return _details_fit(value, flat, root)


def fit(value: Any, schema: Any, root: Schema) -> Any:
    """Return ``value``, or what it converts to, if that is valid under the schema; else ``MISSING``."""
    for converted in (value, *_conversions(value)):
        if fits(converted, schema, root):
            return converted
    return MISSING


def _conversions(value: Any) -> list[Any]:
    """Other readings of a value, the nearest first."""
    match value:
        case str():
            return _readings(value.strip())
        case bool() | None:
            return []
        case int():
            return [str(value)]
        case float():
            return [int(value), str(value)] if value.is_integer() else [str(value)]
        case [first, *_]:
            return [first]
        case _:
            return []


def _readings(text: str) -> list[Any]:
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return [int(text), float(text)]
    if re.fullmatch(r"[+-]?\d+\.\d+", text):
        return [float(text)]
    return [text.lower() == "true"] if text.lower() in ("true", "false") else []


def _lookup(reference: str, root: Schema) -> Schema:
    node: Any = root
    for token in reference.removeprefix("#").split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or key not in node:
            raise ValueError(f"the schema reference {reference!r} points nowhere")
        node = node[key]
    if not isinstance(node, dict):
        raise ValueError(f"the schema reference {reference!r} does not point to a schema")  # noqa: TRY004 (one error)
    return dict(node)


def _merge(base: Schema, over: Schema) -> Schema:
    merged = {**base, **over}
    if "properties" in base and "properties" in over:
        merged["properties"] = {**base["properties"], **over["properties"]}
    if "required" in base and "required" in over:
        merged["required"] = list(dict.fromkeys([*base["required"], *over["required"]]))
    return merged


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_IS: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _details_fit(value: Any, schema: Schema, root: Schema) -> bool:
    if isinstance(value, str):
        return _string_fits(value, schema)
    if _is_number(value):
        return _number_fits(value, schema)
    if isinstance(value, list):
        return _array_fits(value, schema, root)
    if isinstance(value, dict):
        return _object_fits(value, schema, root)
    return True


_FORMATS: Mapping[str, str] = {
    "date-time": r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?",
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?",
    "duration": r"P(?=.)(\d+[YMWD])*(T(\d+[HMS])+)?",
    "email": r"[^@\s]+@[^@\s]+\.[^@\s]+",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:\S+",
    "url": r"[A-Za-z][A-Za-z0-9+.-]*://\S+",
    "uuid": r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "ipv4": r"\d{1,3}(\.\d{1,3}){3}",
    "ipv6": r"[0-9A-Fa-f:]+:[0-9A-Fa-f:]*",
    "hostname": r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*",
}


def _string_fits(value: str, schema: Schema) -> bool:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        return False
    if (form := _FORMATS.get(schema.get("format", ""))) and not re.fullmatch(form, value):
        return False
    pattern = schema.get("pattern")
    try:
        return pattern is None or re.search(pattern, value) is not None
    except re.error:
        return False


def _number_fits(value: float, schema: Schema) -> bool:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    if not (low <= value <= high and above < value < below):
        return False
    step = schema.get("multipleOf")
    return not step or math.isclose(value / step, round(value / step), abs_tol=1e-9)


def _array_fits(value: list[Any], schema: Schema, root: Schema) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        return False
    if schema.get("uniqueItems") and any(item in value[:index] for index, item in enumerate(value)):
        return False
    heads = schema.get("prefixItems", [])
    rest = schema.get("items", True)
    if rest is False and len(value) > len(heads):
        return False
    pairs = zip(value, [*heads, *[rest] * len(value)], strict=False)
    return all(fits(item, item_schema, root) for item, item_schema in pairs)


def _object_fits(value: dict[str, Any], schema: Schema, root: Schema) -> bool:
    if any(key not in value for key in schema.get("required", [])):
        return False
    properties = schema.get("properties", {})
    extra = schema.get("additionalProperties", True)
    return all(
        fits(item, properties[key], root) if key in properties else extra is not False and fits(item, extra, root)
        for key, item in value.items()
    )
