"""Deterministic text vectors: texts that share words and letters lie near each other.

Owns: hashing of character n-grams into a unit vector, and the encoding of vectors in an embeddings body.
Must not import the backends.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from typing import Any

from dw_agents.emulator.backends.base import UpstreamError

__all__ = ["DEFAULT_DIMENSIONS", "embed_text", "embeddings", "read_dimensions", "read_inputs"]

DEFAULT_DIMENSIONS = 256
"""Without ``dimensions`` in the request: small, so that tests stay quick."""

_MAX_DIMENSIONS = 8192
_GRAMS = (3, 4, 5)
_WORD_WEIGHT = 2.0


def embed_text(text: str, dimensions: int = DEFAULT_DIMENSIONS) -> list[float]:
    """Return the unit vector of a text: hashed words and character 3- to 5-grams, each with a hashed sign."""
    vector = [0.0] * dimensions
    words = text.lower().split()
    features = [(word, _WORD_WEIGHT) for word in words]
    padded = f" {' '.join(words)} "
    features += [(padded[at : at + size], 1.0) for size in _GRAMS for at in range(max(len(padded) - size + 1, 1))]
    for feature, weight in features:
        code = zlib.crc32(feature.encode())
        vector[(code >> 1) % dimensions] += weight if code & 1 else -weight
    length = math.sqrt(sum(value * value for value in vector))
    if not length:
        return [1.0, *vector[1:]]
    return [value / length for value in vector]


def read_inputs(request: dict[str, Any]) -> list[str]:
    """Return the texts of an embeddings request; a list of token numbers counts as one text.

    Raises:
        UpstreamError: ``input`` is missing, empty, or of another type.
    """
    given = request.get("input")
    several = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    texts = [" ".join(map(str, item)) if isinstance(item, list) and item else item for item in several]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise UpstreamError(400, "input must be a text, a list of texts or lists of tokens, none of them empty")
    return [str(text) for text in texts]


def read_dimensions(request: dict[str, Any], default: int = DEFAULT_DIMENSIONS) -> int:
    """Return the length of vector that the request asks for.

    Raises:
        UpstreamError: ``dimensions`` is no whole number from 1 to 8192.
    """
    dimensions = request.get("dimensions")
    if dimensions is None:
        return default
    if not isinstance(dimensions, int) or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise UpstreamError(400, f"dimensions must be a whole number from 1 to {_MAX_DIMENSIONS}, not {dimensions!r}")
    return dimensions


def embeddings(request: dict[str, Any], vectors: list[list[float]], tokens: int) -> dict[str, Any]:
    """Build the ``list`` body; ``encoding_format: "base64"`` packs little-endian 32-bit floats."""
    packed = request.get("encoding_format") == "base64"
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": request.get("model", ""),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
