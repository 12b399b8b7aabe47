"""What LangChain reads of an answer is what it would read of the SDK's own objects."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_openai.chat_models.base import _construct_lc_result_from_responses_api
from openai.types.responses import Response

from langchain_dw_agents.view import View

USAGE = {
    "input_tokens": 7, "output_tokens": 5, "total_tokens": 12,
    "input_tokens_details": {"cached_tokens": 2}, "output_tokens_details": {"reasoning_tokens": 1},
}  # fmt: skip
TEXT: dict[str, Any] = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": '{"a": 1}', "annotations": [], "logprobs": None}],
}  # fmt: skip
CITING = {
    **TEXT,
    "phase": "final_answer",
    "content": [
        {"type": "output_text", "text": "See.", "annotations": [
            {"type": "file_citation", "index": 3, "file_id": "f", "filename": "a.txt"},
            {"type": "url_citation", "start_index": 0, "end_index": 3, "title": "T", "url": "https://example.org"},
        ]},
        {"type": "refusal", "refusal": "No."},
    ],
}  # fmt: skip
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": '{"at": [1, null]}'}
ITEMS: dict[str, list[dict[str, Any]]] = {
    "text": [TEXT],
    "citations, a phase and a refusal": [CITING],
    "calls, one cut off": [CALL, {**CALL, "id": "fc_2", "call_id": "c2", "arguments": '{"at":', "status": None}],
    "a custom tool": [{"type": "custom_tool_call", "id": "ct_1", "call_id": "c1", "name": "run", "input": "1 + 1"}],
    "reasoning": [{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
                   "encrypted_content": None}, TEXT],
    "an item that nobody knows": [{"type": "telepathy", "id": "x"}, TEXT],
    "nothing": [],
}  # fmt: skip


@pytest.mark.parametrize("output_version", [None, "v0", "v1", "responses/v1"])
@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS.keys())
@pytest.mark.parametrize("schema", [None, dict])
def test_a_view_is_converted_as_the_sdks_own_response_is(
    schema: Any, items: list[dict[str, Any]], output_version: str | None
) -> None:
    body: dict[str, Any] = {
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000.0, "model": "m", "status": "completed",
        "service_tier": "flex", "metadata": {"a": "b"}, "usage": USAGE, "error": None, "incomplete_details": None,
        "text": {"format": {"type": "json_schema", "name": "A", "schema": {}}}, "output": items,
    }  # fmt: skip
    convert: Any = _construct_lc_result_from_responses_api
    optional = frozenset({"error", "usage", "text", "service_tier"})
    seen = convert(View(body, optional), schema=schema, output_version=output_version)
    assert seen == convert(Response.construct(**body), schema=schema, output_version=output_version)


def test_a_view_gives_nothing_of_the_answer_away() -> None:
    """LangChain alters the blocks that it got; what the caller's ticket holds stays as it was."""
    body = {"output": [{"type": "reasoning", "summary": [{"text": "Hm."}], "gone": None}]}
    view = View(body)
    dumped = view.output[0].model_dump(exclude_none=True, mode="json")
    assert dumped == {"type": "reasoning", "summary": [{"text": "Hm."}]}
    dumped["summary"][0]["text"] = "Changed."
    assert body["output"][0]["summary"][0]["text"] == "Hm."  # type: ignore[index]
    with pytest.raises(AttributeError, match="no field 'id'"):
        _ = view.id
