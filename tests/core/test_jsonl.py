"""Batch files on the wire."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw_agents.wire import batches
from dw_agents.wire.jsonl import Lines, read_line, request_line


def test_a_request_line_is_what_the_api_reads() -> None:
    line = request_line("t-7", "/responses", b'{"model":"m","input":"\\u00e4\\n"}')
    assert line.endswith(b"\n")
    assert msgspec.json.decode(line) == {
        "custom_id": "t-7",
        "method": "POST",
        "url": "/v1/responses",
        "body": {"model": "m", "input": "ä\n"},
    }


def test_an_output_line_gives_the_body_as_it_came() -> None:
    line = read_line(b'{"id":"b","custom_id":"t-7","response":{"status_code":200,"body":{"a": 1.50}},"error":null}')
    assert line is not None
    assert (line.custom_id, line.status, line.body, line.error) == ("t-7", 200, b'{"a": 1.50}', None)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"custom_id":3}', b"<html>", b'{"id":"x"}'])
def test_what_is_no_result_line_is_not_read_as_one(text: bytes) -> None:
    assert read_line(text) is None


@given(st.lists(st.binary(min_size=1).filter(lambda b: b == b.strip() and b"\n" not in b)), st.integers(1, 7))
def test_lines_survive_however_the_stream_is_cut(lines: list[bytes], size: int) -> None:
    stream = b"\n".join(lines)
    cutter = Lines()
    found: list[bytes] = []
    for start in range(0, len(stream), size):
        found += cutter.feed(stream[start : start + size])
    last = cutter.end()
    assert [*found, *([last] if last else [])] == lines


def test_blank_lines_are_no_lines() -> None:
    cutter = Lines()
    assert list(cutter.feed(b"a\n\n  \nb\n")) == [b"a", b"b"]
    assert cutter.end() is None


@pytest.mark.parametrize(
    ("message", "number"),
    [("Line 3: custom_id is too long", 2), ("Invalid JSON on line 12: eof", 11), ("File contains 9 requests", None)],
)
def test_a_refused_upload_may_blame_a_line(message: str, number: int | None) -> None:
    assert batches.bad_line(message) == number


@pytest.mark.parametrize(
    ("error", "status", "body", "expected"),
    [
        (None, 400, b'{"error":{"message":"too long"}}', (400, "", "too long")),
        (None, 500, b"plain", (500, "", "plain")),
        ({"code": "batch_expired", "message": "late"}, None, None, (None, "batch_expired", "late")),
        ({"code": "429", "message": "slow"}, None, None, (429, "429", "slow")),
        (
            {"code": None, "message": '{"type":"NonRetriableHttpStatus","details":{"status":400,"body":"bad"}}'},
            None,
            None,
            (400, "NonRetriableHttpStatus", "bad"),
        ),
        (
            {"code": None, "message": '{"type":"NetworkError","details":{"error":"reset"}}'},
            None,
            None,
            (None, "NetworkError", "reset"),
        ),
        (
            {"code": None, "message": '{"type":"TaskTerminated"}'},
            None,
            None,
            (None, "TaskTerminated", "TaskTerminated"),
        ),
        (
            {"code": None, "message": '{"type":"RequestBuilderError","details":{"error":"url"}}'},
            None,
            None,
            (400, "RequestBuilderError", "url"),
        ),
    ],
)
def test_the_reason_of_a_failed_line_is_read_in_every_form(
    error: dict[str, object] | None,
    status: int | None,
    body: bytes | None,
    expected: tuple[int | None, str, str],
) -> None:
    assert batches.line_error(error, status, body) == expected


async def test_an_upload_is_as_long_as_it_says_and_can_be_sent_again() -> None:
    upload = batches.Upload("f.jsonl", [b"line %d\n" % i * 1000 for i in range(100)])
    for _ in range(2):
        pieces = [piece async for piece in upload.chunks()]
        assert sum(map(len, pieces)) == int(upload.headers["Content-Length"])
        assert len(pieces) > 1


def test_a_batch_is_found_by_its_token_and_by_nothing_else() -> None:
    listed = {
        "data": [
            {"id": "other", "status": "completed", "metadata": {"dw_agents": "another", "note": "token"}},
            {"id": "mine", "status": "completed", "metadata": {"dw_agents": "token"}},
        ]
    }
    found = batches.find_batch(msgspec.json.encode(listed), "token")
    assert found is not None
    assert found.id == "mine"
    assert batches.find_batch(msgspec.json.encode({"data": listed["data"][:1]}), "token") is None
    files = msgspec.json.encode({"data": [{"id": "f", "filename": "dw-agents-token.jsonl"}]})
    assert batches.find_file(files, "token") == "f"
    assert batches.find_file(files, "other") is None
