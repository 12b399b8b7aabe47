"""``with_structured_output``: every method and kind of schema, on flex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import PydanticOutputParser
from pydantic import BaseModel, Field, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import Field as FieldV1

from tests.langchain.wire import Says, bodies, model_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeEmulator

Method = Literal["function_calling", "json_mode", "json_schema"]
METHODS: tuple[Method, ...] = ("json_schema", "function_calling", "json_mode")
PROMPT = 'Answer in JSON with keys "name" and "people". name: Oslo, people: 700000'


class City(BaseModel):
    """A city."""

    name: str = Field(description="its name")
    people: int = Field(description="how many live there")
    nickname: str | None = None


class OldCity(BaseModelV1):
    """A city."""

    name: str = FieldV1(description="its name")
    people: int = FieldV1(description="how many live there")


class CityDict(TypedDict):
    """A city."""

    name: str
    people: int


CITY_SCHEMA: dict[str, Any] = {
    "title": "City",
    "description": "A city.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
}


@pytest.fixture(autouse=True)
def nothing_at_realtime(emulator: Emulator) -> Iterator[None]:
    yield
    assert emulator.counters.snapshot().realtime == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("include_raw", [False, True])
async def test_a_pydantic_class_is_filled(
    emulator: Emulator, llm: ChatDoubleword, method: Method, *, include_raw: bool
) -> None:
    runnable = llm.with_structured_output(City, method=method, include_raw=include_raw)
    for answer in (runnable.invoke(PROMPT), await runnable.ainvoke(PROMPT)):
        if include_raw:
            assert isinstance(answer["raw"], AIMessage)
            assert answer["parsing_error"] is None
        city = answer["parsed"] if include_raw else answer
        assert isinstance(city, City)
        assert (city.name, city.people) == ("Oslo", 700000)
    assert emulator.counters.snapshot().flex == 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [CityDict, CITY_SCHEMA], ids=["TypedDict", "JSON schema"])
def test_a_schema_without_a_class_gives_a_dict(llm: ChatDoubleword, schema: Any, method: Method) -> None:
    answer = llm.with_structured_output(schema, method=method).invoke(PROMPT)
    # JSON mode constrains the syntax, not the types.
    assert (answer["name"], int(answer["people"])) == ("Oslo", 700000)


def test_a_class_of_pydantic_1_goes_by_function_calling(emulator: Emulator, llm: ChatDoubleword) -> None:
    city = llm.with_structured_output(OldCity).invoke(PROMPT)
    assert isinstance(city, OldCity)
    assert bodies(emulator)[0]["tool_choice"] == {"type": "function", "name": "OldCity"}


def test_the_default_method_lets_the_service_constrain_the_output(emulator: Emulator, llm: ChatDoubleword) -> None:
    llm.with_structured_output(City).invoke(PROMPT)
    form = bodies(emulator)[0]["text"]["format"]
    assert (form["type"], form["name"]) == ("json_schema", "City")
    assert form["schema"]["properties"].keys() == {"name", "people", "nickname"}
    assert "tools" not in bodies(emulator)[0]


@pytest.mark.parametrize("strict", [True, False])
def test_strict_reaches_the_wire(emulator: Emulator, llm: ChatDoubleword, *, strict: bool) -> None:
    llm.with_structured_output(CITY_SCHEMA, strict=strict).invoke(PROMPT)
    assert bodies(emulator)[0]["text"]["format"]["strict"] is strict
    llm.with_structured_output(City, method="function_calling", strict=strict).invoke(PROMPT)
    assert bodies(emulator)[1]["tools"][0]["strict"] is strict


def test_json_mode_asks_for_an_object(emulator: Emulator, llm: ChatDoubleword) -> None:
    llm.with_structured_output(City, method="json_mode").invoke(PROMPT)
    assert bodies(emulator)[0]["text"]["format"] == {"type": "json_object"}


def test_streaming_gives_the_whole_object(llm: ChatDoubleword) -> None:
    assert [type(part) for part in llm.with_structured_output(City).stream(PROMPT)] == [City]


def test_an_answer_that_the_class_rejects_is_a_parsing_error(make_emulator: MakeEmulator) -> None:
    """The answer was paid for: with ``include_raw`` it is handed over, whatever the class thinks of it."""
    llm = model_for(make_emulator(backend=Says({"content": '{"name": "Oslo", "people": "many"}'})))
    answer = llm.with_structured_output(City, include_raw=True).invoke(PROMPT)
    assert isinstance(answer, dict)
    assert answer["raw"].text == '{"name": "Oslo", "people": "many"}'
    assert answer["parsed"] is None
    assert isinstance(answer["parsing_error"], ValidationError)
    with pytest.raises(ValidationError):
        llm.with_structured_output(City).invoke(PROMPT)


def test_the_parsed_object_stays_on_the_message(llm: ChatDoubleword) -> None:
    message = llm.bind(response_format=City).invoke(PROMPT)
    assert isinstance(message.additional_kwargs["parsed"], City)


def test_it_composes_with_prompts_and_batches(emulator: Emulator, llm: ChatDoubleword) -> None:
    answers = llm.with_structured_output(City).batch([PROMPT] * 20)
    assert all(isinstance(answer, City) for answer in answers)
    assert emulator.counters.snapshot().flex == 20


def test_other_parsers_read_the_text(llm: ChatDoubleword) -> None:
    chain = llm.bind(response_format={"type": "json_object"}) | PydanticOutputParser(pydantic_object=City)
    assert chain.invoke(PROMPT).name == "Oslo"
