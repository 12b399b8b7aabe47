"""``DoublewordEmbeddings``: LangChain's embeddings on dw-agents' engine.

Owns: the fields and the methods that LangChain calls. Packing and reading are in ``vectors.py``, the waiting in
``gathering.py``. Must not do I/O of its own.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotation
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dw_agents import Engine, Step
from dw_agents.adapting.gathering import gather_in_thread, gather_on_loop
from dw_agents.adapting.vectors import checked, packed, read_vectors
from dw_agents.errors import DwAgentsError, InvalidStep
from langchain_dw_agents import settings
from langchain_dw_agents.errors import in_langchain_terms
from langchain_dw_agents.heartbeat import abeat, beat

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DoublewordEmbeddings"]

_Tier = Literal["batch", "priority"]


class DoublewordEmbeddings(BaseModel, Embeddings):
    """Embeddings whose documents travel by batch and whose queries are realtime, unless told otherwise.

    Texts are sent as text: no tokenizer is needed. However many documents one call gets, they are packed into few
    lines of few batches, which they share with whatever else this process sends by batch at that time.

    Example:
        >>> embeddings = DoublewordEmbeddings(model="Qwen/Qwen3-Embedding-8B")  # doctest: +SKIP
        >>> vectors = embeddings.embed_documents(["a fjord", "a mountain"])  # doctest: +SKIP
        >>> vector = embeddings.embed_query("deep water")  # doctest: +SKIP

    An empty text is embedded as a single blank, since model servers refuse it.

    Raises:
        pydantic.ValidationError: a setting that cannot hold; names the field and the mend.
        langchain_dw_agents.errors.InvalidStep: (per call) texts that cannot be sent; nothing was sent.
        langchain_core.exceptions.ModelError: (per call) the first error of a call, which cancels the rest of it; also
            a ``dw_agents.errors.DwAgentsError``.
    """

    # Without inputs in its errors: pydantic would print the key.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: str = ""
    """The model's name in the catalogue, for example ``"Qwen/Qwen3-Embedding-8B"``. Must be given."""

    api_key: Any = Field(default_factory=settings.key_from_environment)
    """A string, a ``SecretStr`` or a function that returns the string. Default: ``DOUBLEWORD_API_KEY``, else
    what ``dw login`` wrote to ``~/.dw``. OpenAI's own variables are never read."""

    base_url: str | None = Field(default_factory=settings.address_from_environment)
    """Default: ``DOUBLEWORD_BASE_URL``, ``DOUBLEWORD_API_BASE``, else the public address of the API."""

    service_tier: _Tier = "batch"
    """For documents: ``"batch"`` (hours, at most half the price) or ``"priority"`` (realtime)."""

    query_service_tier: _Tier = "priority"
    """For queries; the same choice."""

    completion_window: Literal["24h", "1h"] = "24h"
    """For ``"batch"``: how long the service may take; ``"1h"`` costs more."""

    dimensions: int | None = Field(default=None, gt=0)
    """Length of the vectors, for models that can shorten them. Default: the model's own."""

    chunk_size: int = Field(default=256, gt=0)
    """The most texts in one line. A line fails as a whole, and its vectors come back in one piece: 256 of 4,096
    dimensions are about 6 MB. Long texts make lines shorter, at 1 MB of text each."""

    timeout: float | None = None
    """Seconds that one call may take. Default: as long as it takes."""

    max_retries: int | None = None
    """How often a submission may be tried again. Default: the engine's setting."""

    on_unknown: Literal["resend", "raise"] | None = None
    """After a submission without a reply, which may have been accepted: ``"resend"`` once, or ``"raise"``
    ``SubmissionUnknown``. Default: the engine's setting."""

    run: str = ""
    """The run that the calls belong to: under the same name, in whatever process, texts that were embedded are not paid
    again. Default: the engine's (``DW_AGENTS_RUN``)."""

    heartbeat: float | None = 15.0
    """Seconds between signs of life while a call waits inside a LangGraph node; None gives none."""

    default_headers: Mapping[str, str] | None = None
    """Sent with every request. Models that share an engine have the same ones."""

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
        settings.check_model_name(self.model)
        settings.check_timeout(self.timeout)
        settings.check_heartbeat(self.heartbeat)
        self.api_key = settings.secret(self.api_key)
        if "completion_window" in self.model_fields_set and "batch" not in (self.service_tier, self.query_service_tier):
            raise InvalidStep(
                f'completion_window={self.completion_window!r} belongs to "batch"; nothing here travels by batch.',
                field="completion_window",
            )
        return self

    @property
    def engine(self) -> Engine:
        """The engine of this account, shared by everything in this process that uses the account.

        Raises:
            MissingAPIKey: no key in ``api_key``, the environment or ``~/.dw``.
        """
        return settings.engine(self.api_key, self.base_url, self.default_headers)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts for an index, in their order; ``[]`` for none."""
        return self._embed(texts, self.service_tier)

    def embed_query(self, text: str) -> list[float]:
        """Embed one text to search with."""
        return self._embed([text], self.query_service_tier)[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts for an index, in their order, on asyncio or trio; being cancelled cancels all of it."""
        return await self._aembed(texts, self.service_tier)

    async def aembed_query(self, text: str) -> list[float]:
        """Embed one text to search with, on asyncio or trio."""
        return (await self._aembed([text], self.query_service_tier))[0]

    def _embed(self, texts: list[str], tier: _Tier) -> list[list[float]]:
        try:
            sent, lines = self._packed(texts)
            if not lines:
                return []
            engine, read = self.engine, partial(read_vectors, dimensions=self.dimensions)
            vectors = gather_in_thread(
                engine,
                self._steps(sent, lines, tier),
                read,
                every=self.heartbeat,
                beat=partial(beat, run_manager=None),
            )
        except DwAgentsError as error:
            raise in_langchain_terms(error) from None
        return [vector for line in vectors for vector in line]

    async def _aembed(self, texts: list[str], tier: _Tier) -> list[list[float]]:
        try:
            sent, lines = self._packed(texts)
            if not lines:
                return []
            engine, read = self.engine, partial(read_vectors, dimensions=self.dimensions)
            vectors = await gather_on_loop(
                engine,
                self._steps(sent, lines, tier),
                read,
                every=self.heartbeat,
                beat=partial(abeat, run_manager=None),
            )
        except DwAgentsError as error:
            raise in_langchain_terms(error) from None
        return [vector for line in vectors for vector in line]

    def _packed(self, texts: list[str]) -> tuple[list[str], list[range]]:
        sent, sizes = checked(texts)
        return sent, packed(sizes, self.chunk_size)

    def _steps(self, texts: list[str], lines: list[range], tier: _Tier) -> Iterator[Step]:
        scope, _ = settings.whereabouts(None)
        for line in lines:
            body: dict[str, Any] = {
                "model": self.model,
                "input": texts[line.start : line.stop],
                "encoding_format": "base64",
            }
            if self.dimensions is not None:
                body["dimensions"] = self.dimensions
            yield Step(
                endpoint="/embeddings",
                body=body,
                service_tier=tier,
                completion_window=self.completion_window if tier == "batch" else None,
                timeout=self.timeout,
                max_retries=self.max_retries,
                on_unknown=self.on_unknown,
                run=self.run,
                scope=scope,
                label=f"texts[{line.start}:{line.stop}]",
            )
