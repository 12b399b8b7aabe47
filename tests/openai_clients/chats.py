"""Generated chat requests: whatever the API's reference allows, in all combinations, the odd ones included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["chats"]

TEXTS = st.one_of(
    st.sampled_from([
        "hello", "What is the weather, city: Oslo", "look at: 7 then get_weather", "", "Grüße 🌍", "a\nb",
        "city: Oslo, degrees: 7, please fill in the form",
    ]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40),
)  # fmt: skip
PICTURE = "data:image/png;base64,QUJD"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"name": "get_weather", "description": "The weather.", "parameters": {**SCHEMA, "required": ["city"]}},
    {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}}, "strict": False},
    {"name": "Report", "description": "The answer.", "parameters": SCHEMA, "strict": True},
    {"name": "now", "description": "The time."},
    {"name": "note", "parameters": {"type": "object", "additionalProperties": True}},
]


def _rarely(draw: DrawFn, of: int) -> bool:
    """True once in a while, and never in the simplest example."""
    return draw(st.integers(0, of)) == of


@st.composite
def _parts(draw: DrawFn, *, odd: bool = True) -> Any:
    """The content of a user's message."""
    if draw(st.integers(0, 2)):
        return draw(TEXTS)
    image = st.fixed_dictionaries({"url": st.just(PICTURE)}, optional={"detail": st.sampled_from(["low", "auto"])})
    kinds: list[SearchStrategy[dict[str, Any]]] = [
        st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}),
        st.fixed_dictionaries({"type": st.just("image_url"), "image_url": image}),
    ]
    if odd and _rarely(draw, 5):
        sound = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}
        kinds.append(st.just(sound))
    return draw(st.lists(st.one_of(kinds), min_size=1, max_size=3))


@st.composite
def _turn(draw: DrawFn, number: int) -> list[dict[str, Any]]:
    """A question, perhaps a round of tool calls, and perhaps an answer."""
    question: dict[str, Any] = {"role": "user", "content": draw(_parts())}
    if _rarely(draw, 12):
        question["name"] = "ada"
    turn = [] if number and _rarely(draw, 9) else [question]
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(["get_weather", "look"]), min_size=1, max_size=2))
        calls = [
            {"id": f"c{number}_{place}", "type": "function", "function": {"name": name, "arguments": '{"at": 1}'}}
            for place, name in enumerate(names)
        ]
        turn.append(
            {"role": "assistant", "content": draw(st.sampled_from([None, "", "Let me look."])), "tool_calls": calls}
        )
        for name, call in zip(names, calls, strict=True):
            output = draw(
                st.sampled_from([
                    "7 degrees", '{"degrees": 7}', "", [{"type": "text", "text": "7"}],
                    [{"type": "text", "text": "7"}, {"type": "text", "text": "8"}],
                ])
            )  # fmt: skip
            if _rarely(draw, 9):
                output = [{"type": "image_url", "image_url": {"url": PICTURE}}]
            turn.append({"role": "tool", "tool_call_id": call["id"], "content": output})
            if _rarely(draw, 8):
                turn[-1]["name"] = draw(st.sampled_from([name, "another"]))
    if draw(st.integers(0, 2)):
        answer: dict[str, Any] = {"role": "assistant", "content": draw(TEXTS)}
        if _rarely(draw, 6):
            answer.update(draw(st.sampled_from([{"refusal": "No."}, {"reasoning_content": "Hm."}, {"name": "bob"}])))
        turn.append(answer)
    return turn


FIELDS: dict[str, SearchStrategy[Any]] = {
    "temperature": st.floats(0, 2, allow_nan=False),
    "top_p": st.floats(0.1, 1, allow_nan=False),
    "max_tokens": st.integers(1, 40),
    "max_completion_tokens": st.integers(1, 40),
    "stop": st.sampled_from(["rules", ["rules", "language"], []]),
    "user": TEXTS,
    "metadata": st.just({"a": "b"}),
    "store": st.booleans(),
    "reasoning_effort": st.sampled_from(["none", "low", "high"]),
    "parallel_tool_calls": st.booleans(),
    "response_format": st.sampled_from([
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "Reading", "schema": SCHEMA, "strict": True}},
        {"type": "json_schema", "json_schema": {"name": "Reading", "schema": SCHEMA}},
        {"type": "json_schema", "json_schema": {"name": "Reading", "schema": SCHEMA, "description": "A reading."}},
    ]),
    "tool_choice": st.sampled_from([
        "auto", "none", "required", {"type": "function", "function": {"name": "get_weather"}}
    ]),
}  # fmt: skip
ODD_FIELDS: dict[str, SearchStrategy[Any]] = {
    "seed": st.integers(0, 9),
    "n": st.sampled_from([1, 2]),
    "logprobs": st.booleans(),
    "top_logprobs": st.sampled_from([0, 2]),
    "presence_penalty": st.sampled_from([0, 0.0, 0.5]),
    "frequency_penalty": st.sampled_from([0, -1.0]),
    "logit_bias": st.sampled_from([{}, {"50": -100}]),
    "modalities": st.sampled_from([["text"], ["text", "audio"]]),
    "audio": st.just({"voice": "a", "format": "wav"}),
    "verbosity": st.sampled_from(["low", "high"]),
    "prediction": st.just({"type": "content", "content": "Hi."}),
    "top_k": st.integers(1, 50),
    "functions": st.just([]),
    "no_such_field": st.integers(),
}


@st.composite
def chats(draw: DrawFn) -> dict[str, Any]:
    """A body of ``POST /chat/completions``."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content: Any = draw(st.one_of(TEXTS, st.just([{"type": "text", "text": "Be brief."}])))
        messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": content})
    for number in range(draw(st.integers(1, 3))):
        messages.extend(draw(_turn(number)))
    body: dict[str, Any] = {"model": "m", "messages": messages}
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=4))
    body.update({name: draw(FIELDS[name]) for name in names})
    if _rarely(draw, 2):
        name = draw(st.sampled_from(sorted(ODD_FIELDS)))
        body[name] = draw(ODD_FIELDS[name])
    if draw(st.booleans()) or isinstance(body.get("tool_choice"), dict):
        chosen = draw(st.lists(st.sampled_from(range(1, len(TOOLS) - 1)), unique=True, max_size=3))
        tools = [TOOLS[0], *[TOOLS[place] for place in chosen]]
        if _rarely(draw, 7):
            tools.append(TOOLS[-1])
        body["tools"] = [{"type": "function", "function": tool} for tool in tools]
    return body
