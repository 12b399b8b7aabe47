"""Helpers for the tests of embeddings: a model for an emulator, and the vectors that are to be expected."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from dw_agents.emulator.backends.vectors import embed_text
from llama_index.embeddings.dw_agents import DoublewordEmbedding
from tests.langchain.wire import EMBEDDING_MODEL, Numbers, lines

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

__all__ = ["EMBEDDING_MODEL", "TEXTS", "Numbers", "embedding_for", "expected", "lines"]

TEXTS = [f"text number {number}" for number in range(10)]


def embedding_for(emulator: Emulator, **fields: Any) -> DoublewordEmbedding:
    """Make an embedding model that talks to ``emulator``."""
    settings = {"model": EMBEDDING_MODEL, "api_key": emulator.api_key, "base_url": emulator.base_url, **fields}
    return DoublewordEmbedding(**settings)


def expected(text: str, dimensions: int = 8) -> list[float]:
    """What the emulator's rules make of a text, in the 32 bits that travel."""
    return array("f", embed_text(text, dimensions)).tolist()
