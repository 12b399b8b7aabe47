"""The settings of ``DoublewordEmbedding``: its fields, and what follows from them alone.

Owns: the fields, their two names where LlamaIndex has its own, their checks at construction, the engine of their
account, and how a model is pickled. Must not import the embedding model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from dw_agents import Engine
from dw_agents.adapting.carry import warn_once
from dw_agents.adapting.settings import check_heartbeat, check_model_name, check_timeout
from dw_agents.errors import InvalidStep
from llama_index.embeddings.dw_agents.calls import Travel

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.rate_limiter import BaseRateLimiter
    from llama_index.core.storage.kvstore.types import BaseKVStore

__all__ = ["Fields", "Given", "Tier"]

Tier = Literal["batch", "priority"]
Key = SecretStr | Callable[[], str] | None

_OTHER_NAMES: Final = {"model": "model_name", "api_base": "base_url"}


class Given(TypedDict, total=False):
    """The keyword arguments of the constructor; the fields of the same names say what they mean."""

    model_name: str
    api_key: Key | str
    base_url: str | None
    api_base: str | None
    service_tier: Tier
    query_service_tier: Tier
    completion_window: Literal["24h", "1h"] | None
    dimensions: int | None
    embed_batch_size: int
    timeout: float | None
    max_retries: int | None
    on_unknown: Literal["resend", "raise"] | None
    run: str
    heartbeat: float | None
    default_headers: dict[str, str] | None
    num_workers: int | None
    callback_manager: CallbackManager
    embeddings_cache: BaseKVStore | None
    rate_limiter: BaseRateLimiter | None


class Fields(BaseEmbedding):
    """What a ``DoublewordEmbedding`` is told once; ``None`` leaves a value to the service or to the engine."""

    # Without inputs in its errors: pydantic would print the key. A misspelled field is an error, not a default.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model_name: str = ""
    """Also ``model``. The model's name in the catalogue, for example ``"Qwen/Qwen3-Embedding-8B"``. Must be given."""

    api_key: Key = Field(default=None, exclude=True, repr=False)
    """A string, a ``SecretStr`` or a function that returns the string. Default: ``DOUBLEWORD_API_KEY``, else what
    ``dw login`` wrote to ``~/.dw``, looked up when it is needed. OpenAI's own variables are never read. It is in no
    ``to_dict()``, repr or pickle."""

    base_url: str | None = None
    """Also ``api_base``, LlamaIndex's word. Default: ``DOUBLEWORD_BASE_URL``, ``DOUBLEWORD_API_BASE``, else the public
    address of the API."""

    service_tier: Tier = "batch"
    """For texts of an index: ``"batch"`` (hours, at most half the price) or ``"priority"`` (realtime)."""

    query_service_tier: Tier = "priority"
    """For queries; the same choice."""

    completion_window: Literal["24h", "1h"] | None = None
    """For ``"batch"``: how long the service may take, 24 hours unless told otherwise; ``"1h"`` costs more."""

    dimensions: int | None = Field(default=None, gt=0)
    """Length of the vectors, for models that can shorten them. Default: the model's own."""

    embed_batch_size: int = Field(default=2048, gt=0, le=2048)
    """The most texts that one pair of LlamaIndex's events tells of. It does not say what is in flight: that is
    everything, packed into lines of at most 256 texts (fewer with a smaller number here) or 1 MB."""

    timeout: float | None = None
    """Seconds that one call may take. Default: as long as it takes."""

    max_retries: int | None = Field(default=None, ge=0)
    """How often a submission may be tried again. Default: the engine's setting."""

    on_unknown: Literal["resend", "raise"] | None = None
    """After a submission without a reply, which may have been accepted: ``"resend"`` once, or ``"raise"``
    ``SubmissionUnknown``. Default: the engine's setting."""

    run: str = ""
    """The run that the calls belong to: under the same name, in whatever process, texts that were embedded are not paid
    again. Default: the engine's (``DW_AGENTS_RUN``)."""

    heartbeat: float | None = 15.0
    """Seconds between the ``DoublewordHeartbeat`` events of a call that waits; None sends none."""

    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Sent with every request, beside the key. Models that share an engine have the same ones. In no ``to_dict()`` or
    repr; in pickles, for nothing else has them."""

    @model_validator(mode="before")
    @classmethod
    def _take_either_name(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        settings = dict(data)
        for other, name in _OTHER_NAMES.items():
            if other not in settings:
                continue
            value = settings.pop(other)
            if settings.setdefault(name, value) != value:
                raise InvalidStep(f"{name} and {other} are two names for one setting; give one.", field=other)
        return settings

    @field_validator("service_tier", "query_service_tier", mode="before")
    @classmethod
    def _check_tier(cls, tier: object) -> object:
        if tier in ("flex", "background"):
            raise InvalidStep(
                f"{tier!r} has no embeddings: the service would answer at once and bill them as realtime. Instead: "
                "'batch' (with completion_window='1h' at the price of flex) or 'priority'.",
                field="service_tier",
            )
        return tier

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_model_name(self.model_name)
        check_timeout(self.timeout)
        check_heartbeat(self.heartbeat)
        if inspect.iscoroutinefunction(self.api_key):
            raise InvalidStep(
                "api_key is an async function; give a string, a SecretStr or a plain function.", field="api_key"
            )
        if self.completion_window is not None and "batch" not in (self.service_tier, self.query_service_tier):
            raise InvalidStep(
                f'completion_window={self.completion_window!r} belongs to "batch"; nothing here travels by batch.',
                field="completion_window",
            )
        if self.num_workers is not None and self.num_workers > 1:
            warn_once(
                "llama_index.embeddings.num_workers",
                f"num_workers={self.num_workers} has no effect: all texts of a call are in flight at once, since each "
                "worker's next slice would wait for another batch. Instead: rate_limiter, to send them slower.",
            )
        return self

    @classmethod
    def class_name(cls) -> str:
        """Name the class in LlamaIndex's serialised form."""
        return "DoublewordEmbedding"

    @property
    def model(self) -> str:
        """The model's name (see ``model_name``)."""
        return self.model_name

    @property
    def api_base(self) -> str | None:
        """The address under LlamaIndex's name for it (see ``base_url``)."""
        return self.base_url

    @property
    def engine(self) -> Engine:
        """The engine of this account, shared by everything in this process that uses the account.

        Raises:
            MissingAPIKey: no key in ``api_key``, the environment or ``~/.dw``.
            ConfigurationError: a key or an address that cannot be used.
        """
        return Engine.shared(api_key=self.api_key, base_url=self.base_url, headers=self.default_headers or None)

    def to_payload(self) -> dict[str, Any]:
        """Describe the model in events: no secret."""
        return {**super().to_payload(), "service_tier": self.service_tier, "dimensions": self.dimensions}

    def __getstate__(self) -> dict[str, Any]:
        # The key stays here: whoever unpickles finds it where this process did, in the environment or in ~/.dw. The
        # base class takes what cannot be pickled out of the very object, so it is given a copy.
        twin = self.model_copy(update={"api_key": None})
        state: dict[str, Any] = super(Fields, twin).__getstate__()
        return state

    def _travel(self, tier: Tier) -> Travel:
        return Travel(
            service_tier=tier,
            completion_window=self.completion_window if tier == "batch" else None,
            timeout=self.timeout,
            max_retries=self.max_retries,
            on_unknown=self.on_unknown,
            run=self.run,
        )
