"""LangChain and LangGraph agents on Doubleword's service tiers.

Owns: the names that users import. Must not hold logic.
"""

from dw_agents.adapting.carry import DoublewordWarning
from langchain_dw_agents.chat_model import ChatDoubleword
from langchain_dw_agents.embeddings import DoublewordEmbeddings

__all__ = ["ChatDoubleword", "DoublewordEmbeddings", "DoublewordWarning"]
