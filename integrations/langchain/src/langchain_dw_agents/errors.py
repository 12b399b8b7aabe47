"""The errors of dw-agents in LangChain's own terms.

Owns: for each error that a step can raise, one class that is both the ``dw_agents`` class (with its ticket)
and the ``langchain_core`` model error that stands for the same condition, so that code written for either
catches it. Must not import the chat model.

    dw_agents                 langchain_core
    ConfigurationError        ModelError
    ├── MissingAPIKey         ModelAuthenticationError
    └── InvalidStep           ModelInvalidRequestError
    JournalError              ModelError
    StepNotRecorded           ModelError
    ServiceUnreachable        ModelConnectionError
    SubmissionUnknown         ModelError
    DeadlineExceeded          ModelTimeoutError, though not to be retried: the caller set the limit
    StepCancelled             ModelError
    StepExpired               ModelTimeoutError: the service's own limit, the batch's window
    StepLost                  ModelError
    MalformedAnswer           ModelError
    BadRequest                ModelInvalidRequestError
    └── ContextOverflow       ContextOverflowError: the prompt is longer than the model's window
    AuthenticationFailed      ModelAuthenticationError
    InsufficientCredits       ModelError
    PermissionDenied          ModelPermissionDeniedError
    NotFound                  ModelNotFoundError
    RateLimited               ModelRateLimitError
    ServiceFailed             ModelAPIError

``is_retryable`` (LangChain's word) always equals ``retryable`` (ours). Errors about the engine itself
(``EngineError``) are programming errors, no model errors, and stay what they are.
"""

from __future__ import annotations

from typing import Final

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from dw_agents import errors as core

__all__ = [
    "RETRYABLE",
    "AuthenticationFailed",
    "BadRequest",
    "ConfigurationError",
    "ContextOverflow",
    "DeadlineExceeded",
    "InsufficientCredits",
    "InvalidStep",
    "JournalError",
    "MalformedAnswer",
    "MissingAPIKey",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ServiceFailed",
    "ServiceUnreachable",
    "StepCancelled",
    "StepExpired",
    "StepLost",
    "StepNotRecorded",
    "SubmissionUnknown",
    "in_langchain_terms",
]


class ConfigurationError(core.ConfigurationError, ModelError):
    """A setting is missing or wrong; nothing was sent."""


class MissingAPIKey(core.MissingAPIKey, ModelAuthenticationError):
    """No API key was found; nothing was sent."""


class InvalidStep(core.InvalidStep, ModelInvalidRequestError):
    """This call cannot travel as asked; nothing was sent."""


class JournalError(core.JournalError, ModelError):
    """The journal cannot be used; nothing was sent."""


class StepNotRecorded(core.StepNotRecorded, ModelError):
    """The journal could not take the step; nothing was sent."""


class ServiceUnreachable(core.ServiceUnreachable, ModelConnectionError):
    """No connection could be made; the service accepted nothing."""


class SubmissionUnknown(core.SubmissionUnknown, ModelError):
    """Sent, but no reply came, and ``on_unknown="raise"`` forbids sending it again."""


class DeadlineExceeded(core.DeadlineExceeded, ModelTimeoutError):
    """The call's own ``timeout`` passed; it was cancelled at the service."""

    is_retryable = False


class StepCancelled(core.StepCancelled, ModelError):
    """The call was cancelled, by its caller or by the service."""


class StepExpired(core.StepExpired, ModelTimeoutError):
    """The batch's completion window passed first; it was not run and not billed."""


class StepLost(core.StepLost, ModelError):
    """Accepted, but the service no longer knows it."""


class MalformedAnswer(core.MalformedAnswer, ModelError):
    """The answer cannot be read."""


class BadRequest(core.BadRequest, ModelInvalidRequestError):
    """The service does not take this request."""


class ContextOverflow(BadRequest, ContextOverflowError):
    """The prompt is longer than the model's context window."""


class AuthenticationFailed(core.AuthenticationFailed, ModelAuthenticationError):
    """The key is wrong."""


class InsufficientCredits(core.InsufficientCredits, ModelError):
    """The balance or a spend cap; only a human can mend it."""


class PermissionDenied(core.PermissionDenied, ModelPermissionDeniedError):
    """The key may not use this model or tier."""


class NotFound(core.NotFound, ModelNotFoundError):
    """No such model or address."""


class RateLimited(core.RateLimited, ModelRateLimitError):
    """Refused again and again for as long as retrying is allowed."""


class ServiceFailed(core.ServiceFailed, ModelAPIError):
    """Still failing after the retries allowed."""


_CLASSES: Final = {
    core_class: own_class
    for own_class in (
        ConfigurationError, MissingAPIKey, InvalidStep, JournalError, StepNotRecorded, ServiceUnreachable,
        SubmissionUnknown, DeadlineExceeded, StepCancelled, StepExpired, StepLost, MalformedAnswer, BadRequest,
        AuthenticationFailed, InsufficientCredits, PermissionDenied, NotFound, RateLimited, ServiceFailed,
    )
    for core_class in [own_class.__bases__[0]]
}  # fmt: skip

RETRYABLE: Final[tuple[type[BaseException], ...]] = (
    ServiceUnreachable,
    StepExpired,
    RateLimited,
    ServiceFailed,
)
"""What ``ChatDoubleword.with_retry`` retries unless told otherwise."""

_OVERFLOW_SIGNS: Final = (
    "context_length_exceeded",
    "maximum context length",
    "maximum model length",
    "context window",
    "prompt is too long",
)


def in_langchain_terms(error: BaseException) -> BaseException:
    """Return the error that also is a LangChain model error; anything without one is returned as it is.

    The returned error keeps the original's message, attributes (``ticket``, ``status``, ``field``), cause and
    traceback.
    """
    if isinstance(error, ModelError):
        return error
    own_class = next((_CLASSES[base] for base in type(error).__mro__ if base in _CLASSES), None)
    if own_class is None:
        return error
    if own_class is BadRequest and any(sign in str(error).lower() for sign in _OVERFLOW_SIGNS):
        own_class = ContextOverflow
    # Built without __init__: each constructor takes its own arguments, and all they did is in args and
    # __dict__.
    translated = own_class.__new__(own_class)
    translated.args = error.args
    translated.__dict__.update(error.__dict__)
    translated.__cause__ = error.__cause__
    return translated.with_traceback(error.__traceback__)
