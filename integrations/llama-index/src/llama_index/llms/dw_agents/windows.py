"""How much the catalogue's models can read.

Owns: the context windows, in tokens, as published by the models' makers; a deployment may serve less, which
``context_window=...`` says. Must not import the LLM.
"""

from __future__ import annotations

from typing import Final

__all__ = ["UNKNOWN", "context_window_of"]

UNKNOWN: Final = 131_072
"""For a model that is not known. LlamaIndex's own default (3,900) would make an agent's memory forget its history, and
a query engine cut its context into crumbs."""

# By the start of the model's name, so that a new size or another precision of a known family is known too.
_FAMILIES: Final[tuple[tuple[str, int], ...]] = (
    ("qwen/qwen3.5-", 262_144),
    ("qwen/qwen3-vl-", 262_144),
    ("qwen/qwen3-", 32_768),
    ("nvidia/nvidia-nemotron-3-super", 262_144),
    ("openai/gpt-oss-", 131_072),
    ("allenai/olmocr-2-", 128_000),
    ("lightonai/lightonocr-2-", 16_384),
)


def context_window_of(model: str) -> int:
    """Return the context window of a model, in tokens."""
    name = model.lower()
    return next((window for start, window in _FAMILIES if name.startswith(start)), UNKNOWN)
