"""Classes of every make are filled on flex, by a strict schema where there is one and by a function call where not."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, ConfigDict, Field, RootModel

from llama_index.llms.dw_agents.errors import AnswerMismatch, AnswerRefused, AnswerTruncated, InvalidStep
from llama_index.llms.dw_agents.schemas import strict_schema
from tests.llama_index.wire import Says, bodies, call, llm_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator
    from llama_index.llms.dw_agents import DoublewordLLM
    from tests.llama_index.conftest import MakeEmulator, MakeLLM

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Plain(BaseModel):
    """A plain one."""

    name: str = Field(description="its name", min_length=1)
    count: int = 5
    share: float | None = None
    colour: Colour = Colour.RED
    day: dt.date = dt.date(2026, 1, 1)
    price: Decimal = Decimal(1)
    tags: set[str] = set()


class Inner(BaseModel):
    number: int


class Nested(BaseModel):
    inner: Inner = Field(description="the inner one")
    many: list[Inner]
    either: Inner | Plain


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Tree(BaseModel):
    label: str
    branches: list[Tree] = []


class Box(BaseModel, Generic[T]):
    held: T


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    from_place: str = Field(alias="from")


class Names(RootModel[list[str]]):
    pass


class Trees(RootModel[list[Tree]]):
    pass


class Open(BaseModel):
    counts: dict[str, int]


class Loose(BaseModel):
    anything: Any
    label: str


class Pair(BaseModel):
    ends: tuple[int, str]


class Counts(RootModel[dict[str, int]]):
    pass


STRICT = [Plain, Nested, Owner, Tree, Box[int], Aliased, Names, Trees]
OPEN = [Open, Loose, Pair, Counts]
PROMPT = PromptTemplate("Fill it in. name: Oslo, number: 4, label: oak, held: 7, kind: cat")


@pytest.fixture(autouse=True)
def nothing_at_realtime(emulator: Emulator) -> Iterator[None]:
    yield
    assert emulator.counters.snapshot().realtime == 0


def check_strict(schema: Any) -> None:
    """Hold a schema to the rules of strict structured outputs."""
    if isinstance(schema, list):
        for one in schema:
            check_strict(one)
    if not isinstance(schema, dict):
        return
    assert not schema.keys() & {"default", "oneOf", "allOf", "prefixItems", "patternProperties", "uniqueItems", "not"}
    if "$ref" in schema:
        assert schema.keys() <= {"$ref"}
    if "properties" in schema and schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])
    for name, value in schema.items():
        check_strict(list(value.values()) if name in ("properties", "$defs") else value)


@pytest.mark.parametrize("output_cls", STRICT)
def test_a_class_with_a_strict_schema_is_constrained_to_it(
    emulator: Emulator, llm: DoublewordLLM, output_cls: type[BaseModel]
) -> None:
    assert isinstance(llm.structured_predict(output_cls, PROMPT), output_cls)
    body = bodies(emulator)[0]
    sent = body["text"]["format"]
    assert (sent["type"], sent["strict"], sent["schema"]["type"]) == ("json_schema", True, "object")
    assert all(letter.isalnum() or letter in "_-" for letter in sent["name"])
    check_strict(sent["schema"])
    assert "tools" not in body


@pytest.mark.parametrize("output_cls", OPEN)
def test_a_class_without_one_is_filled_by_a_function_call(
    make_emulator: MakeEmulator, output_cls: type[BaseModel]
) -> None:
    """Its arguments are not constrained, so that all keys are allowed; it must be called."""
    filled: dict[Any, Any] = {
        Open: {"counts": {"a": 1}}, Loose: {"anything": [1], "label": "x"}, Pair: {"ends": [1, "b"]}, Counts: {"a": 1},
    }  # fmt: skip
    backend = Says({"tool_calls": [call(output_cls.__name__, "c1", **filled[output_cls])]})
    emulator = make_emulator(backend=backend)
    assert llm_for(emulator).structured_predict(output_cls, PROMPT) == output_cls.model_validate(filled[output_cls])
    body = bodies(emulator)[0]
    assert "text" not in body
    assert (body["tools"][0]["strict"], body["parallel_tool_calls"]) == (False, False)
    assert body["tools"][0]["parameters"]["type"] == "object"
    assert body["tool_choice"] == {"type": "function", "name": output_cls.__name__}


def test_a_root_that_is_no_object_travels_in_one(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(
        backend=Says({"content": '{"value": ["a", "b"]}'}, {"content": '["a"]'}, {"content": "{}"})
    )
    assert llm_for(emulator).structured_predict(Names, PROMPT).root == ["a", "b"]
    for _ in range(2):
        with pytest.raises(AnswerMismatch, match="Names"):
            llm_for(emulator).structured_predict(Names, PROMPT)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {"description": "anything"}}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 2}]}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "object"}}},
    ],
)
def test_what_strict_schemas_cannot_say_is_recognised(schema: Any) -> None:
    assert strict_schema(schema) is None


def test_a_strict_schema_leaves_the_given_one_alone() -> None:
    given = {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}
    assert strict_schema(given) == {
        "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False,
    }  # fmt: skip
    assert given == {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}


def test_tools_are_constrained_where_that_was_asked(emulator: Emulator, make_llm: MakeLLM) -> None:
    from llama_index.core.tools import FunctionTool

    def count(start: int, step: int = 2) -> int:
        """Count on."""
        return start + step

    def note(facts: dict[str, Any]) -> str:
        """Note facts."""
        return str(facts)

    tools = [FunctionTool.from_defaults(count), FunctionTool.from_defaults(note)]
    make_llm(strict=True).chat_with_tools(tools, "Hi.")
    make_llm().chat_with_tools(tools, "Hi.")
    constrained, free = (body["tools"] for body in bodies(emulator))
    assert [tool["strict"] for tool in constrained] == [True, False]
    assert constrained[0]["parameters"]["required"] == ["start", "step"]
    assert [tool["strict"] for tool in free] == [False, False]
    assert free[0]["parameters"]["required"] == ["start"]


async def test_the_tier_of_the_call_is_kept(emulator: Emulator, llm: DoublewordLLM) -> None:
    """A structured call never leaves the tier in silence, nor any other setting of the call."""
    await llm.astructured_predict(Inner, PROMPT, {"service_tier": "batch", "completion_window": "1h", "max_tokens": 90})
    await llm.as_structured_llm(Inner).achat([ChatMessage(content="number: 4")], service_tier="batch")
    assert emulator.counters.snapshot().lines == 2
    assert emulator.counters.snapshot().flex == 0
    line = emulator.files[0].lines()[0]["body"]
    assert (line["max_output_tokens"], line["text"]["format"]["name"]) == (90, "Inner")


def test_what_the_prediction_decides_is_not_taken_from_the_call(emulator: Emulator, llm: DoublewordLLM) -> None:
    """LlamaIndex's programs pass such arguments on; the caller's own dictionary stays as it is."""
    given = {"tool_choice": "auto", "allow_parallel_tool_calls": True, "tool_required": True, "temperature": 0.5}
    llm.structured_predict(Inner, PROMPT, given)
    assert len(given) == 4
    body = bodies(emulator)[0]
    assert body["temperature"] == 0.5
    assert not body.keys() & given.keys() - {"temperature"}


@pytest.mark.parametrize("mode", [PydanticProgramMode.FUNCTION, PydanticProgramMode.LLM])
async def test_llama_indexs_own_ways_remain(emulator: Emulator, make_llm: MakeLLM, mode: PydanticProgramMode) -> None:
    llm = make_llm(pydantic_program_mode=mode)
    if mode is PydanticProgramMode.FUNCTION:
        assert (await llm.astructured_predict(Inner, PROMPT)).number == 4
        assert bodies(emulator)[0]["tools"][0]["name"] == "Inner"
        return
    with pytest.raises(ValueError, match=r"[Jj]son|JSON"):
        await llm.astructured_predict(Inner, PROMPT)
    assert "text" not in bodies(emulator)[0]
    assert '"number"' in str(bodies(emulator)[0]["input"])


async def test_text_where_a_call_was_asked_is_an_error_that_quotes_it(make_emulator: MakeEmulator) -> None:
    llm = llm_for(make_emulator(backend=Says({"content": "I will not count."})))
    with pytest.raises(AnswerMismatch, match="I will not count"):
        await llm.astructured_predict(Open, PROMPT)


async def test_the_three_errors_can_be_told_apart(make_emulator: MakeEmulator) -> None:
    replies = ({"refusal": "No."}, {"content": '{"num', "finish_reason": "length"}, {"content": '{"number": "many"}'})
    llm = llm_for(make_emulator(backend=Says(*replies)))
    with pytest.raises(AnswerRefused, match=r"No\.") as caught:
        await llm.astructured_predict(Inner, PROMPT)
    assert caught.value.refusal == "No."
    with pytest.warns(UserWarning, match="cut"), pytest.raises(AnswerTruncated, match="Inner"):
        await llm.astructured_predict(Inner, PROMPT, {"max_tokens": 7})
    with pytest.raises(AnswerMismatch, match="number Input should be a valid integer"):
        await llm.astructured_predict(Inner, PROMPT)


def test_an_object_that_is_complete_at_the_limit_counts(make_emulator: MakeEmulator) -> None:
    """The service tells nothing of a cut; an answer exactly as long as allowed may be whole."""
    llm = llm_for(make_emulator(backend=Says({"content": '{"number": 4}'})), max_tokens=7)
    with pytest.warns(UserWarning, match="cut"):
        assert llm.structured_predict(Inner, PROMPT).number == 4


def test_what_is_no_class_is_refused(llm: DoublewordLLM) -> None:
    wrong: Any = dict
    with pytest.raises(InvalidStep, match="output_cls"):
        llm.structured_predict(wrong, PROMPT)


def test_braces_in_a_message_are_no_variables(emulator: Emulator, llm: DoublewordLLM) -> None:
    """Code and JSON in a conversation reach the model as they are."""
    text = 'held: 7 {"json": {"a": 1}} {name} {}'
    assert llm.as_structured_llm(Box[int]).chat([ChatMessage(content=text)]).raw == Box[int](held=7)
    assert bodies(emulator)[-1]["input"][0]["content"] == [{"type": "input_text", "text": text}]
