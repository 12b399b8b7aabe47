"""Values built from JSON schemas; pydantic, which wrote the schemas, judges them."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (pydantic reads the annotations)
import enum
import re
import uuid  # noqa: TC003 (pydantic reads the annotations)
from typing import Annotated, Any, Literal, NotRequired

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, HttpUrl, TypeAdapter
from typing_extensions import TypedDict

from dw_agents.emulator.backends.check import MISSING, fit, fits
from dw_agents.emulator.backends.pattern import example
from dw_agents.emulator.backends.schema import UnsatisfiableError, build
from dw_agents.emulator.backends.tighten import MAX_ITEMS, MAX_LENGTH, tighten


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    kind: Literal["leaf"]
    weight: Annotated[float, Field(gt=0, le=1)]


class Branch(BaseModel):
    kind: Literal["branch"]
    children: list[Branch | Leaf]


class Chain(BaseModel):
    value: int
    following: Chain | None


class Person(BaseModel):
    name: Annotated[str, Field(min_length=3, max_length=20)]
    age: Annotated[int, Field(ge=18, lt=99, multiple_of=5)]
    email: Annotated[str, Field(pattern=r"^[\w.]+@[a-z]+\.(com|org)$")]
    born: dt.date
    seen: dt.datetime
    key: uuid.UUID
    home: HttpUrl
    colour: Colour
    nick: str | None = None
    tags: Annotated[list[str], Field(min_length=2, max_length=4)]
    pair: tuple[int, str]
    scores: dict[str, float]


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@pytest.mark.parametrize("annotation", [Person, Branch, Chain, Movie, Colour, list[Person], int | str, bool])
def test_a_value_is_valid_for_the_type_that_the_schema_describes(annotation: Any) -> None:
    adapter = TypeAdapter[Any](annotation)
    adapter.validate_python(build(adapter.json_schema()))


def test_every_property_is_filled_unless_only_the_required_ones_are_wanted() -> None:
    schema = TypeAdapter(Movie).json_schema()
    assert set(build(schema)) == {"title", "year"}
    assert set(build(schema, every=False)) == {"title"}


def test_a_nullable_property_gets_a_value_and_not_null() -> None:
    assert build(Person.model_json_schema())["nick"] is not None


def test_null_is_the_last_choice_wherever_it_stands() -> None:
    assert build({"anyOf": [{"type": "null"}, {"type": "integer"}]}) == 1
    assert build({"type": ["null", "boolean"]}) is True


def test_a_recursive_schema_ends_at_its_first_repetition() -> None:
    assert build(Chain.model_json_schema())["following"] is None


def test_the_first_entry_of_an_enumeration_and_a_stated_default_win_over_an_invented_value() -> None:
    assert build({"type": "string", "enum": ["b", "a"]}) == "b"
    assert build({"type": "integer", "default": 7}) == 7
    assert build({"type": "string", "examples": ["seen"]}) == "seen"


def test_parts_of_all_of_are_joined() -> None:
    parts = [
        {"properties": {"a": {"const": 1}}, "required": ["a"]},
        {"properties": {"b": {"const": 2}}, "required": ["b"]},
    ]
    assert build({"type": "object", "allOf": parts}) == {"a": 1, "b": 2}


def test_unique_items_differ() -> None:
    words = build({"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True})
    assert len(set(words)) == 3


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "string", "pattern": "^a$", "minLength": 4},
        {"type": "widget"},
        {"$ref": "#/$defs/absent"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {
            "$ref": "#/$defs/n",
            "$defs": {
                "n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]},
            },
        },
        {"type": "array", "items": {"enum": ["one"]}, "minItems": 2, "uniqueItems": True},
        {"type": "string", "pattern": "("},
    ],
)
def test_a_schema_without_a_value_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsatisfiableError):
        build(schema)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\d{3}-[A-Z]{2,}$",
        r"^(?:foo|bar)+\.(txt|md)$",
        r"^[^aeiou\s]+$",
        r"[\w.-]{5}",
        r"^(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])$",
        r"^a?b*c+$",
        r"\+\(\)\n",
        r"^(?!x)[a-z]+$",
    ],
)
def test_an_example_is_found_by_its_pattern(pattern: str) -> None:
    assert re.search(pattern, example(pattern))


def test_an_example_grows_to_the_least_length() -> None:
    assert re.fullmatch(r"[a-z]{7,}", example("^[a-z]+$", 7))


def test_a_pattern_that_is_not_understood_is_refused_rather_than_answered_wrongly() -> None:
    with pytest.raises(ValueError, match="no example"):
        example(r"^(?=.*\d)[a-z]+\d$(?<=7)")


@given(low=st.integers(-1000, 1000), width=st.integers(0, 50), step=st.sampled_from([1, 2, 5, 7]))
def test_a_whole_number_lies_inside_its_limits_wherever_one_exists(low: int, width: int, step: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": low + width, "multipleOf": step}
    possible = [number for number in range(low, low + width + 1) if number % step == 0]
    if possible:
        assert build(schema) in possible
    else:
        with pytest.raises(UnsatisfiableError):
            build(schema)


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ("3", {"type": "integer"}, 3),
        ("2.5", {"type": "number"}, 2.5),
        (7, {"type": "string"}, "7"),
        (3.0, {"type": "integer"}, 3),
        ("TRUE", {"type": "boolean"}, True),
        (["a", "b"], {"type": "string"}, "a"),
        ("three", {"type": "integer"}, MISSING),
        (True, {"type": "integer"}, MISSING),
        (None, {"type": "string"}, MISSING),
        ("long", {"type": "string", "maxLength": 2}, MISSING),
        ({"a": 1}, {"type": "object", "properties": {}, "additionalProperties": False}, MISSING),
    ],
)
def test_a_value_is_converted_to_the_type_asked_for_or_not_used(value: Any, schema: Any, expected: Any) -> None:
    assert fit(value, schema, schema) == expected


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("not a date", {"type": "string", "format": "date"}),
        ([1, 1], {"type": "array", "uniqueItems": True}),
        ([1, 2], {"type": "array", "prefixItems": [{"type": "integer"}], "items": False}),
        ({}, {"required": ["a"]}),
        (4, {"anyOf": [{"type": "string"}, {"maximum": 3}]}),
        (0.3, {"multipleOf": 0.25}),
        ("x", False),
    ],
)
def test_what_breaks_a_keyword_does_not_fit(value: Any, schema: Any) -> None:
    assert not fits(value, schema, schema if isinstance(schema, dict) else {})


def test_tightening_bounds_what_has_no_bounds_and_keeps_those_there_are() -> None:
    open_schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "code": {"type": "string", "maxLength": 9},
            "many": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 5},
            "few": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
            "mail": {"type": "string", "format": "email"},
        },
        "$defs": {"n": {"type": "integer", "exclusiveMinimum": 4}},
    }
    narrow = tighten(open_schema)
    properties = narrow["properties"]
    assert properties["text"]["maxLength"] == MAX_LENGTH
    assert properties["code"]["maxLength"] == 9
    assert properties["many"]["maxItems"] == 5
    assert properties["few"]["anyOf"][0]["maxItems"] == MAX_ITEMS
    assert "format" not in properties["mail"]
    assert narrow["$defs"]["n"]["minimum"] == 5
    assert narrow["additionalProperties"] is False
    assert "maxLength" not in open_schema["properties"]["text"]  # type: ignore[index]


@pytest.mark.parametrize("annotation", [Person, Movie, Chain])
def test_a_value_for_the_tightened_schema_is_valid_for_the_original(annotation: Any) -> None:
    adapter = TypeAdapter[Any](annotation)
    adapter.validate_python(build(tighten(adapter.json_schema())))
