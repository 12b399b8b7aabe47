"""Doubleword's service tiers for LlamaIndex: embeddings that travel by batch, and queries in realtime."""

from __future__ import annotations

from dw_agents.adapting.carry import DoublewordWarning
from llama_index.embeddings.dw_agents.embedding import DoublewordEmbedding
from llama_index.llms.dw_agents.heartbeat import DoublewordHeartbeat

__all__ = ["DoublewordEmbedding", "DoublewordHeartbeat", "DoublewordWarning"]
