"""Packing texts into lines, and reading vectors out of answers."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw_agents import Answer, Step, Ticket
from dw_agents.adapting.vectors import checked, packed, read_vectors
from dw_agents.errors import InvalidStep, MalformedAnswer
from dw_agents.wire.responses import encode


@given(st.lists(st.integers(0, 3_000_000), max_size=200), st.integers(1, 50))
def test_packing_keeps_every_text_in_order_within_both_bounds(sizes: list[int], most: int) -> None:
    lines = packed(sizes, most)
    assert [place for line in lines for place in line] == list(range(len(sizes)))
    for line in lines:
        assert 1 <= len(line) <= most
        assert len(line) == 1 or sum(sizes[place] for place in line) <= 1_000_000


def test_packing_fills_lines() -> None:
    assert packed([10] * 600, 256) == [range(256), range(256, 512), range(512, 600)]
    assert packed([400_000] * 5, 256) == [range(2), range(2, 4), range(4, 5)]


def test_the_largest_line_stays_below_the_apis_limit_whatever_its_texts_hold() -> None:
    """A control character takes six bytes in JSON; that is the most that one byte can grow to."""
    texts, sizes = checked(["\x01" * 1000] * 2000)
    line = packed(sizes, len(texts))[0]
    body = {"model": "m", "input": texts[line.start : line.stop]}
    assert len(line) == 1000
    assert len(encode(Step(body=body, endpoint="/embeddings", service_tier="batch"))) < 10 * 1024 * 1024


def test_an_empty_text_is_sent_as_a_blank_and_others_as_they_are() -> None:
    assert checked(["", " ", "a\n", "ø"]) == ([" ", " ", "a\n", "ø"], [0, 1, 2, 2])


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ("text", "texts"),
        (["a", None], "texts[1]"),
        (["a", b"b"], "texts[1]"),
        (["a", "b", "\ud83d"], "texts[2]"),
        (["x" * 10_485_760], "texts[0]"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_place(texts: Any, field: str) -> None:
    with pytest.raises(InvalidStep) as caught:
        checked(texts)
    assert caught.value.field == field
    assert field in str(caught.value)


def answer(texts: int, *items: Any, raw: bytes | None = None) -> Answer:
    step = Step(body={"model": "m", "input": ["text"] * texts}, endpoint="/embeddings", label="texts[0:2]")
    return Answer(raw if raw is not None else json.dumps({"data": list(items)}).encode(), Ticket(step))


def item(vector: Any, index: int | None = None) -> dict[str, Any]:
    return {"embedding": vector} if index is None else {"embedding": vector, "index": index}


def as_base64(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def test_vectors_are_read_in_the_order_of_their_index() -> None:
    read = read_vectors(answer(3, item([2.0], 2), item([0.0], 0), item([1.0], 1)), dimensions=None)
    assert read == [[0.0], [1.0], [2.0]]


def test_vectors_without_an_index_are_read_as_they_stand() -> None:
    assert read_vectors(answer(2, item([0.5]), item([1.5])), dimensions=1) == [[0.5], [1.5]]


def test_both_encodings_give_the_same_floats_also_mixed() -> None:
    read = read_vectors(answer(2, item(as_base64(1.0, -0.25), 0), item([1, -0.25], 1)), dimensions=2)
    assert read == [[1.0, -0.25], [1.0, -0.25]]
    assert all(type(value) is float for vector in read for value in vector)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(2, item([1.0], 0)), "1 vectors for 2 texts"),
        (answer(2, item([1.0], 0), item([1.0], 0)), "not each one's"),
        (answer(2, item([1.0], 0), item([1.0], 2)), "not each one's"),
        (answer(2, item([1.0], 0), item([1.0], 1), item([1.0], 1)), "3 vectors for 2 texts"),
        (answer(2, item([1.0], 0), item([1.0, 2.0], 1)), "different or no length"),
        (answer(2, item([], 0), item([], 1)), "different or no length"),
        (answer(2, item([1.0], 0), item([None], 1)), "cannot be read"),
        (answer(2, item([1.0], 0), item("no base64!", 1)), "no base64"),
        (answer(2, item([1.0], 0), item(base64.b64encode(b"12345").decode(), 1)), "cannot be read"),
        (answer(2, raw=b'{"object": "list"}'), "cannot be read"),
        (answer(2, raw=b"<html>"), "cannot be read"),
    ],
)
def test_an_answer_that_is_not_one_vector_for_each_text_is_an_error_that_says_so(given: Answer, words: str) -> None:
    with pytest.raises(MalformedAnswer, match=words) as caught:
        read_vectors(given, dimensions=None)
    assert "texts[0:2]" in str(caught.value)
    assert caught.value.ticket is given.ticket


def test_vectors_of_another_length_than_asked_for_are_an_error() -> None:
    """A model that cannot shorten its vectors gives them whole, and the service does not check."""
    with pytest.raises(MalformedAnswer, match="length 2 instead of dimensions=1"):
        read_vectors(answer(1, item([1.0, 2.0])), dimensions=1)
