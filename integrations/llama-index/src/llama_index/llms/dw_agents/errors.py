"""What a call of the LLM can end in.

Owns: the errors of answers that arrived and cannot be used. All others are the core's, where need be as the twins that
LlamaIndex can pass on (see ``llama_index.embeddings.dw_agents.errors``): what is a ``ValueError`` there, a query engine
would take for a bad answer of the model, and answer "Empty Response". Must not import the LLM.

    MalformedAnswer (a StepError)
    ├── AnswerMismatch     not of the form that was asked for
    ├── AnswerTruncated    cut before there was anything that could be used
    └── AnswerRefused      the model declined
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.embeddings.dw_agents.errors import (
    BadRequest,
    ConfigurationError,
    EngineError,
    InvalidStep,
    MalformedAnswer,
    MissingAPIKey,
    StepCancelled,
    StepExpired,
    StepLost,
    SubmissionUnknown,
    in_llama_index_terms,
)

if TYPE_CHECKING:
    from dw_agents import Ticket

__all__ = [
    "AnswerMismatch",
    "AnswerRefused",
    "AnswerTruncated",
    "BadRequest",
    "ConfigurationError",
    "EngineError",
    "InvalidStep",
    "MalformedAnswer",
    "MissingAPIKey",
    "StepCancelled",
    "StepExpired",
    "StepLost",
    "SubmissionUnknown",
    "in_llama_index_terms",
]


class AnswerMismatch(MalformedAnswer):
    """The answer does not have the form that was asked for: a schema, a tool's arguments."""


class AnswerTruncated(MalformedAnswer):
    """The token limit was reached before there was anything that could be used."""


class AnswerRefused(MalformedAnswer):
    """The model declined to answer in the form that was asked for.

    Attributes:
        refusal: the model's own words.
    """

    def __init__(self, message: str, *, refusal: str = "", ticket: Ticket | None = None) -> None:
        super().__init__(message, ticket=ticket)
        self.refusal = refusal
