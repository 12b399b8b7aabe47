"""From messages to the input that is sent: every block, in its order, or a refusal that says what would work."""

from __future__ import annotations

import base64
import itertools
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from dw_agents.errors import InvalidStep
from llama_index.llms.dw_agents import DoublewordWarning, errors
from llama_index.llms.dw_agents.items import input_items
from tests.llama_index.wire import Says, bodies, call, llm_for

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator
    from llama_index.llms.dw_agents import DoublewordLLM
    from tests.llama_index.conftest import MakeEmulator

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def user(*blocks: Any) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, blocks=list(blocks))


def assistant(*blocks: Any, **more: Any) -> ChatMessage:
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=list(blocks), additional_kwargs=more)


def output(ident: str, *blocks: Any) -> ChatMessage:
    return ChatMessage(role=MessageRole.TOOL, blocks=list(blocks), additional_kwargs={"tool_call_id": ident})


def tool_call(ident: str | None, **arguments: Any) -> ToolCallBlock:
    return ToolCallBlock(tool_call_id=ident, tool_name="double", tool_kwargs=arguments)


def text(words: str) -> dict[str, str]:
    return {"type": "input_text", "text": words}


@pytest.mark.parametrize(
    ("role", "sent"),
    [
        (MessageRole.SYSTEM, "system"),
        (MessageRole.DEVELOPER, "developer"),
        (MessageRole.USER, "user"),
        (MessageRole.ASSISTANT, "assistant"),
        (MessageRole.CHATBOT, "assistant"),
        (MessageRole.MODEL, "assistant"),
    ],
)
def test_every_role_has_its_name_on_the_wire(role: MessageRole, sent: str) -> None:
    assert [item["role"] for item in input_items([ChatMessage(role=role, content="Hi.")])] == [sent]


def test_the_order_of_an_answers_items_is_kept() -> None:
    """Text before, between and after calls stays there."""
    first = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" * 5}
    blocks = [
        TextBlock(text="One."), ThinkingBlock(content="Hm.", additional_information=first), tool_call("c1", number=1),
        TextBlock(text="Two."), tool_call("c2", number=2),
    ]  # fmt: skip
    items = input_items([assistant(*blocks), output("c1"), output("c2")])
    assert [item.get("content") or item.get("arguments") or item["id"] for item in items[:5]] == [
        "One.", "rs_1", '{"number": 1}', "Two.", '{"number": 2}',
    ]  # fmt: skip
    assert items[1] == first


def test_reasoning_goes_back_as_it_came(make_emulator: MakeEmulator) -> None:
    """Every field of the item, known or not; other models' thoughts go as a summary."""
    emulator = make_emulator(backend=Says({"content": "Oslo.", "reasoning": "They ask for a city."}))
    llm = llm_for(emulator)
    answer = llm.chat([ChatMessage(content="Which city?")])
    assert answer.raw is not None
    llm.chat([ChatMessage(content="Which city?"), answer.message, ChatMessage(content="Sure?")])
    assert bodies(emulator)[-1]["input"][1] == answer.raw["output"][0]
    assert input_items([assistant(ThinkingBlock(content="Hm."), TextBlock(text="Oslo."))])[0] == {
        "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}],
    }  # fmt: skip


def test_outputs_are_put_into_the_order_of_their_calls_in_every_round() -> None:
    """Also where a later round uses the same ids again, as some models do."""
    question = ChatMessage(content="Go.")
    for first, second in itertools.product(itertools.permutations(("c1", "c2", "c3")), repeat=2):
        calls = assistant(tool_call("c1"), tool_call("c2"), tool_call("c3"))
        rounds = [[output(ident, TextBlock(text=ident)) for ident in order] for order in (first, second)]
        items = input_items([question, calls, *rounds[0], calls, *rounds[1]])
        assert [item.get("call_id") for item in items[1:]] == ["c1", "c2", "c3"] * 4
        assert [item["type"] for item in items[1:]] == (["function_call"] * 3 + ["function_call_output"] * 3) * 2


def test_the_same_history_has_the_same_body_however_the_tools_finished(emulator: Emulator, llm: DoublewordLLM) -> None:
    calls = assistant(tool_call("c1", number=1), tool_call("c2", number=2))
    one, two = (output(ident, TextBlock(text=ident)) for ident in ("c1", "c2"))
    llm.chat([ChatMessage(content="Go."), calls, one, two])
    llm.chat([ChatMessage(content="Go."), calls, two, one])
    first, second = bodies(emulator)
    assert first == second


def test_an_output_whose_call_is_not_there_is_told_in_words() -> None:
    """The API takes no output without its call."""
    items = input_items(
        [ChatMessage(content="Go."), output("c9", TextBlock(text="8")), output("", TextBlock(text="9"))]
    )
    assert items[1:] == [
        {"type": "message", "role": "user", "content": [text("Result of tool call c9:"), text("8")]},
        {"type": "message", "role": "user", "content": [text("Result of tool call:"), text("9")]},
    ]


def test_a_call_without_an_id_gets_one() -> None:
    """Of letters that every API takes, wherever the call is kept."""
    older = {**call("double", ""), "id": None}
    items = input_items([assistant(tool_call(None), tool_call(None)), assistant(tool_calls=[older])])
    calls = [item["call_id"] for item in items if item["type"] == "function_call"]
    assert len(set(calls)) == 3
    assert all(re.fullmatch("call_[0-9_]+", ident) for ident in calls)


def test_a_call_that_has_no_output_gets_one_that_says_so() -> None:
    """In its place among the others: OpenAI's API takes no call without an output."""
    history = [assistant(tool_call("c1"), tool_call("c2"), tool_call("c3")), output("c3", TextBlock(text="8"))]
    items = input_items([*history, ChatMessage(content="Well?")])
    assert [item.get("call_id") for item in items] == ["c1", "c2", "c3", "c1", "c2", "c3", None]
    assert "not finished" in items[3]["output"]
    assert "not finished" in items[4]["output"]
    assert items[5]["output"] == [text("8")]


def test_arguments_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(InvalidStep, match=r"messages\[0\].blocks\[0\].*'double'"):
        input_items([assistant(tool_call("c1", numbers={1, 2}))])


def test_arguments_that_are_text_stay_as_they_are() -> None:
    block = ToolCallBlock(tool_call_id="c1", tool_name="f", tool_kwargs='{"a":  1}')
    assert input_items([assistant(block)])[0]["arguments"] == '{"a":  1}'


def test_calls_of_an_older_llm_are_read_from_where_it_keeps_them() -> None:
    """Once: where there are blocks, too, these count."""
    older = [call("double", "c1", number=4)]
    assert input_items([assistant(TextBlock(text="So."), tool_calls=older)])[1] == {
        "type": "function_call", "call_id": "c1", "name": "double", "arguments": '{"number": 4}',
    }  # fmt: skip
    both = [assistant(tool_call("c1", number=4), tool_calls=older), output("c1")]
    assert [item["type"] for item in input_items(both)] == ["function_call", "function_call_output"]


def test_an_image_of_a_tool_follows_in_a_user_message(emulator: Emulator, llm: DoublewordLLM) -> None:
    """The service reads an output as text."""
    shot = output("c1", TextBlock(text="Oslo:"), ImageBlock(image=PIXEL))
    llm.chat([ChatMessage(content="Show."), assistant(tool_call("c1")), shot])
    items = bodies(emulator)[0]["input"]
    assert items[2]["output"] == "Oslo:\n[1 image, shown in the next user message]"
    assert items[3]["content"][1]["image_url"].startswith("data:image/png;base64,")


def test_an_images_detail_is_kept() -> None:
    block = ImageBlock(url="https://images.invalid/a.png", detail="high")
    assert input_items([user(block)])[0]["content"] == [
        {"type": "input_image", "image_url": "https://images.invalid/a.png", "detail": "high"}
    ]


def test_an_image_in_a_file_or_a_buffer_without_a_type_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "pixel").write_bytes(PIXEL)
    for block in (ImageBlock(path=tmp_path / "pixel"), ImageBlock(image=BytesIO(PIXEL))):
        sent = input_items([user(block)])[0]["content"][0]["image_url"]
        assert sent == f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (ImageBlock(), "holds no image"),
        (ImageBlock(image=b"no image at all"), "image_mimetype"),
        (
            DocumentBlock(data=b"%PDF-1.7 ...", document_mimetype="application/pdf"),
            "application/pdf.*SimpleDirectoryReader",
        ),
        (DocumentBlock(data=bytes(range(256))), "no text"),
        (DocumentBlock(data=b"a\0b"), "no text"),
        (DocumentBlock(url="https://documents.invalid/a.txt"), "only an address"),
        (DocumentBlock(path="nowhere.txt"), "cannot be read"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_the_mend(block: Any, reason: str) -> None:
    with pytest.raises(InvalidStep, match=reason) as caught:
        input_items([ChatMessage(content="Hi."), user(TextBlock(text="Look:"), block)])
    assert caught.value.field == "messages[1].blocks[1]"


def test_a_block_inside_a_block_is_judged_as_well() -> None:
    inner = DocumentBlock(data=b"%PDF-1.7 ...", document_mimetype="application/pdf")
    with pytest.raises(InvalidStep, match="application/pdf") as caught:
        input_items([user(CitableBlock(title="t", source="s", content=[TextBlock(text="a"), inner]))])
    assert caught.value.field == "messages[0].blocks[0].content[1]"


@pytest.mark.parametrize("role", [MessageRole.SYSTEM, MessageRole.ASSISTANT])
def test_an_image_outside_a_user_message_is_refused(role: MessageRole) -> None:
    with pytest.raises(InvalidStep, match="user message"):
        input_items([ChatMessage(role=role, blocks=[ImageBlock(image=PIXEL)])])


def test_a_text_document_is_carried_as_text(tmp_path: Path) -> None:
    """By bytes and by path, of any textual type."""
    path = tmp_path / "fjords.md"
    path.write_text("Fjørds are deep, cold.")
    for block in (
        DocumentBlock(path=path, title="On fjords"),
        DocumentBlock(data=path.read_bytes(), title="On fjords"),
        DocumentBlock(data=path.read_bytes(), title="On fjords", document_mimetype="application/json"),
    ):
        assert input_items([user(block)])[0]["content"] == [text("On fjords:\n\nFjørds are deep, cold.")]


def test_what_can_be_cited_is_named_with_its_source() -> None:
    citable = CitableBlock(title="On fjords", source="a book", content="Fjords are deep.")
    cited = CitationBlock(cited_content="Fjords are deep.", source="a book", title="t", additional_location_info={})
    assert input_items([user(citable)])[0]["content"] == [
        text("On fjords (source: a book):"), text("Fjords are deep."),
    ]  # fmt: skip
    assert input_items([assistant(TextBlock(text="Deep."), cited)])[1]["content"] == (
        "Fjords are deep.\n(cited from t, a book)"
    )


def test_a_cache_point_is_dropped_with_one_warning() -> None:
    """The answer is the same without; the bill is not."""
    point = CachePoint(cache_control=CacheControl(type="ephemeral"))
    with pytest.warns(DoublewordWarning, match="billed in full"):
        items = input_items([user(TextBlock(text="Hi."), point)])
    assert items[0]["content"] == [text("Hi.")]
    input_items([user(TextBlock(text="Hi."), point)])


def test_no_messages_are_refused(emulator: Emulator, llm: DoublewordLLM) -> None:
    with pytest.raises(errors.InvalidStep, match="messages is empty"):
        llm.chat([])
    assert emulator.counters.snapshot().requests == 0


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([ChatMessage(role=MessageRole.ASSISTANT, content="")], "messages is empty"),
        (iter([ChatMessage(content="Hi.")]), "messages is empty"),
        ([{"role": "user", "content": "Hi."}], r"messages\[0\] is a dict"),
    ],
    ids=["said nothing", "used up", "a dictionary"],
)
def test_what_is_no_conversation_is_refused(emulator: Emulator, llm: DoublewordLLM, messages: Any, named: str) -> None:
    """LlamaIndex's events use an iterator up before it gets here."""
    with pytest.raises(errors.InvalidStep, match=named):
        llm.chat(messages)
    assert emulator.counters.snapshot().requests == 0


def test_an_empty_message_keeps_its_place_unless_the_model_said_it() -> None:
    items = input_items([ChatMessage(role=MessageRole.SYSTEM), assistant(TextBlock(text="")), user()])
    assert [(item["role"], item["content"]) for item in items] == [("system", ""), ("user", "")]
