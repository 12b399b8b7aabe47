"""Schemas narrowed for a grammar, so that a small model ends its strings, lists and numbers.

Owns: ``tighten``. Must not import a backend: schema in, narrower schema out; whatever is valid under the
result is valid under the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents.emulator.backends.check import Schema

__all__ = ["MAX_ITEMS", "MAX_LENGTH", "tighten"]

MAX_LENGTH = 160
"""Characters of a string whose schema sets no limit."""

MAX_ITEMS = 3
"""Items of a list whose schema sets no limit."""

_RANGE = 1_000_000
_OPEN_STRING = {"enum", "const", "pattern", "format", "maxLength"}
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions")
_FORMATS: Mapping[str, str] = {
    "email": "^[a-z]{2,6}@[a-z]{2,6}\\.(com|org)$",
    "uri": "^https://[a-z]{2,6}\\.(com|org)/[a-z]{0,6}$",
    "url": "^https://[a-z]{2,6}\\.(com|org)/[a-z]{0,6}$",
    "ipv4": "^10\\.[0-9]\\.[0-9]\\.[0-9]$",
    "hostname": "^[a-z]{2,6}\\.(com|org)$",
    "duration": "^P[1-9]D$",
}


def tighten(schema: Any) -> Any:
    """Return the schema with bounds where it has none, and objects closed to properties it does not name.

    Formats that grammars do not know become patterns.
    """
    if not isinstance(schema, dict):
        return schema
    narrow: Schema = dict(schema)
    for key in _LISTS:
        if isinstance(narrow.get(key), list):
            narrow[key] = [tighten(part) for part in narrow[key]]
    for key in _MAPS:
        if isinstance(narrow.get(key), dict):
            narrow[key] = {name: tighten(part) for name, part in narrow[key].items()}
    if isinstance(narrow.get("items"), dict):
        narrow["items"] = tighten(narrow["items"])
    named = narrow.get("type")
    for name in named if isinstance(named, list) else [named]:
        _bound(narrow, name)
    return narrow


def _bound(schema: Schema, name: Any) -> None:
    """Set the limits of one type, in place."""
    if name == "string":
        _bound_string(schema)
    elif name == "array":
        schema.setdefault("maxItems", max(MAX_ITEMS, schema.get("minItems", 0)))
    elif name == "integer":
        _bound_integer(schema)
    elif name == "object" and schema.get("properties") and not schema.keys() & {"anyOf", "oneOf", "allOf"}:
        schema["additionalProperties"] = False


def _bound_string(schema: Schema) -> None:
    if form := _FORMATS.get(schema.get("format", "")):
        schema.setdefault("pattern", form)
        del schema["format"]
    if not schema.keys() & _OPEN_STRING:
        schema["maxLength"] = max(MAX_LENGTH, schema.get("minLength", 0))


def _bound_integer(schema: Schema) -> None:
    if schema.keys() & {"enum", "const"}:
        return
    if "exclusiveMinimum" in schema:
        schema["minimum"] = int(schema.pop("exclusiveMinimum")) + 1
    if "exclusiveMaximum" in schema:
        schema["maximum"] = int(schema.pop("exclusiveMaximum")) - 1
    if "minimum" not in schema:
        schema["minimum"] = min(0, schema.get("maximum", 0) - _RANGE)
    schema.setdefault("maximum", schema["minimum"] + _RANGE)
