"""Chat calls that cannot be a background Response take the flex tier's blocking form, as they are, and say so once."""

from __future__ import annotations

import asyncio
import time
import warnings
from typing import TYPE_CHECKING, Any

import openai
import pytest

from dw_agents import errors
from dw_agents.openai import DoublewordWarning
from dw_agents.translate.held import HeldAnswer, Lines, stored_answer
from tests.openai_clients.support import (
    HELLO,
    KINDS,
    MODEL,
    WEATHER,
    Kind,
    call,
    collect,
    eventually,
    posts,
    result,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeClient, MakeEmulator

ANSWERED = {"role": "assistant", "content": None, "tool_calls": [call("get_weather", "c1", city="Oslo")]}
PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]
OPEN = {**WEATHER["function"], "parameters": {"type": "object", "additionalProperties": {"type": "string"}}}
HELD: dict[str, tuple[str, dict[str, Any]]] = {
    "seed": ("seed", {"seed": 7}),
    "a penalty": ("frequency_penalty", {"frequency_penalty": 0.5}),
    "a bias": ("logit_bias", {"logit_bias": {"50": -100}}),
    "a field of the model server's": ("top_k", {"extra_body": {"top_k": 20}}),
    "verbosity": ("verbosity", {"verbosity": "low"}),
    "a user's name": (r"messages\[0\]\.name", {"messages": [{"role": "user", "name": "ada", "content": "hello"}]}),
    "an assistant's name": (
        r"messages\[1\]\.name",
        {"messages": [*HELLO, {"role": "assistant", "name": "bob", "content": "Hi."}, *HELLO]},
    ),
    "a tool's image": (
        r"messages\[2\]\.content\.image_url",
        {"messages": [*HELLO, ANSWERED, {"role": "tool", "tool_call_id": "c1", "content": PICTURE}]},
    ),
    "thoughts": (
        r"messages\[1\]\.reasoning_content",
        {"messages": [*HELLO, {"role": "assistant", "content": "Hi.", "reasoning_content": "Hm."}, *HELLO]},
    ),
    "a refusal": (
        r"messages\[1\]\.refusal",
        {"messages": [*HELLO, {"role": "assistant", "content": None, "refusal": "No."}, *HELLO]},
    ),
    "calls in a message of their own": (
        r"messages\[2\]",
        {"messages": [*HELLO, {"role": "assistant", "content": "Hi."}, ANSWERED]},
    ),
    "a function's message": (
        r"messages\[1\]\.role",
        {"messages": [*HELLO, {"role": "function", "name": "f", "content": "7"}, *HELLO]},
    ),
    "audio in": (
        r"messages\[0\]\.content\[0\]",
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}]}
            ]
        },
    ),
    "a mark for the cache": (
        r"messages\[0\]\.content\[0\]\.cache_control",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "e"}}]}]},
    ),
    "a tool with open parameters": (
        r"tools\[0\]\.function\.parameters\.additionalProperties",
        {"tools": [{"type": "function", "function": OPEN}]},
    ),
    "some of the tools": (
        r"tool_choice\.allowed_tools",
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        },
    ),
    "a schema's description": (
        r"response_format\.json_schema\.description",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "description": "b", "schema": {"type": "object"}},
            }
        },
    ),
}


@pytest.fixture
def quietly() -> Iterator[None]:
    """Say nothing of the form: it is another test's matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoublewordWarning)
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", HELD)
async def test_what_responses_cannot_express_travels_as_it_is_and_is_said_once(
    emulator: Emulator, ours: MakeClient, theirs: MakeClient, kind: Kind, case: str
) -> None:
    field, said = HELD[case]
    asked = {"model": MODEL, "messages": HELLO, **said}
    client = ours(kind)
    with pytest.warns(DoublewordWarning, match=f"^{field} cannot travel as a background Response"):
        mine = await result(client.chat.completions.create(**asked))
    direct = await result(theirs(kind).chat.completions.create(**asked))
    assert shown(mine, "logprobs") == shown(direct, "logprobs")
    assert mine.service_tier == "flex"
    held, plain = posts(emulator, "/chat/completions")
    del held["service_tier"], held["stream"], held["stream_options"]
    assert held == plain
    assert (emulator.counters.flex, emulator.counters.realtime) == (1, 1)
    await result(client.chat.completions.create(**asked))  # said once, and warnings are errors here


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_held_answer_is_whole_with_its_reasoning_and_calls(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    client = ours(kind)
    thought = await result(client.chat.completions.create(model=MODEL, messages=HELLO, seed=1, reasoning_effort="low"))
    assert "Effort low" in thought.choices[0].message.reasoning_content
    ask = [{"role": "user", "content": "What is the weather, city: Oslo"}]
    called = await result(client.chat.completions.create(model=MODEL, messages=ask, seed=1, tools=[WEATHER]))
    assert called.choices[0].message.tool_calls[0].function.arguments == '{"city": "Oslo"}'
    assert called.usage.total_tokens > 0


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_held_call_can_be_streamed_and_parsed(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "seed": 1}
    client = ours(kind)
    chunks = await collect(client.chat.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith("You wrote: hello")
    raw = await result(client.chat.completions.with_raw_response.create(**asked))
    assert raw.request_id == emulator.jobs[-1].id


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_cannot_be_read_again_is_taken_from_the_stream(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    emulator.faults.add("status", route="GET /responses/{id}", status=404)
    ask = [{"role": "user", "content": "What is the weather, city: Oslo"}]
    answer = await result(ours(kind).chat.completions.create(model=MODEL, messages=ask, seed=1, tools=[WEATHER]))
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
    assert answer.choices[0].message.content is None


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "sent", "sdk_class", "own_class"),
    [
        ({"kind": "status", "status": 400}, 1, openai.BadRequestError, errors.BadRequest),
        ({"kind": "fail_job", "code": 400}, 1, openai.BadRequestError, errors.BadRequest),
        ({"kind": "lost_reply"}, 1, openai.APIConnectionError, errors.SubmissionUnknown),
        ({"kind": "status", "status": 500}, 1, openai.APIConnectionError, errors.SubmissionUnknown),
        ({"kind": "reset_body"}, 1, openai.APIConnectionError, errors.SubmissionUnknown),
        ({"kind": "garbage"}, 1, openai.APIConnectionError, errors.SubmissionUnknown),
    ],
)
async def test_what_goes_wrong_is_raised_in_both_terms_with_a_ticket_after_one_submission(
    emulator: Emulator,
    ours: MakeClient,
    *,
    kind: Kind,
    fault: dict[str, Any],
    sent: int,
    sdk_class: type[openai.APIError],
    own_class: type[errors.StepError],
) -> None:
    emulator.faults.add(
        fault["kind"],
        **{name: value for name, value in fault.items() if name != "kind"},
        route="POST /chat/completions",
    )
    with pytest.raises(sdk_class) as caught:
        await result(ours(kind, on_unknown="raise").chat.completions.create(model=MODEL, messages=HELLO, seed=1))
    assert isinstance(caught.value, own_class)
    error: Any = caught.value
    assert error.ticket.step.body["seed"] == 1
    assert error.ticket.done()
    assert emulator.counters["POST /chat/completions"] == sent


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 429, "retry_after": 0},
        {"kind": "lost_reply"},
        {"kind": "fail_job", "code": 503},
    ],
)
async def test_a_passing_failure_is_tried_again_once_it_is_safe_or_allowed(
    emulator: Emulator, ours: MakeClient, kind: Kind, fault: dict[str, Any]
) -> None:
    emulator.faults.add(
        fault["kind"],
        **{name: value for name, value in fault.items() if name != "kind"},
        times=1,
        route="POST /chat/completions",
    )
    answer = await result(ours(kind).chat.completions.create(model=MODEL, messages=HELLO, seed=1))
    assert answer.choices[0].finish_reason == "stop"
    assert emulator.counters["POST /chat/completions"] == 2


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_tried_again_where_retries_are_off(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    emulator.faults.add("status", status=429, retry_after=0)
    with pytest.raises(openai.RateLimitError):
        await result(ours(kind, max_retries=0).chat.completions.create(model=MODEL, messages=HELLO, seed=1))
    assert emulator.counters.requests == 1


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
async def test_comments_keep_a_held_call_alive_and_its_time_limit_ends_it(
    make_emulator: MakeEmulator, ours: MakeClient, kind: Kind
) -> None:
    slow = make_emulator(latency=3600, keepalive_every=0.05)
    client = ours(kind, base_url=slow.base_url, api_key=slow.api_key)
    started = time.monotonic()
    with pytest.raises(openai.APITimeoutError, match=r"timeout=0\.4 s") as caught:
        await result(client.chat.completions.create(model=MODEL, messages=HELLO, seed=1, timeout=0.4))
    assert 0.4 <= time.monotonic() - started < 5
    assert isinstance(caught.value, errors.DeadlineExceeded)


@pytest.mark.usefixtures("quietly")
async def test_a_silent_connection_ends_at_the_time_limit_too(make_emulator: MakeEmulator, ours: MakeClient) -> None:
    slow = make_emulator(latency=3600, keepalive_every=3600)
    client = ours(base_url=slow.base_url, api_key=slow.api_key)
    with pytest.raises(openai.APITimeoutError) as caught:
        client.chat.completions.create(model=MODEL, messages=HELLO, seed=1, timeout=0.3)
    assert isinstance(caught.value, errors.DeadlineExceeded)


@pytest.mark.usefixtures("quietly")
async def test_a_cancelled_held_call_ends_at_once_and_closes_its_connection(
    make_emulator: MakeEmulator, ours: MakeClient
) -> None:
    slow = make_emulator(latency=3600)
    client = ours("async", base_url=slow.base_url, api_key=slow.api_key)
    task = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=HELLO, seed=1))
    assert await asyncio.to_thread(eventually, lambda: len(slow.running()) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "a", "format": "wav"}}, "audio"),
        ({"messages": "hello"}, "messages"),
    ],
)
@pytest.mark.parametrize("tier", ["flex", "batch"])
async def test_what_no_deferred_answer_brings_back_is_refused_by_name_before_it_is_paid(
    emulator: Emulator, ours: MakeClient, *, kind: Kind, said: dict[str, Any], field: str, tier: str
) -> None:
    client = ours(kind, service_tier=tier)
    with pytest.raises(openai.BadRequestError) as caught:
        await result(client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **said}))
    assert isinstance(caught.value, errors.InvalidStep)
    assert caught.value.param == field
    assert emulator.counters.requests == 0


async def test_the_background_tier_has_no_other_form(emulator: Emulator, ours: MakeClient) -> None:
    with pytest.raises(openai.BadRequestError, match="seed") as caught:
        ours(service_tier="background").chat.completions.create(model=MODEL, messages=HELLO, seed=1)
    assert caught.value.param == "seed"
    assert emulator.counters.requests == 0


@pytest.mark.parametrize("case", HELD)
async def test_a_batch_carries_chat_as_it_is(emulator: Emulator, ours: MakeClient, case: str) -> None:
    said = {name: value for name, value in HELD[case][1].items() if name != "extra_body"}
    asked = {"model": MODEL, "messages": HELLO, **said, **HELD[case][1].get("extra_body", {})}
    client = ours(service_tier="batch")
    client.post("/chat/completions", cast_to=object, body=asked)
    assert [file.lines()[0]["body"] for file in emulator.files if file.purpose == "batch"] == [asked]


def test_a_stream_in_pieces_is_put_together() -> None:
    answer = HeldAnswer()
    for line in (
        ": keep-alive",
        "",
        'data: {"id":"resp_1","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}',
        'data: {"id":"resp_1","choices":[{"index":0,"delta":{"content":"He"}}]}',
        'data: {"id":"resp_1","choices":[{"index":0,"delta":{"content":"llo"},"finish_reason":"stop"}]}',
        'data: {"id":"resp_1","choices":[],"usage":{"total_tokens":3}}',
        "data: [DONE]",
    ):
        answer.line(line)
    assert answer.done
    completion = answer.completion()
    assert completion is not None
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert completion["usage"] == {"total_tokens": 3}
    assert answer.response_id == "resp_1"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_end_at_the_ends_of_lines_of_the_format_only(size: int) -> None:
    text = 'data: "a\u2028b\x85c\x0bd"\r\n\ndata: Grüße\n'
    sent, lines, found = text.encode(), Lines(), []
    for start in range(0, len(sent), size):
        found += lines.feed(sent[start : start + size])
    assert found == ['data: "a\u2028b\x85c\x0bd"', "", "data: Grüße"]


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_held_answer_may_hold_any_character(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    text = "a\u2028b\x85c\x0bd"
    answer = await result(
        ours(kind).chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], seed=1)
    )
    assert text in answer.choices[0].message.content


@pytest.mark.parametrize("line", ["data: {", "data: 7", "data: []"])
def test_a_line_that_is_no_event_is_an_error(line: str) -> None:
    with pytest.raises(ValueError):
        HeldAnswer().line(line)


@pytest.mark.parametrize("stored", [b"{", b"{}", b'{"output":[]}', b'{"output":[{"content":"x"}]}', b"[]"])
def test_a_stored_object_without_a_chat_answer_is_none(stored: bytes) -> None:
    assert stored_answer(stored) is None
