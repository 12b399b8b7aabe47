"""The errors of dw-agents, drawn as one tree.

Owns: every exception class that the package raises. Must not import anything else of the package.

    DwAgentsError
    ├── ConfigurationError (ValueError)       refused before anything was sent: names the field and the mend
    │   ├── MissingAPIKey                     no key in the argument, the environment or the files
    │   └── InvalidStep                       this step cannot travel as asked
    ├── EngineError (RuntimeError)            the engine cannot be used this way
    │   ├── EngineClosed                      closed, or the interpreter is exiting
    │   ├── EngineForked                      the ticket belongs to the process before the fork
    │   └── EngineLoopError                   a blocking wait on the engine's own thread
    ├── JournalError (OSError)                the journal cannot be opened, read or written
    └── StepError                             one step went wrong; carries its ticket
        ├── StepNotRecorded (OSError)         the journal could not take it: nothing was sent
        ├── ServiceUnreachable (ConnectionError)  no connection was made: nothing was accepted
        ├── SubmissionUnknown (RuntimeError)  sent, but no reply: the service may have accepted it
        ├── DeadlineExceeded (TimeoutError)   the caller's own time limit; cancelled upstream
        ├── StepCancelled (RuntimeError)      cancelled by the caller, by exit or by the service
        ├── StepExpired (RuntimeError)        the completion window passed before the service got to it
        ├── StepLost (RuntimeError)           accepted, but the service no longer knows it
        ├── MalformedAnswer (RuntimeError)    finished, but the answer cannot be read
        └── ServiceError                      the service answered with a reason
            ├── BadRequest (ValueError)       400, 413, 415, 422: the body
            ├── AuthenticationFailed (PermissionError)  401: the key
            ├── InsufficientCredits (PermissionError)   402: the balance or a spend cap
            ├── PermissionDenied (PermissionError)      403: the key may not use this model or tier
            ├── NotFound (LookupError)        404, 405, 410: the model or the address
            ├── RateLimited (ConnectionError) 429: still refused after waiting
            └── ServiceFailed (ConnectionError)         408, 409, 5xx: still failing after retrying

The built-in parents decide what a caller's own retry policy does: LangGraph's default, for one, retries
``ConnectionError`` and leaves ``ValueError``, ``RuntimeError`` and ``OSError`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dw_agents.ticket import Ticket

__all__ = [
    "AuthenticationFailed",
    "BadRequest",
    "ConfigurationError",
    "DeadlineExceeded",
    "DwAgentsError",
    "EngineClosed",
    "EngineError",
    "EngineForked",
    "EngineLoopError",
    "InsufficientCredits",
    "InvalidStep",
    "JournalError",
    "MalformedAnswer",
    "MissingAPIKey",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ServiceError",
    "ServiceFailed",
    "ServiceUnreachable",
    "StepCancelled",
    "StepError",
    "StepExpired",
    "StepLost",
    "StepNotRecorded",
    "SubmissionUnknown",
]


def _rebuilt(kind: type[BaseException], args: tuple[object, ...], attributes: dict[str, object]) -> BaseException:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class DwAgentsError(Exception):
    """The root of every error raised by dw-agents."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process's error reaches its parent without the ticket, which belongs to the worker's engine.
        attributes = {name: value for name, value in self.__dict__.items() if name != "ticket"}
        return _rebuilt, (type(self), self.args, attributes)


class ConfigurationError(DwAgentsError, ValueError):
    """A setting is missing or wrong; nothing was sent and nothing was paid.

    Attributes:
        field: the name of the setting, as the user types it.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class MissingAPIKey(ConfigurationError):
    """No API key was given by argument, environment or ``~/.dw`` files."""


class InvalidStep(ConfigurationError):
    """This step cannot travel as asked; the message names the field and what would work."""


class EngineError(DwAgentsError, RuntimeError):
    """The engine cannot be used in this way or at this time."""


class EngineClosed(EngineError):
    """The engine was closed (or the interpreter is exiting) before the step was submitted."""


class EngineForked(EngineError):
    """The ticket was made before ``os.fork``; only the parent process can collect it."""


class EngineLoopError(EngineError):
    """A blocking wait was tried on the engine's own thread, where it could never end."""


class JournalError(DwAgentsError, OSError):
    """The journal cannot be opened, read or written; the message names the file and the mend."""


class StepError(DwAgentsError):
    """One step went wrong.

    Attributes:
        ticket: the step's ticket: its id at the service, its state, what it cost in requests.
        retryable: whether the same step may succeed when it is asked again, unchanged.
    """

    retryable = False
    ticket: Ticket | None = None

    def __init__(self, message: str, *, ticket: Ticket | None = None) -> None:
        super().__init__(message)
        self.ticket = ticket


class StepNotRecorded(StepError, OSError):
    """The journal could not take the step (a full disk, for example), so it was not sent."""


class ServiceUnreachable(StepError, ConnectionError):
    """No connection could be made, within the retries allowed; the service accepted nothing."""

    retryable = True


class SubmissionUnknown(StepError, RuntimeError):
    """The request left and no usable reply came: the service may have accepted the step, and will then bill it.

    With ``on_unknown="raise"`` this is raised at once; with ``"resend"`` when the second try ended the same way. A
    flex submission cannot be looked up. To send the step again, knowing that, ask it with ``on_unknown="resend"``.
    """


class DeadlineExceeded(StepError, TimeoutError):
    """The step's own ``timeout`` passed; it was cancelled at the service."""


class StepCancelled(StepError, RuntimeError):
    """The step was cancelled: by its caller, at exit, or by the service."""


class StepExpired(StepError, RuntimeError):
    """The batch's completion window passed before the service got to this step; it was not run and not billed."""

    retryable = True


class StepLost(StepError, RuntimeError):
    """The service accepted the step and later answered that it does not know it."""


class MalformedAnswer(StepError, RuntimeError):
    """The step finished, but what the service sent back cannot be read as its answer."""


class ServiceError(StepError):
    """The service answered with a reason, at submission, while polling, or as the outcome of the job.

    Attributes:
        status: the HTTP status, or the job's ``error.code`` (an HTTP status too); None when it gave none.
        code: the service's own code or type, for example ``"insufficient_credits"``.
        body: the service's text, shortened to 2,000 characters.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        body: str = "",
        ticket: Ticket | None = None,
    ) -> None:
        super().__init__(message, ticket=ticket)
        self.status = status
        self.code = code
        self.body = body[:2000]


class BadRequest(ServiceError, ValueError):
    """400, 413, 415 or 422: the service does not take this body."""


class AuthenticationFailed(ServiceError, PermissionError):
    """401: the key is missing or wrong."""


class InsufficientCredits(ServiceError, PermissionError):
    """402: the balance or a spend cap; only a human can mend it."""


class PermissionDenied(ServiceError, PermissionError):
    """403: the key may not use this model or this tier."""


class NotFound(ServiceError, LookupError):
    """404, 405 or 410: no such model or address, or the answer is gone."""


class RateLimited(ServiceError, ConnectionError):
    """429: refused again and again for as long as retrying is allowed."""

    retryable = True


class ServiceFailed(ServiceError, ConnectionError):
    """408, 409 or 5xx (or a job that failed without a code): still failing after the retries allowed."""

    retryable = True
