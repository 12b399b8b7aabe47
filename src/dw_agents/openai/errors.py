"""The errors of dw-agents as the OpenAI SDK's own.

Owns: for each error that a call can raise, a class that is both the ``dw_agents`` class (with its ticket) and the
``openai`` class that stands for the same condition, so that code written for either catches it. Being the SDK's own
also keeps the SDK from sending the call again: it does so with what it does not know.

    dw_agents                                   openai
    ConfigurationError, InvalidStep             BadRequestError (400): refused here, nothing was sent
    MissingAPIKey                               AuthenticationError (401): refused here, nothing was sent
    ServiceUnreachable, SubmissionUnknown       APIConnectionError
    DeadlineExceeded, StepExpired               APITimeoutError
    BadRequest                                  BadRequestError, UnprocessableEntityError or APIStatusError
    AuthenticationFailed                        AuthenticationError
    InsufficientCredits                         APIStatusError (402)
    PermissionDenied                            PermissionDeniedError
    NotFound                                    NotFoundError or APIStatusError
    RateLimited                                 RateLimitError
    ServiceFailed                               InternalServerError, ConflictError or APIStatusError
    every other                                 APIError

``ticket`` is there on all of them, and None where the call was refused before it became a step. ``body`` is the SDK's:
the decoded ``error`` object; the service's text is ``error.response.text``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import openai

from dw_agents import errors as core

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["InternalError", "at_construction", "in_openai_terms"]

_BY_STATUS: Final[Mapping[int, type[openai.APIStatusError]]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
_BY_CLASS: Final[Mapping[type[core.DwAgentsError], type[openai.APIError]]] = {
    core.ServiceUnreachable: openai.APIConnectionError,
    core.SubmissionUnknown: openai.APIConnectionError,
    core.DeadlineExceeded: openai.APITimeoutError,
    core.StepExpired: openai.APITimeoutError,
}
_SERVER_ERROR: Final = 500


class InternalError(core.StepError, openai.APIError):
    """A defect of dw-agents; please report it. The call is not sent again."""


def in_openai_terms(error: BaseException, request: Any, responses: Any) -> openai.OpenAIError:
    """Return the error that also is the SDK's; it keeps the message, the attributes, the cause and the traceback.

    Args:
        error: what went wrong.
        request: the SDK's request, an ``httpx`` (or ``httpx2``) ``Request``.
        responses: the ``Response`` class of the same package.
    """
    if isinstance(error, openai.OpenAIError):
        return error
    known = isinstance(error, core.DwAgentsError)
    status = _status(error)
    if status is not None:
        sdk_class: type[openai.APIError] = _BY_STATUS.get(
            status, openai.InternalServerError if status >= _SERVER_ERROR else openai.APIStatusError
        )
    else:
        sdk_class = next((sdk for own, sdk in _BY_CLASS.items() if isinstance(error, own)), openai.APIError)
    own_class: type[openai.OpenAIError] = InternalError
    if isinstance(error, core.DwAgentsError):
        own_class = _both(type(error), sdk_class)
    message = str(error) if known else f"An internal error of dw-agents, please report it: {error!r}."
    # Built without __init__: each constructor takes its own arguments, and all they did is in __dict__.
    translated: Any = own_class.__new__(own_class)
    translated.args = (message,)
    translated.__dict__.update({"ticket": None, **(error.__dict__ if known else {})})
    said = _said(error, message)
    translated.message, translated.request = message, request
    translated.body = said if status is not None else None
    translated.type, translated.param = said["type"], said["param"]
    translated.code = None if said["code"] is None else str(said["code"])
    if status is not None:
        translated.response = _response(error, status, said, request, responses)
        translated.status_code, translated.request_id = status, None
    translated.__cause__ = error.__cause__ if known else error
    finished: openai.OpenAIError = translated.with_traceback(error.__traceback__)
    return finished


def at_construction(error: core.DwAgentsError | Warning) -> openai.OpenAIError:
    """Return the error of a client that cannot be made: also an ``OpenAIError``, as the SDK's own is there.

    A warning that is raised becomes one too: the SDK sends again after what it does not know.
    """
    own_class = _both(type(error), openai.OpenAIError)
    translated: openai.OpenAIError = own_class.__new__(own_class)
    translated.args = error.args
    translated.__dict__.update(error.__dict__)
    return translated.with_traceback(error.__traceback__)


def _both(
    own_class: type[core.DwAgentsError | Warning], sdk_class: type[openai.OpenAIError]
) -> type[openai.OpenAIError]:
    """Make the class that is both, once."""
    made = _made.get((own_class, sdk_class))
    if made is None:
        parts = (own_class, sdk_class)

        def reduce(self: BaseException) -> tuple[Any, ...]:
            # The class is made here and stands in no module; the ticket belongs to the engine of this process.
            attributes = {name: value for name, value in self.__dict__.items() if name != "ticket"}
            return _rebuilt, (*parts, self.args, {**attributes, "ticket": None})

        named = {"__module__": own_class.__module__, "__doc__": own_class.__doc__, "__reduce__": reduce}
        made = _made.setdefault((own_class, sdk_class), type(own_class.__name__, (own_class, sdk_class), named))
    return made


def _rebuilt(
    own_class: type[core.DwAgentsError | Warning],
    sdk_class: type[openai.OpenAIError],
    args: tuple[Any, ...],
    attributes: Mapping[str, Any],
) -> openai.OpenAIError:
    """Make an error again that was pickled in another process."""
    both = _both(own_class, sdk_class)
    error: openai.OpenAIError = both.__new__(both)
    error.args = args
    error.__dict__.update(attributes)
    return error


_made: Final[dict[tuple[type, type], type[openai.OpenAIError]]] = {}


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that stands for an error; None where there is no reply to speak of."""
    if isinstance(error, core.MissingAPIKey):
        return 401
    if isinstance(error, core.ConfigurationError):
        return 400
    if isinstance(error, core.ServiceError):
        return error.status if error.status is not None else _SERVER_ERROR
    return None


def _said(error: BaseException, message: str) -> dict[str, Any]:
    """Return what stands for an error object of the API."""
    if isinstance(error, core.ConfigurationError):
        return {"message": message, "type": "invalid_request_error", "param": error.field or None, "code": None}
    code = error.code if isinstance(error, core.ServiceError) else None
    return {"message": message, "type": code or type(error).__name__, "param": None, "code": code}


def _response(error: BaseException, status: int, said: Mapping[str, Any], request: Any, responses: Any) -> Any:
    text = error.body if isinstance(error, core.ServiceError) else ""
    return responses(
        status,
        headers={"content-type": "application/json", "x-should-retry": "false"},
        content=text.encode() if text else msgspec.json.encode({"error": said}),
        request=request,
    )
