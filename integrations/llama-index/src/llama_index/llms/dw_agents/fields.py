"""The settings of ``DoublewordLLM``: its fields, and what follows from them alone.

Owns: the fields, their checks at construction, the engine of their account, the metadata, and how an LLM is pickled.
Must not import the LLM.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable  # noqa: TC003 - pydantic reads it from the annotations
from difflib import get_close_matches
from typing import Any, Literal, Self

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import ConfigDict, Field, SecretStr, model_validator

from dw_agents import Engine
from dw_agents.adapting.settings import check_window
from dw_agents.errors import InvalidStep
from llama_index.llms.dw_agents import settings
from llama_index.llms.dw_agents.windows import context_window_of

__all__ = ["Fields"]


class Fields(FunctionCallingLLM):
    """What a ``DoublewordLLM`` is told once; ``None`` leaves a value to the service or to the engine."""

    # Without inputs in its errors: pydantic would print the key.
    model_config = ConfigDict(hide_input_in_errors=True, arbitrary_types_allowed=True, protected_namespaces=())

    model: str
    """The model's name in the catalogue, for example ``"Qwen/Qwen3.5-35B-A3B-FP8"``."""

    api_key: SecretStr | Callable[[], str] | None = Field(default=None, exclude=True, repr=False)
    """A string, a ``SecretStr`` or a function that returns the string. Default: ``DOUBLEWORD_API_KEY``, else what
    ``dw login`` wrote to ``~/.dw``, looked up when it is needed. OpenAI's own variables are never read: a key goes to
    one company only. It is in no ``to_dict()``, repr or pickle."""

    base_url: str | None = None
    """Also ``api_base``, LlamaIndex's word. Default: ``DOUBLEWORD_BASE_URL``, ``DOUBLEWORD_API_BASE``, else the public
    address of the API."""

    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Sent with every request, beside the key. In no ``to_dict()`` or repr; in pickles, for nothing else has them."""

    service_tier: str = "flex"
    """``"flex"`` (minutes), ``"batch"`` (hours), ``"priority"`` (realtime) or ``"background"`` (spare capacity)."""

    completion_window: Literal["24h", "1h"] | None = None
    """For ``service_tier="batch"``: ``"24h"`` or ``"1h"``."""

    on_unknown: Literal["resend", "raise"] | None = None
    """After a submission without a reply, which may have been accepted: ``"resend"`` once, or ``"raise"``
    ``SubmissionUnknown``. Default: the engine's setting."""

    timeout: float | None = None
    """Seconds after which an answer is no longer wanted: the call is then cancelled at the service and ends in
    ``DeadlineExceeded``. Default: no limit."""

    max_retries: int | None = Field(default=None, ge=0)
    """How often a submission may be tried again. Default: the engine's setting."""

    heartbeat: float | None = Field(default=15.0, gt=0)
    """Seconds between the ``DoublewordHeartbeat`` events of a call that waits; None sends none."""

    run: str = ""
    """The run that the calls belong to: under the same name, in whatever process, a call that was answered is not paid
    again. Default: the engine's (``DW_AGENTS_RUN``)."""

    label: str = ""
    """Shown to people in logs, errors and heartbeats."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Default: the model's own."""

    top_p: float | None = Field(default=None, ge=0, le=1)
    """Default: the model's own."""

    max_tokens: int | None = Field(default=None, gt=0)
    """The most tokens of an answer, its reasoning included."""

    stop: list[str] | str | None = None
    """Texts at which an answer ends."""

    reasoning_effort: str | None = None
    """``"none"``, ``"low"``, ``"medium"``, ``"high"`` and what else the model knows."""

    parallel_tool_calls: bool | None = None
    """Whether several tools may be called at once, where a call with tools does not say (``allow_parallel_tool_calls``,
    which agents give)."""

    strict: bool = False
    """Constrain the arguments of tool calls to the tools' schemas, where these have a strict form. Optional arguments
    are then always given."""

    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, and any of the above; a call's own arguments come first."""

    context_window: int | None = Field(default=None, gt=0)
    """In tokens. Default: the model's own, and at least 131,072 where it is not known."""

    is_function_calling_model: bool = True
    """Whether the model can call tools; without, LlamaIndex works around it in the prompt."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        """Take both names of the address, and refuse names of nothing: a misspelt tier would be another bill."""
        if not isinstance(data, dict):
            return data
        known = [*cls.model_fields, "api_base"]
        for name in data.keys() - set(known):
            meant = [f"did you mean {one}?" for one in get_close_matches(name, known, n=1)]
            mend = (meant or ["fields of the request go into additional_kwargs."])[0]
            raise InvalidStep(f"{name} is no setting of {cls.__name__}; {mend}", field=name)
        if "api_base" not in data:
            return data
        rest = {name: value for name, value in data.items() if name != "api_base"}
        if rest.get("base_url") not in (None, data["api_base"]):
            raise InvalidStep("base_url and api_base are two names for one address; give one.", field="api_base")
        return {**rest, "base_url": data["api_base"]}

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        check_window(self.completion_window, self.service_tier)
        if inspect.iscoroutinefunction(self.api_key):
            raise InvalidStep(
                "api_key is an async function; give a string, a SecretStr or a plain function.", field="api_key"
            )
        _, asked = settings.split(self, {})
        settings.body_of(asked, ())
        return self

    @classmethod
    def class_name(cls) -> str:
        """Name the class in LlamaIndex's serialised form."""
        return "DoublewordLLM"

    @property
    def api_base(self) -> str | None:
        """The address under LlamaIndex's name for it (see ``base_url``)."""
        return self.base_url

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex wants to know of a model; never raises, whatever the model's name."""
        return LLMMetadata(
            context_window=self.context_window or context_window_of(self.model),
            num_output=self.max_tokens or -1,
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    @property
    def engine(self) -> Engine:
        """The engine of this LLM's account, shared by everything in this process that uses the account.

        Raises:
            MissingAPIKey: no key in ``api_key``, the environment or ``~/.dw``.
            ConfigurationError: a key or an address that cannot be used.
        """
        return Engine.shared(api_key=self.api_key, base_url=self.base_url, headers=self.default_headers or None)

    def to_payload(self) -> dict[str, Any]:
        """Describe the LLM in events: the model and its tier, no secret."""
        return {**super().to_payload(), "service_tier": self.service_tier}

    def __getstate__(self) -> dict[str, Any]:
        # The key stays here: whoever unpickles finds it where this process did, in the environment or in ~/.dw. The
        # base class takes what cannot be pickled out of the very object, so it is given a copy.
        twin = self.model_copy(update={"api_key": None})
        state: dict[str, Any] = super(Fields, twin).__getstate__()
        return state
