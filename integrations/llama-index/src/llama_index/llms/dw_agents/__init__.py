"""Doubleword's service tiers for LlamaIndex: an LLM whose calls travel by flex or batch."""

from __future__ import annotations

from dw_agents.adapting.carry import DoublewordWarning
from llama_index.llms.dw_agents.errors import AnswerMismatch, AnswerRefused, AnswerTruncated
from llama_index.llms.dw_agents.heartbeat import DoublewordHeartbeat
from llama_index.llms.dw_agents.llm import DoublewordLLM

__all__ = [
    "AnswerMismatch",
    "AnswerRefused",
    "AnswerTruncated",
    "DoublewordHeartbeat",
    "DoublewordLLM",
    "DoublewordWarning",
]
