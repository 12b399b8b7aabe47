"""From texts to the lines of an embeddings job, and from its answers to vectors.

Owns: which texts travel in one line, the checks on them, and reading vectors out of an answer. Pure; must not import
the engine or know a framework.
"""

from __future__ import annotations

import binascii
import sys
from array import array
from base64 import b64decode
from typing import TYPE_CHECKING, Final

import msgspec

from dw_agents.errors import InvalidStep, MalformedAnswer
from dw_agents.step import MAX_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents import Answer

__all__ = ["checked", "packed", "read_vectors"]

_LINE_BYTES: Final = 1_000_000
"""Most bytes of text in one line. As JSON they may grow sixfold and still stay below the API's limit for a body."""

_BLANK: Final = " "
"""Stands for an empty text, which model servers refuse together with the rest of its line."""


class _Item(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int | None = None


class _Embeddings(msgspec.Struct, gc=False):
    data: list[_Item]


_decoder: Final = msgspec.json.Decoder(_Embeddings)


def checked(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the texts as they are sent, and the size of each in bytes of UTF-8.

    Raises:
        InvalidStep: something in it is no text that can be sent; names its place.
    """
    if isinstance(texts, str):
        raise InvalidStep("texts is one str, and a list of them is needed: [text].", field="texts")
    sent: list[str] = []
    sizes: list[int] = []
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidStep(f"texts[{place}] is of type {type(text).__name__}; give a str.", field=f"texts[{place}]")
        try:
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidStep(
                f"texts[{place}] holds half a surrogate pair, which cannot be written as UTF-8 ({error.reason}); "
                "decode the text again, for example with errors='replace'.",
                field=f"texts[{place}]",
            ) from error
        if size >= MAX_BODY_BYTES:
            raise InvalidStep(
                f"texts[{place}] has {size:,} bytes, and the API takes less than {MAX_BODY_BYTES:,}; split it.",
                field=f"texts[{place}]",
            )
        sent.append(text or _BLANK)
        sizes.append(size)
    return sent, sizes


def packed(sizes: Sequence[int], most_texts: int) -> list[range]:
    """Say which texts travel together, in order: few lines, none too large.

    Args:
        sizes: of the texts, in bytes.
        most_texts: the most texts in a line.
    """
    lines: list[range] = []
    first = total = 0
    for place, size in enumerate(sizes):
        if place > first and (place - first >= most_texts or total + size > _LINE_BYTES):
            lines.append(range(first, place))
            first, total = place, 0
        total += size
    if first < len(sizes):
        lines.append(range(first, len(sizes)))
    return lines


def read_vectors(answer: Answer, *, dimensions: int | None) -> list[list[float]]:
    """Read the vectors of one line, in the order of its texts.

    Both ways to write a vector are read: numbers, and base64 of little-endian 32-bit floats, which is asked for but
    which not every server knows.

    Args:
        answer: to a body whose ``input`` is a list of texts.
        dimensions: the length that was asked for; None: whatever the model gives, as long as it is one length.

    Raises:
        MalformedAnswer: the answer does not hold one vector for each text.
    """
    texts = len(answer.ticket.step.body["input"])
    try:
        items = _decoder.decode(answer.raw).data
        vectors = {
            place if item.index is None else item.index: _floats(item.embedding) for place, item in enumerate(items)
        }
    except (msgspec.DecodeError, ValueError) as error:
        raise _malformed(answer, f"cannot be read as embeddings ({error})") from error
    if len(items) != texts or vectors.keys() != set(range(texts)):
        raise _malformed(answer, f"holds {len(items)} vectors for {texts} texts, or not each one's")
    lengths = {len(vector) for vector in vectors.values()}
    if dimensions is not None and lengths != {dimensions}:
        found = ", ".join(map(str, sorted(lengths)))
        raise _malformed(answer, f"holds vectors of length {found} instead of dimensions={dimensions}; leave it out")
    if len(lengths) > 1 or not min(lengths):
        raise _malformed(answer, f"holds vectors of different or no length: {sorted(lengths)}")
    return [vectors[place] for place in range(texts)]


def _floats(embedding: list[float] | str) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    packed_floats = array("f")
    try:
        packed_floats.frombytes(b64decode(embedding, validate=True))
    except binascii.Error as error:
        raise ValueError(f"a vector is no base64: {error}") from error
    if sys.byteorder == "big":
        packed_floats.byteswap()
    return packed_floats.tolist()


def _malformed(answer: Answer, what: str) -> MalformedAnswer:
    label = answer.ticket.step.label
    return MalformedAnswer(f"The answer for {label or 'a text'} {what}.", ticket=answer.ticket)
