"""``ChatDoubleword``: LangChain's chat model on dw-agents' engine.

Owns: the model's fields and the hooks that LangChain calls. Conversion is LangChain's own
(``BaseChatOpenAI``), the travelling is the engine's; what lies between is in the modules beside this one.
Must not do I/O of its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import ConfigDict, Field, model_validator

from dw_agents.adapting.waiting import wait_in_thread, wait_on_loop
from dw_agents.errors import DwAgentsError
from langchain_dw_agents import settings
from langchain_dw_agents.answers import to_chunk, to_result
from langchain_dw_agents.batching import Batching
from langchain_dw_agents.content import checked_messages
from langchain_dw_agents.errors import RETRYABLE, in_langchain_terms
from langchain_dw_agents.heartbeat import abeat, beat
from langchain_dw_agents.payload import request_body
from langchain_dw_agents.profiles import profile_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput, ModelProfile
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable

    from dw_agents import Answer, Engine, Step

__all__ = ["ChatDoubleword"]


class ChatDoubleword(Batching, BaseChatOpenAI):
    """A chat model whose calls travel on Doubleword's service tiers, flex by default.

    Use it wherever LangChain, LangGraph or deepagents take a chat model. Each call is one step of the engine
    that all models of the same account share in this process.

    Example:
        >>> llm = ChatDoubleword(model="Qwen/Qwen3.5-35B-A3B-FP8")  # doctest: +SKIP
        >>> llm.invoke("Name three fjords.").text  # doctest: +SKIP
        >>> llm.bind(service_tier="priority").invoke("Now, please.")  # doctest: +SKIP

    ``service_tier``, ``completion_window``, ``on_unknown``, ``timeout``, ``max_retries``, ``run`` and ``heartbeat``
    can also be given per call (``bind``, ``invoke(..., service_tier=...)``).

    Raises:
        pydantic.ValidationError: a setting that cannot hold; names the field and the mend.
        langchain_dw_agents.errors.InvalidStep: (per call) something that cannot be carried; nothing was sent.
    """

    # Without inputs in its errors: pydantic would print the key.
    model_config = ConfigDict(populate_by_name=True, hide_input_in_errors=True)

    model_name: str = Field(default="", alias="model")
    """The model's name in the catalogue, for example ``"Qwen/Qwen3.5-35B-A3B-FP8"``. Must be given."""

    openai_api_key: Any = Field(alias="api_key", default_factory=settings.key_from_environment)
    """A string, a ``SecretStr`` or a function that returns the string. Default: ``DOUBLEWORD_API_KEY``, else
    what ``dw login`` wrote to ``~/.dw``. OpenAI's own variables are never read: a key goes to one company
    only."""

    openai_api_base: str | None = Field(alias="base_url", default_factory=settings.address_from_environment)
    """Default: ``DOUBLEWORD_BASE_URL``, ``DOUBLEWORD_API_BASE``, else the public address of the API."""

    service_tier: str | None = "flex"
    """``"flex"`` (minutes), ``"batch"`` (hours), ``"priority"`` (realtime) or ``"background"`` (spare
    capacity)."""

    completion_window: Literal["24h", "1h"] | None = None
    """For ``service_tier="batch"``: ``"24h"`` or ``"1h"``."""

    on_unknown: Literal["resend", "raise"] | None = None
    """After a submission without a reply, which may have been accepted: ``"resend"`` once, or ``"raise"``
    ``SubmissionUnknown``. Default: the engine's setting."""

    run: str = ""
    """The run that the calls belong to: under the same name, in whatever process, a call that was answered is not
    paid again. Default: the engine's (``DW_AGENTS_RUN``)."""

    heartbeat: float | None = Field(default=15.0, gt=0)
    """Seconds between signs of life while a call waits (they keep LangGraph's ``idle_timeout`` from ending
    the node); None gives none."""

    use_responses_api: bool | None = True
    """Always True: flex exists on the Responses API only."""

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Check the settings; LangChain's own check builds OpenAI clients and reads OpenAI's key."""
        settings.check(self)
        return self

    @property
    def api_key(self) -> Any:
        """The key as it was given (see ``openai_api_key``)."""
        return self.openai_api_key

    @property
    def base_url(self) -> str | None:
        """The address as it was given (see ``openai_api_base``)."""
        return self.openai_api_base

    @property
    def engine(self) -> Engine:
        """The engine of this model's account, shared by everything in this process that uses the account.

        Raises:
            MissingAPIKey: no key in ``api_key``, the environment or ``~/.dw``.
        """
        return settings.engine(self.openai_api_key, self.openai_api_base, self.default_headers)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step, every = self._step(messages, stop, run_manager, kwargs)
        engine = self.engine
        try:
            answer = wait_in_thread(engine, step, every=every, beat=partial(beat, run_manager=run_manager))
        except DwAgentsError as error:
            raise in_langchain_terms(error) from None
        return self._result(answer, kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step, every = self._step(messages, stop, run_manager, kwargs)
        engine = self.engine
        try:
            answer = await wait_on_loop(engine, step, every=every, beat=partial(abeat, run_manager=run_manager))
        except DwAgentsError as error:
            raise in_langchain_terms(error) from None
        return self._result(answer, kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunk = to_chunk(self._generate(messages, stop, run_manager, **kwargs))
        if run_manager is not None:
            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunk = to_chunk(await self._agenerate(messages, stop, run_manager, **kwargs))
        if run_manager is not None:
            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        yield chunk

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the JSON body that would be sent, without the fields that the service tier adds.

        Raises:
            InvalidStep: something in it cannot be carried; names the field and the mend.
        """
        messages = checked_messages(self._convert_input(input_).to_messages())
        # Asked for as if streamed: LangChain then turns a schema class into JSON itself instead of leaving it
        # to the SDK. Without `store`, since the service keeps answers anyway and LangChain would drop the
        # reasoning.
        payload = super()._get_request_payload(messages, stop=stop, **{**kwargs, "stream": True, "store": None})
        if (store := kwargs.get("store", self.store)) is not None:
            payload["store"] = store
        return request_body(payload, stop=stop or self.stop)

    def _step(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
        kwargs: dict[str, Any],
    ) -> tuple[Step, float | None]:
        """Return the step for a call and the seconds between its heartbeats."""
        try:
            travel, asked = settings.split(self, kwargs)
            body = self._get_request_payload(messages, stop=stop, **asked)
            where = settings.whereabouts(run_manager.metadata if run_manager is not None else None)
            return settings.step(body, travel, where), travel["heartbeat"]
        except DwAgentsError as error:
            raise in_langchain_terms(error) from None

    def _result(self, answer: Answer, kwargs: dict[str, Any]) -> ChatResult:
        return to_result(
            answer,
            text=answer.ticket.step.body.get("text"),
            schema=kwargs.get("response_format"),
            output_version=self.output_version,
        )

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        tools: list[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose answers follow ``schema``.

        Args:
            schema: a pydantic class, a ``TypedDict``, a JSON schema or an OpenAI tool.
            method: ``"json_schema"`` (default: the service constrains the output), ``"function_calling"``
                (default for classes of pydantic 1, which the former does not take) or ``"json_mode"``.
            include_raw: return ``{"raw", "parsed", "parsing_error"}`` instead of raising where parsing fails.
            strict: whether the schema is enforced to the letter.
            tools: further tools that the model may call.
            kwargs: bound to each call.
        """
        if method is None:
            method = "function_calling" if settings.is_pydantic_1(schema) else "json_schema"
        return super().with_structured_output(
            schema, method=method, include_raw=include_raw, strict=strict, tools=tools, **kwargs
        )

    def with_retry(self, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that asks again after an error; see ``Runnable.with_retry``.

        By default only errors that may pass are retried (``RETRYABLE``), each as a new submission: the engine
        has by then done its own retrying.
        """
        retrying: Runnable[LanguageModelInput, Any] = super().with_retry(
            **{"retry_if_exception_type": RETRYABLE, **kwargs}
        )
        return retrying

    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None, **_: Any
    ) -> int:
        """Return an estimate; LangChain's own count downloads OpenAI's tokenizer."""
        from langchain_core.messages.utils import count_tokens_approximately

        return count_tokens_approximately(messages, tools=list(tools) if tools else None)

    def get_num_tokens(self, text: str) -> int:
        """Return an estimate of the tokens in ``text``, about four characters each."""
        from langchain_core.messages import HumanMessage

        return self.get_num_tokens_from_messages([HumanMessage(text)])

    def get_token_ids(self, text: str) -> list[int]:
        """Return what ``custom_get_token_ids`` returns; the service offers no tokenizer.

        Raises:
            NotImplementedError: there is no ``custom_get_token_ids``.
        """
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        raise NotImplementedError("No tokenizer is known for this model; give custom_get_token_ids=...")

    def _resolve_model_profile(self) -> ModelProfile | None:
        return profile_of(self.model_name)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "doubleword"
        return params

    @property
    def _llm_type(self) -> str:
        return "doubleword-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Which environment variable holds which secret field."""
        return {"openai_api_key": settings.KEY_VARIABLE}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return False: LangChain loads classes of its own packages only."""
        return False
