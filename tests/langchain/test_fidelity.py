"""What is said to the model and what it says arrive whole, or the user is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai.chat_models.base import OpenAIRefusalError
from pydantic import BaseModel

from langchain_dw_agents import DoublewordWarning
from langchain_dw_agents.errors import InvalidStep
from tests.langchain.wire import Says, bodies, call, model_for

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeEmulator

IMAGE_URL = "data:image/png;base64,QUJD"


def tool_call(ident: str = "c1", **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "look", "args": args, "id": ident, "type": "tool_call"}])


def test_text_and_roles_arrive_in_order(emulator: Emulator, llm: ChatDoubleword) -> None:
    llm.invoke([SystemMessage("Be brief."), HumanMessage("Hi."), AIMessage("Hello."), HumanMessage("Bye.")])
    items = bodies(emulator)[0]["input"]
    assert [item["role"] for item in items] == ["system", "user", "assistant", "user"]
    assert items[2]["content"][0]["text"] == "Hello."


def test_reasoning_is_kept_and_replayed_on_the_next_turn(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Says({"content": "Yes.", "reasoning_content": "Surely."}))
    llm = model_for(emulator)
    first = llm.invoke("Is it?")
    assert [block["type"] for block in first.content_blocks] == ["reasoning", "text"]
    assert first.content_blocks[0].get("reasoning") == "Surely."
    llm.invoke([HumanMessage("Is it?"), first, HumanMessage("Sure?")])
    replayed = bodies(emulator)[1]["input"]
    assert [item["type"] for item in replayed] == ["message", "reasoning", "message", "message"]
    assert replayed[1]["summary"][0]["text"] == "Surely."


def test_reasoning_is_replayed_though_store_is_off(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Says({"content": "Yes.", "reasoning_content": "Surely."}))
    llm = model_for(emulator, store=False)
    llm.invoke([HumanMessage("Is it?"), llm.invoke("Is it?"), HumanMessage("Sure?")])
    assert "reasoning" in [item["type"] for item in bodies(emulator)[1]["input"]]
    assert bodies(emulator)[1]["store"] is False


@pytest.mark.parametrize("output_version", [None, "v0", "v1", "responses/v1"])
def test_history_of_tool_turns_keeps_its_order(make_emulator: MakeEmulator, output_version: str | None) -> None:
    """The service numbers the items of every answer from zero; equal ids of two turns are not mixed up."""
    backend = Says({"content": "Let me look.", "tool_calls": [call("look", "c1", at=1)]}, {"content": "One."})
    emulator = make_emulator(backend=backend)
    llm = model_for(emulator, output_version=output_version)
    history: list[BaseMessage] = [HumanMessage("What is there?")]
    history.append(llm.invoke(history))
    history.append(ToolMessage("a one", tool_call_id="c1"))
    history.append(llm.invoke(history))
    llm.invoke([*history, HumanMessage("And now?")])
    sent = backend.requests[-1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[1]["content"] == "Let me look."
    assert sent[1]["tool_calls"][0]["function"]["name"] == "look"
    assert sent[3]["content"] == "One."


def test_text_and_call_of_one_answer_may_share_an_id(emulator: Emulator, llm: ChatDoubleword) -> None:
    blocks = [
        {"type": "function_call", "id": "item_0", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "text", "id": "item_0", "text": "Looking."},
        {"type": "text", "id": "item_0", "text": "Patience."},
    ]
    calls = [{"name": "look", "args": {}, "id": "c1", "type": "tool_call"}]
    answer = AIMessage(blocks, tool_calls=calls, response_metadata={"model_provider": "openai"})  # type: ignore[arg-type]
    llm.invoke([HumanMessage("Look."), answer, ToolMessage("a one", tool_call_id="c1")])
    items = bodies(emulator)[0]["input"]
    assert "content" not in items[1]
    assert [part["text"] for part in items[2]["content"]] == ["Looking.", "Patience."]


def test_a_streamed_call_has_the_number_of_its_block(make_emulator: MakeEmulator) -> None:
    backend = Says({"content": "Two.", "tool_calls": [call("look", "c1"), call("look", "c2")]})
    chunk = next(iter(model_for(make_emulator(backend=backend)).stream("Look twice.")))
    assert [block["type"] for block in chunk.content] == ["text", "function_call", "function_call"]  # type: ignore[index]
    assert [(part["id"], part["index"]) for part in chunk.tool_call_chunks] == [("c1", 1), ("c2", 2)]
    merged = chunk + chunk.model_copy(update={"content": [], "tool_call_chunks": []})
    assert [made["id"] for made in merged.tool_calls] == ["c1", "c2"]


def test_a_tool_call_with_empty_text_stays_a_tool_call(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(backend=Says({"content": "", "tool_calls": [call("look", "c1", at=1)]}))
    llm = model_for(emulator)
    answer = llm.invoke("Look.")
    assert answer.tool_calls == [{"name": "look", "args": {"at": 1}, "id": "c1", "type": "tool_call"}]
    assert answer.text == ""
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    llm.invoke([HumanMessage("Look."), tool_call(at=1), ToolMessage("done", tool_call_id="c1")])
    assert [item["type"] for item in bodies(emulator)[1]["input"]] == [
        "message", "function_call", "function_call_output",
    ]  # fmt: skip


def test_a_refusal_is_kept_and_structured_output_says_so(make_emulator: MakeEmulator) -> None:
    class Recipe(BaseModel):
        """A recipe."""

        title: str

    emulator = make_emulator(backend=Says({"content": None, "refusal": "I will not."}))
    llm = model_for(emulator)
    answer = llm.invoke("Do it.")
    assert {"type": "refusal", "refusal": "I will not."}.items() <= answer.content[0].items()  # type: ignore[union-attr]
    with pytest.raises(OpenAIRefusalError, match="I will not"):
        llm.with_structured_output(Recipe).invoke("Do it.")


def test_a_truncated_answer_is_marked(emulator: Emulator, llm: ChatDoubleword) -> None:
    """The service says ``completed`` on flex even where the token limit cut the answer."""
    answer = llm.bind(max_tokens=3).invoke("Write at length about fjords, please.")
    assert answer.response_metadata["status"] == "incomplete"
    assert answer.response_metadata["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer.response_metadata["finish_reason"] == "length"
    assert bodies(emulator)[0]["max_output_tokens"] == 3
    chunk = next(llm.bind(max_tokens=3).stream("Write at length about fjords, please."))
    assert chunk.response_metadata["finish_reason"] == "length"


def test_a_whole_answer_is_not_marked(llm: ChatDoubleword) -> None:
    answer = llm.bind(max_tokens=500).invoke("Hi.")
    assert answer.response_metadata["status"] == "completed"
    assert answer.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call_cut_in_its_arguments_is_no_valid_call(
    make_emulator: MakeEmulator, output_version: str | None, *, streamed: bool
) -> None:
    half = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"amount": 1'}}
    emulator = make_emulator(backend=Says({"content": "", "tool_calls": [half], "finish_reason": "length"}))
    llm = model_for(emulator, output_version=output_version)
    answer = next(iter(llm.stream("Pay."))) if streamed else llm.invoke("Pay.")
    assert answer.tool_calls == []
    assert [invalid["args"] for invalid in answer.invalid_tool_calls] == ['{"amount": 1']


def test_usage_is_counted_with_the_tier_in_its_details(make_emulator: MakeEmulator) -> None:
    usage = {
        "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 20},
    }  # fmt: skip
    emulator = make_emulator(backend=Says({"content": "Hi."}, usage=usage))
    counted = model_for(emulator).invoke("Hi.").usage_metadata
    assert counted == {
        "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
        "input_token_details": {"flex_cache_read": 40, "flex": 60},
        "output_token_details": {"flex_reasoning": 20, "flex": 30},
    }  # fmt: skip


def test_usage_without_details_and_no_usage_at_all_raise_nothing(emulator: Emulator, llm: ChatDoubleword) -> None:
    emulator.faults.add("omit_usage_details", times=1)
    counted = llm.invoke("Hi.").usage_metadata
    assert counted is not None
    assert counted["total_tokens"] == counted["input_tokens"] + counted["output_tokens"] > 0
    emulator.faults.add("omit_usage", times=1)
    assert llm.invoke("Hi.").usage_metadata is None


def test_a_stream_counts_its_usage_once(llm: ChatDoubleword) -> None:
    chunks = list(llm.stream("Hi."))
    assert [bool(chunk.usage_metadata) for chunk in chunks] == [True]


def test_a_users_name_is_not_lost_silently(emulator: Emulator, llm: ChatDoubleword) -> None:
    with pytest.warns(DoublewordWarning, match="HumanMessage\\(name='ada'\\).*into the text"):
        llm.invoke([HumanMessage("Hi.", name="ada")])
    llm.invoke([HumanMessage("Hi again.", name="ada")])  # said once, and warnings are errors here
    assert all("name" not in item for body in bodies(emulator) for item in body["input"])


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": IMAGE_URL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": IMAGE_URL}},
        {"type": "image", "base64": "QUJD", "mime_type": "image/png"},
        {"type": "image", "url": IMAGE_URL},
        {"type": "image", "source_type": "base64", "data": "QUJD", "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
        {"type": "input_image", "image_url": IMAGE_URL},
    ],
    ids=["chat+detail", "chat", "v1-base64", "v1-url", "v0-base64", "anthropic", "responses"],
)
def test_images_arrive_in_every_spelling(emulator: Emulator, llm: ChatDoubleword, block: dict[str, Any]) -> None:
    assert "1 image" in llm.invoke([HumanMessage([{"type": "text", "text": "What is it?"}, block])]).text
    part = bodies(emulator)[0]["input"][0]["content"][1]
    assert part["type"] == "input_image"
    assert part["image_url"] == IMAGE_URL


def test_images_of_several_tools_follow_the_last_output(emulator: Emulator, llm: ChatDoubleword) -> None:
    """Between a call and its output there may be no other message."""
    calls = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": i, "type": "tool_call"} for i in ("c1", "c2")])
    picture = {"type": "image", "base64": "QUJD", "mime_type": "image/png"}
    llm.invoke(
        [
            HumanMessage("Look twice."),
            calls,
            ToolMessage([{"type": "text", "text": "left"}, picture], tool_call_id="c1"),
            ToolMessage([picture, picture], tool_call_id="c2"),
            HumanMessage("Well?"),
        ]
    )
    items = bodies(emulator)[0]["input"]
    assert [item["type"] for item in items] == [
        "message", "function_call", "function_call", "function_call_output", "function_call_output", "message",
        "message",
    ]  # fmt: skip
    assert items[3]["output"] == "left\n[1 image, shown in the next user message]"
    assert items[4]["output"] == "[2 images, shown in the next user message]"
    assert [part.get("text", "image") for part in items[5]["content"]] == [
        "1 image from tool call c1:", "image", "2 images from tool call c2:", "image", "image",
    ]  # fmt: skip


def test_tool_outputs_of_text_parts_become_one_string(emulator: Emulator, llm: ChatDoubleword) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    llm.invoke([HumanMessage("Look."), tool_call(), ToolMessage(parts, tool_call_id="c1")])  # type: ignore[arg-type]
    assert bodies(emulator)[0]["input"][2]["output"] == "one\ntwo"


def test_bare_strings_in_a_content_list_are_text(emulator: Emulator, llm: ChatDoubleword) -> None:
    message = HumanMessage(["one", {"type": "text", "text": "two"}])
    llm.invoke([message])
    assert [part["text"] for part in bodies(emulator)[0]["input"][0]["content"]] == ["one", "two"]
    assert message.content[0] == "one"


def test_a_tool_without_description_or_parameters_is_taken(emulator: Emulator, llm: ChatDoubleword) -> None:
    """The service demands both fields."""
    bare = {"type": "function", "function": {"name": "ping"}}
    answer = llm.bind_tools([bare], tool_choice="ping").invoke("Ping.")
    assert answer.tool_calls[0]["name"] == "ping"
    assert bodies(emulator)[0]["tools"] == [
        {"type": "function", "name": "ping", "description": "", "parameters": {"type": "object", "properties": {}}}
    ]
    assert bodies(emulator)[0]["tool_choice"] == {"type": "function", "name": "ping"}


def test_bind_tools_passes_its_options_on(emulator: Emulator, llm: ChatDoubleword) -> None:
    def look(at: int) -> str:
        """Look at something."""
        return str(at)

    class Seen(BaseModel):
        """What was seen."""

        what: str

    bound = llm.bind_tools([look], tool_choice="any", strict=True, parallel_tool_calls=False, response_format=Seen)
    bound.invoke("Look at 3.")
    body = bodies(emulator)[0]
    assert body["tools"][0]["strict"] is True
    assert body["tools"][0]["parameters"]["additionalProperties"] is False
    assert body["tool_choice"] == "required"
    assert body["parallel_tool_calls"] is False
    assert body["text"]["format"]["name"] == "Seen"


def test_stop_sequences_reach_the_wire_and_stop_the_model(emulator: Emulator, llm: ChatDoubleword) -> None:
    """LangChain leaves them out of Responses requests; this service reads them."""
    assert "language model" not in llm.invoke("Hi.", stop=["language"]).text
    assert bodies(emulator)[0]["stop"] == ["language"]
    llm.bind(stop="rules").invoke("Hi.")
    assert bodies(emulator)[1]["stop"] == ["rules"]


@pytest.mark.parametrize(
    ("content", "mend"),
    [
        ([{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}], "/chat/completions"),
        ([{"type": "file", "base64": "QUJD", "mime_type": "application/pdf", "filename": "a.pdf"}], "extract its text"),
        ([{"type": "audio", "base64": "QUJD", "mime_type": "audio/wav"}], "transcribe"),
        ([{"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}], "transcribe"),
        ([{"type": "video", "url": "http://example.org/a.mp4"}], "frames"),
        ([{"type": "image", "file_id": "file-1"}], "base64"),
        ([{"type": "no such block"}], "as text"),
    ],
)
def test_content_that_the_service_would_drop_is_refused(
    emulator: Emulator, llm: ChatDoubleword, content: list[dict[str, Any]], mend: str
) -> None:
    with pytest.raises(InvalidStep, match=mend) as caught:
        llm.invoke([HumanMessage("Hi."), HumanMessage(content)])  # type: ignore[arg-type]
    assert caught.value.field.startswith("messages[1].content")
    assert emulator.counters.snapshot().requests == 0


def test_files_in_tool_outputs_are_refused(emulator: Emulator, llm: ChatDoubleword) -> None:
    output = [{"type": "file", "base64": "QUJD", "mime_type": "application/pdf", "filename": "a.pdf"}]
    with pytest.raises(InvalidStep, match="extract its text"):
        llm.invoke([HumanMessage("Look."), tool_call(), ToolMessage(output, tool_call_id="c1")])  # type: ignore[arg-type]
    assert emulator.counters.snapshot().requests == 0


def test_items_of_built_in_tools_in_the_history_are_left_out_with_a_warning(
    emulator: Emulator, llm: ChatDoubleword
) -> None:
    searched = AIMessage(
        [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"type": "text", "text": "Found."}],
        response_metadata={"model_provider": "openai"},
    )
    with pytest.warns(DoublewordWarning, match="web_search_call"):
        llm.invoke([HumanMessage("Search."), searched, HumanMessage("And?")])
    assert [item["type"] for item in bodies(emulator)[0]["input"]] == ["message"] * 3
