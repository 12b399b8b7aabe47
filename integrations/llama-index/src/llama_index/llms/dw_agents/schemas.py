"""From a pydantic class to what makes a model answer in its form.

Owns: the strict JSON schema of a class, and the verdict that it has none. Pure; must not import the LLM.

A strict schema closes every object and requires every property, so that the output can be constrained to it. It cannot
say "any key" or "anything", nor how a tuple is built; classes that need this are asked for by a function call, whose
schema is a description and no constraint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["ROOT", "function_for", "is_wrapped", "name_of", "strict_format", "strict_schema"]

Schema = dict[str, Any]

ROOT: Final = "value"
"""The property that holds an answer which is no object by itself."""

_NO_STRICT_FORM: Final = ("prefixItems", "patternProperties", "not", "if", "dependentSchemas", "dependentRequired")
_DROPPED: Final = ("default", "discriminator", "uniqueItems")  # the class itself sees to them
_SAYS_WHAT_IT_IS: Final = ("type", "enum", "const", "anyOf", "$ref")


class _Inexpressible(Exception):
    """Strict JSON schema has no words for this."""


def name_of(output_cls: type[BaseModel]) -> str:
    """Return a name for the class's form that the API takes: letters, digits, ``_`` and ``-``, at most 64."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", output_cls.__name__)[:64]


def is_wrapped(output_cls: type[BaseModel]) -> bool:
    """Whether the class's JSON is no object (a ``RootModel`` of a list), so that it travels inside one."""
    return _resolved(output_cls.model_json_schema()).get("type") != "object"


def strict_format(output_cls: type[BaseModel]) -> dict[str, Any] | None:
    """Return the ``text.format`` that constrains an answer to the class; None where no strict schema can."""
    schema = strict_schema(_object_schema(output_cls))
    if schema is None:
        return None
    named: dict[str, Any] = {"type": "json_schema", "name": name_of(output_cls), "strict": True, "schema": schema}
    return named


def function_for(output_cls: type[BaseModel]) -> dict[str, Any]:
    """Return the function tool whose arguments are the class's fields."""
    schema = _object_schema(output_cls)
    return {
        "type": "function",
        "name": name_of(output_cls),
        "description": schema.get("description") or f"Answer in the form of {output_cls.__name__}.",
        "parameters": schema,
        "strict": False,
    }


def strict_schema(schema: Mapping[str, Any]) -> Schema | None:
    """Return the strict form of a JSON schema of an object; None where it has none."""
    try:
        return _strict(schema)
    except _Inexpressible:
        return None


def _object_schema(output_cls: type[BaseModel]) -> Schema:
    schema = output_cls.model_json_schema()
    resolved = _resolved(schema)
    if resolved.get("type") == "object":
        return resolved
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped: Schema = {"type": "object", "properties": {ROOT: inner}, "required": [ROOT]}
    if "$defs" in schema:
        wrapped["$defs"] = schema["$defs"]
    return wrapped


def _resolved(schema: Schema) -> Schema:
    """Replace a reference at the root, where the API wants an object, by what it refers to."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    definitions = schema.get("$defs", {})
    return {**definitions[reference.removeprefix("#/$defs/")], "$defs": definitions}


def _strict(schema: object) -> Schema:
    if not isinstance(schema, Mapping):
        raise _Inexpressible
    kept = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "oneOf" in kept:
        kept["anyOf"] = kept.pop("oneOf")
    if len(kept.get("allOf", ())) == 1:
        kept = {**kept.pop("allOf")[0], **kept}
    if any(word in kept for word in (*_NO_STRICT_FORM, "allOf")) or not any(word in kept for word in _SAYS_WHAT_IT_IS):
        raise _Inexpressible
    if "$ref" in kept and len(kept) > 1 and "$defs" not in kept:
        # A reference stands alone; what was said beside it is said around it.
        kept = {"anyOf": [{"$ref": kept.pop("$ref")}], **kept}
    return _closed({key: _strict_part(key, value) for key, value in kept.items()})


def _strict_part(key: str, value: Any) -> Any:
    if key in ("properties", "$defs"):
        return {name: _strict(one) for name, one in value.items()}
    if key == "anyOf":
        return [_strict(one) for one in value]
    return _strict(value) if key == "items" else value


def _closed(schema: Schema) -> Schema:
    if schema.get("type") == "array" and "items" not in schema:
        raise _Inexpressible
    if schema.get("type") != "object":
        return schema
    if schema.get("additionalProperties") not in (None, False) or "properties" not in schema:
        raise _Inexpressible
    return {**schema, "additionalProperties": False, "required": list(schema["properties"])}
