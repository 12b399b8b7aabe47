"""A deterministic value for a JSON schema.

Owns: ``build``, which fills a schema from a source of facts and otherwise from the schema's own enumerations,
defaults and limits. Must not import the conversation: what is known comes through the ``Source`` protocol.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from dw_agents.emulator.backends.check import MISSING, Schema, fit, fits, resolve, types
from dw_agents.emulator.backends.pattern import example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["NOTHING", "Source", "UnsatisfiableError", "build"]


class UnsatisfiableError(ValueError):
    """No value was found that the schema admits."""


class Source(Protocol):
    """What is known about the values that a schema asks for."""

    def known(self, name: str, schema: Schema) -> Iterable[Any]:
        """Values for the property ``name``, the best first; the first one that fits the schema is taken."""

    def used(self, value: Any) -> None:
        """Hear that ``value`` was taken, so that two properties do not share one number."""

    def words(self, name: str) -> str:
        """Text for a string that nothing else decides."""


class _Nothing:
    """A source that knows nothing."""

    def known(self, name: str, schema: Schema) -> Iterable[Any]:  # noqa: ARG002 (the protocol's signature)
        return ()

    def used(self, value: Any) -> None:
        """Nothing to remember."""

    def words(self, name: str) -> str:
        return name or "text"


NOTHING: Source = _Nothing()

_FORMATS: Mapping[str, str] = {
    "date-time": "2025-01-01T00:00:00Z",
    "date": "2025-01-01",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
    "byte": "dGV4dA==",
}


def build(schema: Any, source: Source = NOTHING, *, every: bool = True, name: str = "") -> Any:
    """Return a value that is valid under ``schema``, the same one for the same facts.

    In order: ``const``; what the source knows; ``default``, first example, first ``enum`` entry; the first
    variant of ``anyOf`` or ``oneOf`` that can be filled (``null`` last); else a plain value of the type,
    inside its limits.

    Args:
        schema: the JSON schema, with its own ``$defs`` if it needs any.
        source: what is known.
        every: fill optional properties too; ``False`` fills those for which the source knows a value.
        name: what the value is called, for the source.

    Raises:
        UnsatisfiableError: the schema contradicts itself, or a recursion has no end, or its pattern is not
        understood.
    """
    root: Schema = schema if isinstance(schema, dict) else {}
    try:
        value = _Builder(root, source, every=every).value(schema, name, ())
    except (ValueError, TypeError, AttributeError) as error:
        raise UnsatisfiableError(str(error)) from error
    if not fits(value, schema, root):
        raise UnsatisfiableError(f"no value found for the schema {name or root.get('title') or 'given'!r}")
    return value


class _Builder:
    """Walks one schema; ``trail`` is the chain of references above a value."""

    def __init__(self, root: Schema, source: Source, *, every: bool) -> None:
        self._root = root
        self._source = source
        self._every = every
        self._by_type: Mapping[str, Callable[[Schema, str, tuple[str, ...]], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._number,
            "number": self._number,
            "boolean": lambda _schema, _name, _trail: True,
            "null": lambda _schema, _name, _trail: None,
        }

    def value(self, schema: Any, name: str, trail: tuple[str, ...]) -> Any:
        """Fill one schema."""
        if isinstance(schema, dict) and "$ref" in schema:
            reference = str(schema["$ref"])
            if reference in trail:
                raise UnsatisfiableError(f"the schema of {name!r} contains itself without end")
            trail = (*trail, reference)
        flat = resolve(schema, self._root)
        if "const" in flat:
            return flat["const"]
        if (known := self._known(flat, name)) is not MISSING:
            return known
        if (stated := self._stated(flat)) is not MISSING:
            return stated
        for key in ("anyOf", "oneOf"):
            if flat.get(key):
                return self._variant(flat, flat[key], name, trail)
        return self._typed(flat, name, trail)

    def _known(self, schema: Schema, name: str) -> Any:
        for candidate in self._source.known(name, schema):
            value = fit(candidate, schema, self._root)
            if value is not MISSING:
                self._source.used(candidate)
                return value
        return MISSING

    def _stated(self, schema: Schema) -> Any:
        stated = [schema["default"]] if schema.get("default") is not None else []
        stated += schema.get("examples", []) or ([schema["example"]] if "example" in schema else [])
        stated += [entry for entry in schema.get("enum", []) if entry is not None]
        return next((value for value in stated if fits(value, schema, self._root)), MISSING)

    def _variant(self, schema: Schema, variants: list[Any], name: str, trail: tuple[str, ...]) -> Any:
        beside = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
        failures: list[str] = []
        for variant in sorted(variants, key=lambda one: isinstance(one, dict) and one.get("type") == "null"):
            merged = {**beside, **variant} if isinstance(variant, dict) else variant
            try:
                value = self.value(merged, name, trail)
            except ValueError as error:
                failures.append(str(error))
                continue
            if fits(value, schema, self._root):
                return value
        raise UnsatisfiableError("; ".join(failures) or f"no variant of {name!r} admits a value")

    def _typed(self, schema: Schema, name: str, trail: tuple[str, ...]) -> Any:
        names = types(schema) or ["string"]
        chosen = next((one for one in names if one != "null"), names[0])
        if chosen not in self._by_type:
            raise UnsatisfiableError(f"the schema of {name!r} has the unknown type {chosen!r}")
        return self._by_type[chosen](schema, name, trail)

    def _object(self, schema: Schema, _name: str, trail: tuple[str, ...]) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        required = schema.get("required", [])
        filled: dict[str, Any] = {}
        for key, property_schema in properties.items():
            try:
                value = self._property(key, property_schema, trail, required=key in required)
            except ValueError:
                if key in required:
                    raise
                continue
            if value is not MISSING:
                filled[key] = value
        rest = schema.get("additionalProperties", True)
        for key in required:
            if key not in filled:
                filled[key] = self.value(rest, key, trail)
        return filled

    def _property(self, name: str, schema: Any, trail: tuple[str, ...], *, required: bool) -> Any:
        if required:
            return self.value(schema, name, trail)
        if not self._every:
            return self._known(resolve(schema, self._root), name)
        return self.value(schema, name, trail)

    def _array(self, schema: Schema, name: str, trail: tuple[str, ...]) -> list[Any]:
        heads: list[Any] = schema.get("prefixItems", [])
        items = schema.get("items", True)
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", math.inf)
        values = [self.value(head, name, trail) for head in heads]
        wanted = max(least, min(1, most)) if items is not False and not heads else least
        if not least and isinstance(items, dict) and items.get("$ref") in trail:
            wanted = 0
        single = name.removesuffix("s")
        while len(values) < wanted:
            value = self.value(items, single, trail)
            if schema.get("uniqueItems") and value in values:
                value = self._another(items, values)
            values.append(value)
        return values

    def _another(self, items: Any, taken: list[Any]) -> Any:
        """Return a value that differs from those taken."""
        flat = resolve(items, self._root)
        offered = flat.get("enum") or [
            candidate
            for number in range(len(taken) + 1)
            for candidate in (flat.get("minimum", 1) + number, f"{taken[0]} {number + 2}")
        ]
        for value in offered:
            if value not in taken and fits(value, flat, self._root):
                return value
        raise UnsatisfiableError("the schema asks for more unique items than were found")

    def _string(self, schema: Schema, name: str, _trail: tuple[str, ...]) -> str:
        if "pattern" in schema:
            return example(schema["pattern"], schema.get("minLength", 0))
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._source.words(name) or name or "text"
        while len(text) < schema.get("minLength", 0):
            text = f"{text} {text}"
        if "maxLength" in schema:
            text = text[: schema["maxLength"]]
        return text

    def _number(self, schema: Schema, name: str, _trail: tuple[str, ...]) -> float:
        whole = "integer" in types(schema)
        step = schema.get("multipleOf") or (1 if whole else 0)
        low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
        high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
        inside = (low + high) / 2 if math.isfinite(low) and math.isfinite(high) else low + 1
        candidates = [1, low, inside, high, high - 1, 0]
        for candidate in candidates:
            if not math.isfinite(candidate):
                continue
            for value in _steps(candidate, step):
                number = int(value) if whole or float(value).is_integer() else value
                if fits(number, schema, self._root):
                    return number
        raise UnsatisfiableError(f"no number fits the limits of {name!r}")


def _steps(value: float, step: float) -> tuple[float, ...]:
    """Return the value itself, or the multiples of ``step`` beside it."""
    if not step:
        return (value,)
    return (math.floor(value / step) * step, math.ceil(value / step) * step)
