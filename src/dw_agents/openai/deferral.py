"""What the two transports share: deciding about a request, and building the reply.

Owns: which engine takes a step, and the reply that the SDK reads. Does no I/O of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dw_agents import Engine
from dw_agents.adapting.carry import warn_once
from dw_agents.config import resolve_account
from dw_agents.errors import DeadlineExceeded, DwAgentsError, InvalidStep, MalformedAnswer, SubmissionUnknown
from dw_agents.openai.errors import at_construction, in_openai_terms
from dw_agents.openai.request import Asked, drop_own_headers, endpoint_of, key_of, read, warn_of_headers
from dw_agents.translate.call import Ask, Hold, PassOn, plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from dw_agents import Answer, Ticket
    from dw_agents.translate.call import Plan, Shape
    from dw_agents.translate.travel import Travel

__all__ = ["Deferral"]


class Deferral:
    """How the calls of one client travel.

    Args:
        travel: what the client says.
        engine: takes the steps; default: the shared engine of the key and the address of each request.
        api_key: in place of the request's.
        base_url: in place of the request's.
        headers: sent with every step.
        hx: the package that the client's requests and replies are made of.
    """

    def __init__(
        self,
        travel: Travel,
        *,
        hx: ModuleType,
        engine: Engine | None = None,
        api_key: object = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.travel = travel
        self.hx = hx
        self.given_engine = engine
        self.api_key = api_key
        self.base_url = base_url
        self.headers = dict(headers or {})

    def travels(self, request: Any) -> bool:
        """Whether a request may travel on a tier, so that its body must be read."""
        return endpoint_of(request) is not None

    def plan(self, request: Any) -> tuple[Asked, Plan | None]:
        """Decide about a request whose body has been read; None: the service answers it, as it is.

        Raises:
            InvalidStep: it cannot be carried; nothing was sent.
        """
        asked = read(request)
        if asked.body is None:
            return asked, None
        travel, body = self.travel.for_call(asked.endpoint, request.headers, asked.body, timeout=asked.timeout)
        decided = plan(asked.endpoint, body, travel, query=asked.query)
        if isinstance(decided, Ask):
            warn_of_headers(request, self.headers if self.given_engine is None else {})
        elif isinstance(decided, Hold):
            warn_once(f"held.{decided.field.partition('[')[0]}.{decided.field.rpartition('.')[2]}", decided.notice)
        elif isinstance(decided, PassOn) and self.elsewhere and decided.body.get("background") is True:
            raise InvalidStep(
                "background=True gives an id that you poll with this client, and its calls on a tier go to another "
                "address or with another key. Instead: leave it out and await the answer, or use a client of that "
                "address.",
                field="background",
            )
        drop_own_headers(request)
        return asked, decided

    def engine(self, request: Any, asked: Asked) -> Engine:
        """Return the engine that takes a step.

        Raises:
            ConfigurationError: a key or an address that cannot be used.
        """
        if self.given_engine is not None:
            return self.given_engine
        return Engine.shared(
            api_key=self.key(request), base_url=self.base_url or asked.base_url, headers=self.headers or None
        )

    @property
    def elsewhere(self) -> bool:
        """Whether what travels on a tier goes to another address, or with another key, than what does not."""
        return self.api_key is not None or self.base_url is not None

    def key(self, request: Any) -> str:
        """Return the key that a step is sent with.

        Raises:
            ConfigurationError: there is none that can be used.
        """
        if self.api_key is None:
            return key_of(request)
        return resolve_account(self.api_key, self.base_url).api_key.get_secret_value()

    def reply(self, answer: Answer, shape: Shape, request: Any) -> Any:
        """Build the reply to a request out of the engine's answer.

        Raises:
            MalformedAnswer: the answer does not have the shape that the API promises.
        """
        if shape.verbatim:
            return self.respond("application/json", answer.raw, request, answer.ticket)
        try:
            kind, content = shape.write(answer.body, truncated=answer.truncated)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise MalformedAnswer(
                f"{answer.ticket} finished, but its answer cannot be read ({type(error).__name__}: {error}).",
                ticket=answer.ticket,
            ) from error
        return self.respond(kind, content, request, answer.ticket)

    def respond(self, kind: str, content: bytes, request: Any, ticket: Ticket) -> Any:
        """Build a reply."""
        headers = {"content-type": kind, "content-length": str(len(content))}
        if ticket.response_id is not None:
            headers["x-request-id"] = ticket.response_id
        # A stream, as all that comes from outside: how long the call took is measured when that is closed.
        return self.hx.Response(200, headers=headers, stream=self.hx.ByteStream(content), request=request)

    def submission(self, request: Any, asked: Asked, decided: PassOn) -> Any:
        """Build the request of a call that the service answers itself, with the tier in its body.

        Raises:
            ConfigurationError: there is no key that can be used.
        """
        url, headers = request.url, self.headers_for(request)
        if self.elsewhere:
            query = f"?{asked.query}" if asked.query else ""
            url = f"{self.base_url or asked.base_url}{asked.endpoint}{query}"
        return self.hx.Request(request.method, url, headers=headers, json=decided.body, extensions=request.extensions)

    def headers_for(self, request: Any) -> Any:
        """Return the headers of a call that goes where those of a tier go; nothing tells one host of the other.

        Raises:
            ConfigurationError: there is no key that can be used.
        """
        if self.elsewhere:
            key = self.key(request)
            own = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            return self.hx.Headers({**self.headers, **own})
        headers = request.headers.copy()
        headers.pop("content-length", None)
        return headers

    def unanswered(self, error: Exception, request: Any) -> BaseException:
        """Say what it means that a submission of ``submission`` got no reply.

        The SDK sends a call again after errors that it knows; here it may do so only where no connection was made.
        """
        if isinstance(error, DwAgentsError):
            return in_openai_terms(error, request, self.hx.Response)
        hx = self.hx
        not_sent: tuple[type[Exception], ...] = (hx.ConnectError, hx.ConnectTimeout, hx.PoolTimeout)
        if isinstance(error, not_sent):
            return error
        unknown = DeadlineExceeded if isinstance(error, hx.TimeoutException) else SubmissionUnknown
        said = f"The call left and got no reply ({type(error).__name__}: {error}); the service may have taken it up."
        return in_openai_terms(unknown(said), request, hx.Response)

    def raised(self, error: BaseException, request: Any) -> BaseException:
        """Return what the SDK's caller gets to see."""
        if isinstance(error, Warning):
            return at_construction(error)  # raised where warnings are errors
        return in_openai_terms(error, request, self.hx.Response) if isinstance(error, Exception) else error
