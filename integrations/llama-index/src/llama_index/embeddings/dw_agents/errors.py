"""The errors of dw-agents as LlamaIndex can pass them on.

Owns: a twin of each error that is a ``ValueError`` or a ``RuntimeError`` in the core. LlamaIndex takes these two for
its own: ``asyncio_run``, through which its synchronous methods run asynchronous ones, reports any ``RuntimeError`` as
"Detected nested async", and other places take a ``ValueError`` for a bad answer of a model and go on without it. A twin
has the name, the attributes and the place in the tree below ``dw_agents.DwAgentsError``, and no built-in parent; all
other errors stay what they are. Must not import the embedding model.

    DwAgentsError
    ├── ConfigurationError
    │   ├── MissingAPIKey
    │   └── InvalidStep
    ├── EngineError
    └── StepError
        ├── SubmissionUnknown
        ├── StepCancelled
        ├── StepExpired
        ├── StepLost
        ├── MalformedAnswer
        └── ServiceError
            └── BadRequest

What is refused when a model is made is a ``pydantic.ValidationError``, as everywhere in LlamaIndex.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dw_agents import errors as core  # noqa: PLW0406 - ruff takes this namespace for the core package

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
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


class ConfigurationError(core.DwAgentsError):
    """A setting is missing or wrong; nothing was sent and nothing was paid.

    Attributes:
        field: the name of the setting, as the user types it.
    """

    field: str


class MissingAPIKey(ConfigurationError):
    """No API key was given by argument, environment or ``~/.dw`` files."""


class InvalidStep(ConfigurationError):
    """These texts cannot be sent as asked; the message names the place and what would work."""


class EngineError(core.DwAgentsError):
    """The engine cannot be used in this way or at this time; see the error of that name in ``dw_agents``."""


class SubmissionUnknown(core.StepError):
    """Sent, but no reply came, and ``on_unknown="raise"`` forbids sending it again."""

    retryable = core.SubmissionUnknown.retryable


class StepCancelled(core.StepError):
    """The call was cancelled: by its caller, at exit, or by the service."""

    retryable = core.StepCancelled.retryable


class StepExpired(core.StepError):
    """The batch's completion window passed first; it was not run and not billed."""

    retryable = core.StepExpired.retryable


class StepLost(core.StepError):
    """The service accepted the call and later answered that it does not know it."""

    retryable = core.StepLost.retryable


class MalformedAnswer(core.StepError):
    """The call finished, but what came back does not hold one vector for each text."""

    retryable = core.MalformedAnswer.retryable


class BadRequest(core.ServiceError):
    """400, 413, 415 or 422: the service does not take this body."""

    retryable = core.BadRequest.retryable


_TWINS: Final[Mapping[type[core.DwAgentsError], type[core.DwAgentsError]]] = {
    core.MissingAPIKey: MissingAPIKey,
    core.InvalidStep: InvalidStep,
    core.ConfigurationError: ConfigurationError,
    core.EngineError: EngineError,
    core.SubmissionUnknown: SubmissionUnknown,
    core.StepCancelled: StepCancelled,
    core.StepExpired: StepExpired,
    core.StepLost: StepLost,
    core.MalformedAnswer: MalformedAnswer,
    core.BadRequest: BadRequest,
}


@contextmanager
def in_llama_index_terms() -> Iterator[None]:
    """Raise the twin of what is raised in the block, where there is one."""
    try:
        yield
    except core.DwAgentsError as error:
        kind = next((_TWINS[one] for one in type(error).__mro__ if one in _TWINS), None)
        if kind is None:
            raise
        # Built without __init__: each constructor takes its own arguments, and all they did is in args and __dict__.
        twin = kind.__new__(kind)
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
        raise twin.with_traceback(error.__traceback__) from error.__cause__
