"""One call's texts: which of them are sent, in which lines, and whose vector is whose.

Owns: the slices that observers are told of, the lines that travel, and the keys under which vectors are kept in a
user's cache. Pure; must not import the embedding model or the engine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

from dw_agents import Step
from dw_agents.adapting.vectors import checked, packed, read_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dw_agents import Answer

__all__ = ["Call", "Slice", "Travel", "Vector"]

Vector = list[float]

_LINE_TEXTS: Final = 256
"""The most texts in one line, which fails as a whole and comes back in one piece: 256 vectors of 4,096 dimensions are
about 6 MB. LlamaIndex's own number, ``embed_batch_size``, may be smaller, but not larger than this."""


class Travel(TypedDict):
    """How the steps of a call travel: fields of ``dw_agents.Step``."""

    service_tier: Any
    completion_window: str | None
    timeout: float | None
    max_retries: int | None
    on_unknown: Any
    run: str


@dataclass(frozen=True, slots=True)
class Slice:
    """The texts that one pair of events tells of.

    Attributes:
        texts: as the caller gave them.
        first: the place of its first text in the call.
    """

    texts: list[str]
    first: int

    @property
    def places(self) -> range:
        """The places of its texts in the call."""
        return range(self.first, self.first + len(self.texts))


class Call:
    """The texts of one call and the vectors that are known.

    Args:
        texts: what is to be embedded.
        model: the model's name in the catalogue.
        dimensions: the length of vectors to ask for; None: the model's own.
        slice_size: the most texts that one pair of events tells of.

    Raises:
        InvalidStep: something in ``texts`` cannot be sent; names its place.
    """

    def __init__(self, texts: Sequence[str], *, model: str, dimensions: int | None, slice_size: int) -> None:
        self._sent, self._sizes = checked(texts)
        self._model, self._dimensions = model, dimensions
        self._cache_prefix = json.dumps([model, dimensions])
        self._line_texts = min(slice_size, _LINE_TEXTS)
        self._vectors: dict[int, Vector] = {}
        self._lines: dict[str, list[int]] = {}
        self.slices = [
            Slice(list(texts[first : first + slice_size]), first) for first in range(0, len(texts), slice_size)
        ]

    def __len__(self) -> int:
        return len(self._sent)

    def cache_key(self, place: int) -> str:
        """Return the key of a text's vector: the same text has another vector in another model or length."""
        return self._cache_prefix + self._sent[place]

    def keep(self, place: int, vector: Vector) -> None:
        """Take a vector that need not be asked for."""
        self._vectors[place] = vector

    @property
    def complete(self) -> bool:
        """Whether all texts have their vectors."""
        return len(self._vectors) == len(self)

    def missing(self, part: Slice) -> list[int]:
        """Return the places in a slice that have no vector yet."""
        return [place for place in part.places if place not in self._vectors]

    def steps(self, part: Slice, travel: Travel) -> Iterator[Step]:
        """Yield the steps that ask for what is missing in a slice."""
        places = self.missing(part)
        for line in packed([self._sizes[place] for place in places], self._line_texts):
            asked = places[line.start : line.stop]
            body: dict[str, Any] = {
                "model": self._model,
                "input": [self._sent[place] for place in asked],
                "encoding_format": "base64",
            }
            if self._dimensions is not None:
                body["dimensions"] = self._dimensions
            label = f"texts[{asked[0]}:{asked[-1] + 1}]"
            self._lines[label] = asked
            yield Step(endpoint="/embeddings", body=body, label=label, **travel)

    def read(self, answer: Answer) -> int:
        """Take the vectors of one answer and return how many there were; answers are read one at a time.

        Raises:
            MalformedAnswer: the answer does not hold one vector for each text.
        """
        vectors = read_vectors(answer, dimensions=self._dimensions)
        self._vectors.update(zip(self._lines[answer.ticket.step.label], vectors, strict=True))
        return len(vectors)

    def arrived(self) -> list[int]:
        """Return the places whose vectors came from the service, in order."""
        sent = {place for asked in self._lines.values() for place in asked}
        return sorted(sent & self._vectors.keys())

    def vector(self, place: int) -> Vector:
        """Return the vector of a text that has one."""
        return self._vectors[place]

    def vectors(self, part: Slice | None = None) -> list[Vector]:
        """Return the vectors of a slice, or all of them, in the order of the texts; each must have one."""
        return [self._vectors[place] for place in (range(len(self)) if part is None else part.places)]
