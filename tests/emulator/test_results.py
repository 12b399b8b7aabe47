"""The lines of output and error files."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dw_agents.emulator import Fault, UpstreamError
from dw_agents.emulator.answers import NetworkError
from dw_agents.emulator.results import (
    Failure,
    error_line,
    expired_line,
    output_line,
    spoil_answer,
    spoil_line,
)

IDENT = "batch_req_1"
LINE = output_line(IDENT, 'a"b', b'{"x":1}')


def decoded(line: bytes) -> Any:
    return msgspec.json.decode(line)


def test_an_answer_has_its_status_and_no_error() -> None:
    assert decoded(LINE) == {
        "id": IDENT,
        "custom_id": 'a"b',
        "response": {"status_code": 200, "request_id": None, "body": {"x": 1}},
        "error": None,
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "NonRetriableHttpStatus"),
        (402, "NonRetriableHttpStatus"),
        (404, "RetriableHttpStatus"),
        (429, "RetriableHttpStatus"),
        (503, "RetriableHttpStatus"),
    ],
)
def test_a_failure_is_a_text_that_holds_json(status: int, kind: str) -> None:
    told = decoded(error_line(IDENT, "a", Failure.of(UpstreamError(status, "no")), openai=False))

    assert (told["custom_id"], told["response"], told["error"]["code"]) == ("a", None, None)
    reason = decoded(told["error"]["message"])
    assert (reason["type"], reason["details"]["status"]) == (kind, status)
    assert decoded(reason["details"]["body"])["error"]["message"] == "no"


def test_a_network_failure_has_no_status() -> None:
    error = NetworkError('{"type":"NetworkError","details":{"error":"reset"}}')
    told = decoded(error_line(IDENT, "a", Failure.of(error), openai=False))

    assert decoded(told["error"]["message"]) == {"type": "NetworkError", "details": {"error": "reset"}}


def test_a_backend_that_breaks_is_a_500_that_names_the_error() -> None:
    failure = Failure.of(KeyError("x"))

    assert (failure.status, "KeyError" in failure.message) == (500, True)


def test_openai_tells_a_failure_as_a_response() -> None:
    told = decoded(error_line(IDENT, "a", Failure.with_status(429, "slow down"), openai=True))

    assert told["error"] is None
    assert told["response"]["status_code"] == 429
    assert told["response"]["body"]["error"]["message"] == "slow down"
    assert told["response"]["request_id"].startswith("req_")


def test_a_line_left_behind_is_a_timeout_here_and_batch_expired_at_openai() -> None:
    here = decoded(expired_line(IDENT, "a", openai=False))
    there = decoded(expired_line(IDENT, "a", openai=True))

    assert decoded(here["error"]["message"])["type"] == "Timeout"
    assert (there["error"]["code"], there["response"]) == ("batch_expired", None)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("missing_line", []),
        ("duplicate_line", [LINE, LINE]),
        ("malformed_line", [LINE[: len(LINE) // 2]]),
        ("unknown_custom_id", [output_line(IDENT, 'unknown-a"b', b'{"x":1}')]),
        ("reasoning", [LINE]),
    ],
)
def test_a_fault_spoils_a_line_in_its_own_way(kind: str, written: list[bytes]) -> None:
    assert spoil_line(LINE, 'a"b', [Fault(kind)]) == written


def test_a_malformed_line_cannot_be_decoded() -> None:
    (written,) = spoil_line(LINE, 'a"b', [Fault("malformed_line")])
    with pytest.raises(msgspec.DecodeError):
        decoded(written)


def test_an_unknown_ending_is_a_finish_reason_or_a_status() -> None:
    chat: dict[str, Any] = {"object": "chat.completion", "choices": [{"finish_reason": "stop"}]}
    response: dict[str, Any] = {"object": "response", "status": "completed"}
    for body in (chat, response):
        spoil_answer(body, [Fault("unknown_finish_reason", message="bored")])

    assert (chat["choices"][0]["finish_reason"], response["status"]) == ("bored", "bored")
