"""Output items and the shapes of a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator.jobs import Job
from dw_agents.emulator.objects import (
    accepted_object,
    error_type,
    full_object,
    openai_object,
    output_items,
    response_status,
    response_usage,
    stored_object,
)

if TYPE_CHECKING:
    from dw_agents.emulator.jobs import Tier

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def completion(finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}]}


def job(tier: Tier = "flex") -> Job:
    return Job(tier=tier, endpoint="/responses", body={"model": "M"}, owner="o", created=1000.5)


def test_an_answer_becomes_reasoning_then_message_then_calls() -> None:
    items = output_items(completion(content="Hi", reasoning_content="Hm", tool_calls=[CALL, CALL]), streamed=True)

    assert [item["type"] for item in items] == ["reasoning", "message", "function_call", "function_call"]
    assert items[0] == {
        "type": "reasoning",
        "id": "item_0",
        "content": [{"type": "reasoning_text", "text": "Hm"}],
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "status": "completed",
    }
    assert items[1]["content"] == [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}]
    assert items[2] == {
        "type": "function_call",
        "id": "item_2",
        "call_id": "call_1",
        "name": "f",
        "arguments": '{"a":1}',
        "status": "completed",
    }


def test_item_ids_repeat_from_one_flex_response_to_the_next_but_not_on_realtime() -> None:
    flex = [output_items(completion(content="x"), streamed=True)[0]["id"] for _ in range(2)]
    realtime = [output_items(completion(content="x"), streamed=False)[0]["id"] for _ in range(2)]

    assert flex == ["item_0", "item_0"]
    assert len(set(realtime)) == 2


def test_a_refusal_is_a_part_of_the_message() -> None:
    items = output_items(completion(content=None, refusal="No."), streamed=True)

    assert items[0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_an_empty_answer_has_no_items() -> None:
    assert output_items(completion(content=""), streamed=True) == []
    assert output_items({"choices": []}, streamed=True) == []


def test_a_cut_off_item_is_incomplete_on_realtime_and_completed_on_flex() -> None:
    cut_off = completion("length", content="x")

    assert output_items(cut_off, streamed=False)[0]["status"] == "incomplete"
    assert output_items(cut_off, streamed=True)[0]["status"] == "completed"


@pytest.mark.parametrize(
    ("finish", "status"),
    [
        ("stop", "completed"),
        ("length", "incomplete"),
        ("tool_calls", "requires_action"),
        ("content_filter", "failed"),
        ("other", "completed"),
    ],
)
def test_the_realtime_status_follows_the_finish_reason(finish: str, status: str) -> None:
    assert response_status(completion(finish)) == status


def test_no_choices_mean_failed() -> None:
    assert response_status({"choices": []}) == "failed"


def test_usage_is_renamed_and_missing_details_read_zero() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1}}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}

    assert response_usage({**usage, **details}) == {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    plain = response_usage(usage)
    assert plain is not None
    assert (plain["input_tokens_details"], plain["output_tokens_details"]) == (
        {"cached_tokens": 0},
        {"reasoning_tokens": 0},
    )
    assert response_usage(None) is None


@pytest.mark.parametrize(
    ("tier", "extra"),
    [
        ("flex", {"status": "queued", "service_tier": "flex"}),
        ("background", {"status": "queued", "service_tier": "background"}),
        ("priority", {"status": "in_progress"}),
    ],
)
def test_the_accepting_reply_has_these_keys_and_no_others(tier: Tier, extra: dict[str, str]) -> None:
    one = job(tier=tier)

    assert accepted_object(one) == {
        "id": one.id,
        "object": "response",
        "model": "M",
        "background": True,
        "output": [],
        **extra,
    }


def test_a_stored_response_shows_few_keys_and_forgets_background_on_flex() -> None:
    one = job()
    shown = stored_object(one)
    assert shown == {
        "id": one.id,
        "object": "response",
        "created_at": 1000,
        "status": "queued",
        "model": "M",
        "background": False,
        "output": [],
        "service_tier": "flex",
    }

    one.complete(1010.9, output=[{"type": "message"}], usage={"input_tokens": 1})
    assert stored_object(one) == {
        **shown,
        "status": "completed",
        "output": [{"type": "message"}],
        "usage": {"input_tokens": 1},
        "completed_at": 1010,
    }


def test_a_stored_background_response_remembers_background() -> None:
    assert stored_object(job(tier="background"))["background"] is True


def test_a_failed_response_has_an_error_and_no_completion_time() -> None:
    one = job()
    one.fail(1001, {"type": "rate_limit_error", "message": "m", "code": 429})

    assert stored_object(one)["error"] == {"type": "rate_limit_error", "message": "m", "code": 429}
    assert not {"completed_at", "usage"} & set(stored_object(one))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "insufficient_credits"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (499, "client_disconnected"),
        (500, "server_error"),
        (418, "server_error"),
        (None, "server_error"),
    ],
)
def test_the_error_type_follows_the_upstream_status(status: int | None, kind: str) -> None:
    assert error_type(status) == kind


def test_the_realtime_object_echoes_the_request_and_never_says_why_it_is_incomplete() -> None:
    request = {"model": "M", "input": "x", "metadata": {"a": "b"}, "temperature": 0, "tools": [{"type": "mcp"}]}
    made = full_object("resp_1", request, created=5.5, status="incomplete", output=[], usage=None)

    assert made["incomplete_details"] is None
    assert (made["metadata"], made["temperature"], made["tools"]) == ({"a": "b"}, 0, [{"type": "mcp"}])
    assert (made["service_tier"], made["store"], made["background"], made["completed_at"]) == (
        "default",
        False,
        False,
        None,
    )
    assert (made["top_p"], made["parallel_tool_calls"], made["truncation"]) == (1.0, True, "disabled")


def test_openais_shape_says_incomplete_with_its_reason_and_has_textual_codes() -> None:
    one = job()
    one.answer = completion("length", content="x")
    one.complete(1001, output=[], usage=None)
    shown = openai_object(one)
    assert (shown["status"], shown["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert shown["background"] is True

    broken = job()
    broken.fail(1001, {"type": "rate_limit_error", "message": "m", "code": 429})
    assert openai_object(broken)["error"] == {"code": "rate_limit_exceeded", "message": "m"}
