"""The rules for one line of an uploaded file."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dw_agents.emulator.errors import Refused
from dw_agents.emulator.lines import URLS, check, parse
from tests.emulator.batch_support import CHAT, line
from tests.emulator.support import MODEL


def checked(request: Any, *, number: int = 3, body_limit: int = 1000) -> tuple[str, bytes]:
    text = request if isinstance(request, bytes) else msgspec.json.encode(request)
    return check(text, number, body_limit=body_limit)


def refusal(request: Any, **how: Any) -> str:
    with pytest.raises(Refused) as caught:
        checked(request, **how)
    assert caught.value.reply.status == 400
    assert caught.value.reply.content_type.startswith("text/plain")
    return caught.value.reply.body.decode()


def test_a_good_line_is_kept_as_it_was_written() -> None:
    text = b'{"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "M",  "input": "x"}}'

    assert checked(text) == ("M", text)


@pytest.mark.parametrize("url", URLS)
def test_every_served_path_is_allowed(url: str) -> None:
    assert checked(line(url=url))[0] == MODEL


def test_the_method_may_be_written_in_small_letters() -> None:
    assert checked({**line(), "method": "post"})[0] == MODEL


@pytest.mark.parametrize("name", ["priority", "service_tier", "background"])
def test_how_a_line_wants_to_travel_is_taken_out_of_it(name: str) -> None:
    _, stored = checked(line(**{name: "flex"}))

    assert parse(stored).body == {"model": MODEL, "input": "a"}
    assert msgspec.json.decode(stored)["method"] == "POST"


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'"x"', b"{}", b'{"custom_id":"a","method":"POST","url":"/v1/responses"}']
)
def test_what_is_no_request_is_invalid_json_on_its_line(text: bytes) -> None:
    assert refusal(text).startswith("Invalid JSON on line 3: ")


def test_what_is_no_utf8_says_so() -> None:
    text = msgspec.json.encode(line("XX")).replace(b"XX", b"\xff\xfe")

    assert refusal(text).startswith(("File contains invalid UTF-8", "Invalid JSON on line 3"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"custom_id": "x" * 65}, "65 bytes"),
        ({"custom_id": "é" * 33}, "66 bytes"),
        ({"custom_id": "é"}, "ASCII"),
        ({"custom_id": "a\nb"}, "ASCII"),
        ({"method": "GET"}, "Unsupported HTTP method 'GET'"),
        ({"url": "/responses"}, "Unsupported URL path '/responses'"),
        ({"body": "text"}, "Missing 'model'"),
        ({"body": {"input": "x"}}, "Missing 'model'"),
        ({"body": {"model": 1}}, "Missing 'model'"),
        ({"body": {"model": "M", "input": "x" * 1000}}, "exceeds the maximum of 1000"),
        ({"body": {"model": "Qwen/Qwen3-Embedding-8B"}}, "makes embeddings"),
        ({"body": {"model": "M", "reasoning": {"effort": "huge"}}}, "reasoning_effort must be one of"),
    ],
)
def test_a_rule_that_is_broken_names_the_line_and_the_rule(change: dict[str, Any], said: str) -> None:
    text = refusal({**line(), **change})

    assert text.startswith("Line 3: ")
    assert said in text


def test_chat_lines_are_held_to_the_reasoning_policy() -> None:
    assert "thinking" in refusal(line(url=CHAT, thinking=True))
    assert checked(line(url=CHAT, reasoning_effort="low"))[0] == MODEL


def test_64_bytes_of_custom_id_are_allowed() -> None:
    assert checked(line("x" * 64))[0] == MODEL


def test_an_embedding_model_may_embed() -> None:
    assert checked(line(url="/v1/embeddings", model="Qwen/Qwen3-Embedding-8B"))[0] == "Qwen/Qwen3-Embedding-8B"
