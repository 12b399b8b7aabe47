"""From the service's answer to LlamaIndex's response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llama_index.core.base.llms.types import TextBlock, ThinkingBlock, ToolCallBlock

from dw_agents import Answer, Step, Ticket
from llama_index.llms.dw_agents import DoublewordWarning
from llama_index.llms.dw_agents.answers import as_chunk, as_completion, to_response
from llama_index.llms.dw_agents.errors import AnswerTruncated, MalformedAnswer

USAGE = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8, "output_tokens_details": {"reasoning_tokens": 2}}


def answer_of(*output: Any, truncated: bool = False, asked: Any = None, **more: Any) -> Answer:
    """Return an answer with these items."""
    body = {"id": "resp_1", "status": "completed", "output": list(output), "usage": USAGE, **more}
    step = Step(body={"model": "m", **(asked or {})})
    return Answer(json.dumps(body).encode(), Ticket(step), truncated=truncated)


def message(*texts: str, **part: Any) -> dict[str, Any]:
    parts: list[Any] = [{"type": "output_text", "text": text} for text in texts]
    return {"type": "message", "role": "assistant", "content": [*parts, part] if part else parts}


def call(name: str = "f", arguments: str = "{}", ident: str | None = "c1") -> dict[str, Any]:
    return {"type": "function_call", "call_id": ident, "name": name, "arguments": arguments}


def test_each_item_is_one_block_in_the_order_of_the_items() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "Hm."}], "x": 1}
    response = to_response(answer_of(thought, message("A", "B"), call(), message("C"), call("g", '{"a": 1}', "c2")))
    blocks = response.message.blocks
    assert [type(block) for block in blocks] == [ThinkingBlock, TextBlock, ToolCallBlock, TextBlock, ToolCallBlock]
    assert response.message.content == "AB\nC"
    assert isinstance(blocks[0], ThinkingBlock)
    assert (blocks[0].content, blocks[0].num_tokens, blocks[0].additional_information) == ("Hm.", 2, thought)
    assert isinstance(blocks[4], ToolCallBlock)
    assert blocks[4].tool_kwargs == {"a": 1}


def test_a_summary_stands_for_reasoning_that_is_not_shown() -> None:
    secret = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "..."}
    response = to_response(answer_of(secret, {**secret, "summary": []}, message("A")))
    assert [block.content for block in response.message.blocks if isinstance(block, ThinkingBlock)] == ["Hm.", None]
    assert response.additional_kwargs["thinking_delta"] == "Hm."


def test_items_that_the_service_may_invent_later_are_left_in_raw() -> None:
    response = to_response(answer_of({"type": "novelty", "id": "n"}, message("A")))
    assert response.message.content == "A"
    assert response.raw is not None
    assert response.raw["output"][0]["type"] == "novelty"


@pytest.mark.parametrize(
    ("output", "reason"),
    [([message("A")], "stop"), ([call()], "tool_calls"), ([message("A"), call()], "tool_calls")],
)
def test_the_reason_of_the_end_is_told(output: list[Any], reason: str) -> None:
    assert to_response(answer_of(*output)).additional_kwargs["finish_reason"] == reason


def test_tokens_are_counted_where_the_service_counted() -> None:
    assert to_response(answer_of(message("A"))).additional_kwargs == {
        "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8,
    }  # fmt: skip
    for usage in (None, {}, {"input_tokens": None}):
        assert to_response(answer_of(message("A"), usage=usage)).additional_kwargs == {"finish_reason": "stop"}


def test_ids_of_calls_are_set_distinct_and_the_same_each_time() -> None:
    output = (call(ident=None), call(ident="c1"), call(ident="c1"), call(ident=""))
    reads = [[block.tool_call_id for block in to_response(answer_of(*output)).message.blocks] for _ in range(2)]  # type: ignore[union-attr]
    assert reads[0] == reads[1]
    assert reads[0][1] == "c1"
    assert len(set(reads[0])) == 4
    assert all(reads[0])


def test_a_call_without_arguments_has_none() -> None:
    block = to_response(answer_of(call(arguments=""))).message.blocks[0]
    assert isinstance(block, ToolCallBlock)
    assert block.tool_kwargs == {}


def test_only_one_call_is_kept_where_parallel_ones_were_not_allowed() -> None:
    """In both forms; ``raw`` shows them all."""
    response = to_response(answer_of(call(), call("g", ident="c2"), asked={"parallel_tool_calls": False}))
    assert [block.tool_call_id for block in response.message.blocks] == ["c1"]  # type: ignore[union-attr]
    assert [one["id"] for one in response.message.additional_kwargs["tool_calls"]] == ["c1"]
    assert response.raw is not None
    assert len(response.raw["output"]) == 2


def test_a_refusal_is_text_and_marked() -> None:
    response = to_response(answer_of(message("Well. ", type="refusal", refusal="No.")))
    assert response.message.content == "Well. No."
    assert response.message.additional_kwargs["refusal"] == response.additional_kwargs["refusal"] == "No."


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"truncated": True}, "length"),
        ({"status": "incomplete"}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    ],
)
def test_an_answer_that_was_cut_is_marked_and_warned_about_once(more: Any, reason: str) -> None:
    """On the message, too: an agent keeps nothing else of the response."""
    with pytest.warns(DoublewordWarning, match="was cut"):
        response = to_response(answer_of(message("A"), **more))
    assert response.additional_kwargs["finish_reason"] == reason
    assert response.additional_kwargs["truncated"] is True
    assert response.message.additional_kwargs["truncated"] is True
    to_response(answer_of(message("A"), **more))


@pytest.mark.parametrize(
    "output",
    [
        [],
        [message("")],
        [{"type": "reasoning", "summary": []}],
        [call(arguments='{"a": ')],
        [message("A"), call(arguments="[1")],
    ],
)
def test_an_answer_that_was_cut_before_it_could_be_used_is_an_error(output: list[Any]) -> None:
    with pytest.raises(AnswerTruncated, match="max_tokens") as caught:
        to_response(answer_of(*output, truncated=True))
    assert caught.value.ticket is not None


def test_a_filtered_answer_does_not_ask_for_more_tokens() -> None:
    with pytest.raises(AnswerTruncated, match=r"content_filter.*rephrase"):
        to_response(answer_of(status="incomplete", incomplete_details={"reason": "content_filter"}))


@pytest.mark.parametrize(
    "output",
    [
        None,
        "text",
        [7],
        [{}],
        [{"type": "message"}],
        [{"type": "function_call", "call_id": "c"}],
        [message(type="refusal")],
    ],
)
def test_what_is_no_response_is_an_error(output: Any) -> None:
    answer = answer_of()
    answer.body["output"] = output
    with pytest.raises(MalformedAnswer, match="resp_1"):
        to_response(answer)


def test_an_empty_answer_that_was_not_cut_is_an_empty_text() -> None:
    """The model had nothing to say; LlamaIndex's components expect text."""
    assert to_response(answer_of()).message.content == ""


def test_a_chunk_is_the_whole_message_with_its_text_as_the_delta() -> None:
    response = to_response(answer_of(message("A"), call()))
    chunk = as_chunk(response)
    assert chunk.message is response.message
    assert (chunk.delta, response.delta) == ("A", None)
    assert as_chunk(to_response(answer_of(call()))).delta == ""


def test_a_completion_knows_what_the_chat_knew() -> None:
    completion = as_completion(as_chunk(to_response(answer_of(message("A", type="refusal", refusal="No.")))))
    assert (completion.text, completion.delta) == ("ANo.", "ANo.")
    assert completion.additional_kwargs["refusal"] == "No."
    assert completion.additional_kwargs["total_tokens"] == 8
