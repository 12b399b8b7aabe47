"""The OpenAI clients whose calls travel on the service's tiers.

Owns: ``OpenAI`` and ``AsyncOpenAI``, the SDK's own classes on a transport of ours, and ``deferred``, which puts that
transport under a client that the user already has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import openai

from dw_agents import Engine
from dw_agents.config import resolve_account
from dw_agents.errors import DwAgentsError
from dw_agents.openai.deferral import Deferral
from dw_agents.openai.errors import at_construction
from dw_agents.openai.family import Underlying, underlying_of, wrapped
from dw_agents.openai.request import bearer_of, lasting_headers
from dw_agents.openai.transport import AsyncTransport, Transport
from dw_agents.translate.travel import Travel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AsyncOpenAI", "OpenAI", "deferred"]

Client = TypeVar("Client", bound=openai.OpenAI | openai.AsyncOpenAI)

_TRAVEL: Final = ("service_tier", "completion_window", "on_unknown", "run", "scope", "label")
_OPENAIS_OWN: Final = ("organization", "project", "admin_api_key")
"""What the SDK finds in variables that are meant for OpenAI: a secret goes to one company only."""


class _Settings:
    """What the two clients have in common: reading their settings, and handing them to their copies."""

    travel: Travel
    _given_engine: Engine | None
    _step_headers: Mapping[str, str]
    _key_in_headers: str

    def _under(self, http_client: Any, default_headers: Mapping[str, Any] | None, engine: Engine | None) -> Any:
        """Build the HTTP client of this client around the user's, or around one that is made when it is needed."""
        asynchronous = isinstance(self, openai.AsyncOpenAI)
        underlying = underlying_of(http_client) or Underlying(asynchronous=asynchronous, client=http_client)
        self._given_engine = engine
        self._key_in_headers = bearer_of(default_headers)
        own = None if underlying.given is None else underlying.given.headers
        self._step_headers = lasting_headers(own, default_headers)
        deferral = Deferral(self.travel, hx=underlying.hx, engine=engine, headers=self._step_headers)
        return wrapped(underlying, (AsyncTransport if asynchronous else Transport)(deferral, underlying))

    def _forget_openais(self, options: Mapping[str, Any]) -> None:
        for name in _OPENAIS_OWN:
            if options.get(name) is None and hasattr(self, name):
                setattr(self, name, None)

    def _copied(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a copy, with this client's settings where it is given none."""
        own: dict[str, Any] = {name: getattr(self.travel, name) for name in _TRAVEL}
        given: dict[str, Any] = {name: options.pop(name) for name in (*_TRAVEL, "engine") if name in options}
        if given.get("service_tier", own["service_tier"]) != own["service_tier"]:
            own["completion_window"] = None
        extra: dict[str, Any] = dict(options.pop("_extra_kwargs", {}))
        extra.update(own, engine=self._given_engine)
        extra.update(given)
        return {**options, "_extra_kwargs": extra}

    def again(self, travel: Travel, engine: Engine | None, **options: Any) -> Any:
        """Return a copy that travels otherwise; its transport goes by the settings of its client."""
        own = {name: getattr(travel, name) for name in _TRAVEL}
        client: Any = self
        return client.with_options(**own, engine=engine, **options)

    def _engine(self, api_key: object, base_url: str) -> Engine:
        if self._given_engine is not None:
            return self._given_engine
        key = self._key_in_headers or api_key
        return Engine.shared(api_key=key, base_url=base_url, headers=dict(self._step_headers) or None)


class OpenAI(_Settings, openai.OpenAI):
    """The SDK's client; ``responses``, ``chat.completions`` and ``embeddings`` travel on a service tier.

    Everything that the SDK's client can do works here: ``create``, ``parse``, ``stream``, ``with_raw_response``,
    ``with_options``. A stream is written once the answer is there. All other endpoints are the service's own, as ever.

    Example:
        >>> client = OpenAI(service_tier="flex")  # doctest: +SKIP
        >>> client.chat.completions.create(model="Qwen/Qwen3.5-9B", messages=[...])  # doctest: +SKIP
        >>> client.with_options(service_tier="batch").responses.create(...)  # doctest: +SKIP

    What is said here for all calls can be said for one: ``service_tier=`` where the method has it, else
    ``extra_body={"completion_window": "1h", "run": "nightly"}``, headers (``X-DW-Agents-Run: nightly``), or
    ``with_options``.

    Embeddings have no flex tier. On a flex client they go by batch with a window of an hour: the same price, the same
    promise. On a batch client they take its window.

    Args:
        api_key: a string, a ``SecretStr`` or a function that returns the string; default: ``DOUBLEWORD_API_KEY``, then
            what ``dw login`` wrote. OpenAI's own variables are not read.
        base_url: default: ``DOUBLEWORD_BASE_URL``, then the public address of the API.
        service_tier: ``"flex"`` (minutes), ``"batch"`` (hours), ``"priority"`` (realtime) or ``"background"`` (spare
            capacity).
        completion_window: for ``"batch"``: ``"24h"`` (the default) or ``"1h"``.
        on_unknown: after a submission without a reply, which may have been accepted: ``"resend"`` once, or
            ``"raise"``. Default: the engine's.
        run: see ``Step.run``.
        scope: see ``Step.scope``.
        label: shown to people in logs and errors.
        engine: takes the calls; default: the one that everything of this account shares.
        timeout: seconds for a whole call on a tier, where it is given. Default: no limit; calls to other endpoints have
            the SDK's.
        max_retries: of calls to other endpoints, by the SDK; where it is not the SDK's default, also how often a
            submission may be tried again by the engine.
        default_headers: sent with every call.
        http_client: sends what does not travel on a tier. Default: the SDK's.
        options: the other arguments of ``openai.OpenAI``.

    Raises:
        MissingAPIKey: no key was found (also an ``openai.OpenAIError``).
        ConfigurationError: a setting that cannot hold; names it (also an ``openai.OpenAIError``).
    """

    def __init__(
        self,
        *,
        api_key: Any = None,
        base_url: Any = None,
        service_tier: str = "flex",
        completion_window: str | None = None,
        on_unknown: str | None = None,
        run: str = "",
        scope: str = "",
        label: str = "",
        engine: Engine | None = None,
        max_retries: int = openai.DEFAULT_MAX_RETRIES,
        default_headers: Mapping[str, Any] | None = None,
        http_client: Any = None,
        **options: Any,
    ) -> None:
        try:
            key, address = _account(api_key, base_url)
            self.travel = Travel(
                service_tier=service_tier,
                completion_window=completion_window,
                on_unknown=on_unknown,
                run=run,
                scope=scope,
                label=label,
                max_retries=None if max_retries == openai.DEFAULT_MAX_RETRIES else max_retries,
            )
        except DwAgentsError as error:
            raise at_construction(error) from None
        super().__init__(
            api_key=key,
            base_url=address,
            max_retries=max_retries,
            default_headers=default_headers,
            http_client=self._under(http_client, default_headers, engine),
            **options,
        )
        self._forget_openais(options)

    @property
    def engine(self) -> Engine:
        """The engine that takes this client's calls: its receipt says what was done and what it cost."""
        return self._engine(self.api_key, str(self.base_url))

    def copy(self, **options: Any) -> Self:
        """Return a client with other settings; takes what ``openai.OpenAI.copy`` takes, and the settings above."""
        return super().copy(**self._copied(options))

    with_options = copy


class AsyncOpenAI(_Settings, openai.AsyncOpenAI):
    """The SDK's async client on a service tier; see ``OpenAI``. Works on asyncio and on trio."""

    def __init__(
        self,
        *,
        api_key: Any = None,
        base_url: Any = None,
        service_tier: str = "flex",
        completion_window: str | None = None,
        on_unknown: str | None = None,
        run: str = "",
        scope: str = "",
        label: str = "",
        engine: Engine | None = None,
        max_retries: int = openai.DEFAULT_MAX_RETRIES,
        default_headers: Mapping[str, Any] | None = None,
        http_client: Any = None,
        **options: Any,
    ) -> None:
        try:
            key, address = _account(api_key, base_url)
            self.travel = Travel(
                service_tier=service_tier,
                completion_window=completion_window,
                on_unknown=on_unknown,
                run=run,
                scope=scope,
                label=label,
                max_retries=None if max_retries == openai.DEFAULT_MAX_RETRIES else max_retries,
            )
        except DwAgentsError as error:
            raise at_construction(error) from None
        super().__init__(
            api_key=key,
            base_url=address,
            max_retries=max_retries,
            default_headers=default_headers,
            http_client=self._under(http_client, default_headers, engine),
            **options,
        )
        self._forget_openais(options)

    @property
    def engine(self) -> Engine:
        """The engine that takes this client's calls: its receipt says what was done and what it cost."""
        return self._engine(self.api_key, str(self.base_url))

    def copy(self, **options: Any) -> Self:
        """Return a client with other settings; see ``OpenAI.copy``."""
        return super().copy(**self._copied(options))

    with_options = copy


def deferred(
    client: Client,
    *,
    service_tier: str = "flex",
    completion_window: str | None = None,
    on_unknown: str | None = None,
    run: str = "",
    scope: str = "",
    label: str = "",
    engine: Engine | None = None,
    api_key: object = None,
    base_url: str | None = None,
    http_client: Any = None,
) -> Client:
    """Return a copy of a client, of its own class, whose calls travel on a service tier.

    Args:
        client: any client of the SDK, of a subclass too (``AzureOpenAI`` for one); it is not changed.
        service_tier: see ``OpenAI``.
        completion_window: see ``OpenAI``.
        on_unknown: see ``OpenAI``.
        run: see ``OpenAI``.
        scope: see ``OpenAI``.
        label: see ``OpenAI``.
        engine: takes the calls; default: the one that everything of the account shares.
        api_key: of the calls that travel on a tier; default: the one that the client sends.
        base_url: where they go; default: where the client sends them.
        http_client: sends what does not travel on a tier; default: the client's.

    Raises:
        ConfigurationError: a setting that cannot hold; names it.
    """
    asynchronous = isinstance(client, openai.AsyncOpenAI)
    # The SDK gives no public way to the client that it sends with; where the name is gone, it makes a new one.
    own = http_client if http_client is not None else getattr(client, "_client", None)
    underlying = underlying_of(own) or Underlying(asynchronous=asynchronous, client=own)
    try:
        travel = Travel(
            service_tier=service_tier,
            completion_window=completion_window,
            on_unknown=on_unknown,
            run=run,
            scope=scope,
            label=label,
        )
        address = None if base_url is None else resolve_account("-", base_url).base_url
    except DwAgentsError as error:
        raise at_construction(error) from None
    given: Any = client
    if isinstance(given, _Settings):
        copied: Client = given.again(travel, engine, api_key=api_key, base_url=address, http_client=http_client)
        return copied
    deferral = Deferral(
        travel,
        hx=underlying.hx,
        engine=engine,
        api_key=api_key,
        base_url=address,
        headers=lasting_headers(getattr(own, "headers", None), getattr(client, "_custom_headers", None)),
    )
    transport = (AsyncTransport if asynchronous else Transport)(deferral, underlying)
    # Of the same class: the SDK's own copy is made with it.
    copied_on_tier: Any = client.with_options(http_client=wrapped(underlying, transport))
    again: Client = copied_on_tier
    return again


def _account(api_key: Any, base_url: Any) -> tuple[Any, str]:
    """Return the key (or the function that gives it, which the SDK calls for each request) and the address."""
    address = None if base_url is None else str(base_url)
    if callable(api_key) and not hasattr(api_key, "get_secret_value"):
        return api_key, resolve_account("-", address).base_url  # only the address is looked for
    account = resolve_account(api_key, address)
    return account.api_key.get_secret_value(), account.base_url
