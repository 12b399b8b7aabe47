"""The transports under the SDK's clients: calls that travel on a tier go to the engine, all others to the service.

Owns: the I/O of both kinds of client. What to do is decided in ``deferral.py`` and ``translate/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from dw_agents.openai.held import HeldCall
from dw_agents.openai.request import drop_own_headers
from dw_agents.schedule.retries import Verdict, judge_submission
from dw_agents.translate.call import Ask, Hold

if TYPE_CHECKING:
    from dw_agents.openai.deferral import Deferral
    from dw_agents.openai.family import Underlying
    from dw_agents.openai.request import Asked
    from dw_agents.translate.call import PassOn

__all__ = ["AsyncTransport", "Transport"]


class Transport:
    """Under an ``httpx`` (or ``httpx2``) ``Client``.

    Args:
        deferral: decides about the requests.
        underlying: sends what is not for the engine.
    """

    def __init__(self, deferral: Deferral, underlying: Underlying) -> None:
        self.deferral = deferral
        self._underlying = underlying

    def handle_request(self, request: Any) -> Any:
        """Answer a request; what it raises on a tier is an ``OpenAIError``, so that the SDK sends nothing again."""
        if not self.deferral.travels(request):
            return self._pass_on(request)
        try:
            request.read()
            asked, decided = self.deferral.plan(request)
            if isinstance(decided, Hold):
                return HeldCall(self.deferral, request, asked, decided).run(self._underlying.client)
            if isinstance(decided, Ask):
                answer = self.deferral.engine(request, asked).run(decided.step)
                return self.deferral.reply(answer, decided.shape, request)
        except BaseException as error:
            raised = self.deferral.raised(error, request)
            if raised is error:
                raise
            raise raised from raised.__cause__
        return self._pass_on(request) if decided is None else self._submitted(request, asked, decided)

    def _submitted(self, request: Any, asked: Asked, decided: PassOn) -> Any:
        try:
            response = self._pass_on(self.deferral.submission(request, asked, decided))
        except Exception as error:
            raised = self.deferral.unanswered(error, request)
            if raised is error:
                raise
            raise raised from error
        return kept_from_retrying(response)

    def _pass_on(self, request: Any) -> Any:
        drop_own_headers(request)
        response = self._underlying.client.send(request, stream=True, follow_redirects=False)
        return relayed(self.deferral, response)

    def close(self) -> None:
        """Close what really sends."""
        if self._underlying.opened is not None:
            self._underlying.opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTransport:
    """Under an ``httpx`` (or ``httpx2``) ``AsyncClient``; see ``Transport``."""

    def __init__(self, deferral: Deferral, underlying: Underlying) -> None:
        self.deferral = deferral
        self._underlying = underlying

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request; see ``Transport.handle_request``."""
        if not self.deferral.travels(request):
            return await self._pass_on(request)
        try:
            await request.aread()
            asked, decided = self.deferral.plan(request)
            if isinstance(decided, Hold):
                return await HeldCall(self.deferral, request, asked, decided).arun(self._underlying.client)
            if isinstance(decided, Ask):
                answer = await self.deferral.engine(request, asked).arun(decided.step)
                return self.deferral.reply(answer, decided.shape, request)
        except BaseException as error:
            raised = self.deferral.raised(error, request)
            if raised is error:
                raise
            raise raised from raised.__cause__
        return await (self._pass_on(request) if decided is None else self._submitted(request, asked, decided))

    async def _submitted(self, request: Any, asked: Asked, decided: PassOn) -> Any:
        try:
            response = await self._pass_on(self.deferral.submission(request, asked, decided))
        except Exception as error:
            raised = self.deferral.unanswered(error, request)
            if raised is error:
                raise
            raise raised from error
        return kept_from_retrying(response)

    async def _pass_on(self, request: Any) -> Any:
        drop_own_headers(request)
        response = await self._underlying.client.send(request, stream=True, follow_redirects=False)
        return relayed(self.deferral, response)

    async def aclose(self) -> None:
        """Close what really sends."""
        if self._underlying.opened is not None:
            await self._underlying.opened.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def relayed(deferral: Deferral, response: Any) -> Any:
    """Hand a reply of the underlying client on, its body unread."""
    return deferral.hx.Response(
        response.status_code, headers=response.headers, stream=response.stream, extensions=response.extensions
    )


def kept_from_retrying(response: Any) -> Any:
    """Keep the SDK from sending a call again that the service may have taken up."""
    if judge_submission(response.status_code) is Verdict.UNKNOWN:
        response.headers["x-should-retry"] = "false"
    return response
