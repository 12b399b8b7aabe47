"""``DoublewordEmbedding``: LlamaIndex's embedding model on dw-agents' engine.

Owns: the methods that LlamaIndex calls, and the order of things in a call: checks, events, the user's cache, the
engine. Each public method goes straight to the engine: none calls another, whose events would then be sent twice. Must
not do I/O of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Unpack

from anyio.lowlevel import checkpoint
from llama_index.core.base.embeddings.base import mean_agg

from dw_agents.adapting.carry import warn_once
from dw_agents.adapting.gathering import gather_in_thread, gather_on_loop
from llama_index.embeddings.dw_agents.calls import Call, Vector
from llama_index.embeddings.dw_agents.errors import in_llama_index_terms
from llama_index.embeddings.dw_agents.fields import Fields, Given, Tier
from llama_index.embeddings.dw_agents.telling import Telling
from llama_index.llms.dw_agents.heartbeat import abeat, beat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from llama_index.core.storage.kvstore.types import BaseKVStore

    from dw_agents import Step

__all__ = ["DoublewordEmbedding"]

_COLLECTION: Final = "embeddings"
"""Where LlamaIndex's own models keep vectors in a user's cache."""

_SLICE_OF_AN_INDEX: Final = 2048
"""``insert_batch_size`` of ``VectorStoreIndex``, unless told otherwise."""


class DoublewordEmbedding(Fields):
    """An embedding model whose texts travel by batch and whose queries are realtime, unless told otherwise.

    Texts are sent as text: no tokenizer is needed. However many texts one call gets, all of them are in flight at once,
    packed into few lines of few batches, which they share with whatever else this process sends by batch at that time.

    Example:
        >>> embedding = DoublewordEmbedding(model="Qwen/Qwen3-Embedding-8B")  # doctest: +SKIP
        >>> vectors = embedding.get_text_embedding_batch(["a fjord", "a mountain"])  # doctest: +SKIP
        >>> vector = embedding.get_query_embedding("deep water")  # doctest: +SKIP

    An empty text is embedded as a single blank, since model servers refuse it. With ``embeddings_cache`` a vector is
    kept under the model, the dimensions and the text, so that models can share a cache; what had arrived when a call
    failed is kept, too. A synchronous method works inside a running event loop and warns once: the loop stands still
    meanwhile.

    Raises:
        pydantic.ValidationError: a setting that cannot hold; names the field and the mend.
        InvalidStep: (per call) texts that cannot be sent; nothing was sent.
        DwAgentsError: (per call) the first error of a call, which cancels the rest of it. Those that LlamaIndex would
            take for its own are raised as their twins in ``errors.py``.
    """

    # Here and not with the fields: type checkers make up a constructor for a class that has none of its own.
    def __init__(self, model: str | None = None, **given: Unpack[Given]) -> None:
        settings: dict[str, Any] = dict(given)
        if model is not None:
            settings["model"] = model
        super().__init__(**settings)

    def get_query_embedding(self, query: str) -> Vector:
        """Embed one text to search with."""
        return self._told([query], self.query_service_tier)[0]

    async def aget_query_embedding(self, query: str) -> Vector:
        """Embed one text to search with; being cancelled cancels it."""
        return (await self._atold([query], self.query_service_tier))[0]

    def get_agg_embedding_from_queries(self, queries: list[str], agg_fn: Callable[..., Vector] | None = None) -> Vector:
        """Embed several texts to search with, all at once, and make one vector of them (their mean by default)."""
        return (agg_fn or mean_agg)(self._told(queries, self.query_service_tier, slice_size=1))

    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Vector] | None = None
    ) -> Vector:
        """Embed several texts to search with, all at once, and make one vector of them (their mean by default)."""
        return (agg_fn or mean_agg)(await self._atold(queries, self.query_service_tier, slice_size=1))

    def get_text_embedding(self, text: str) -> Vector:
        """Embed one text for an index."""
        return self._told([text], self.service_tier)[0]

    async def aget_text_embedding(self, text: str) -> Vector:
        """Embed one text for an index; being cancelled cancels it."""
        return (await self._atold([text], self.service_tier))[0]

    def get_text_embedding_batch(
        self,
        texts: list[str],
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's: what a pipeline hands to all of its transformations
    ) -> list[Vector]:
        """Embed texts for an index, in their order; ``[]`` for none."""
        self._advise(texts)
        return self._told(texts, self.service_tier, show_progress=show_progress)

    async def aget_text_embedding_batch(
        self,
        texts: list[str],
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's: what a pipeline hands to all of its transformations
    ) -> list[Vector]:
        """Embed texts for an index, in their order; being cancelled cancels all of it."""
        self._advise(texts)
        return await self._atold(texts, self.service_tier, show_progress=show_progress)

    def _get_query_embedding(self, query: str) -> Vector:
        return self._embed([query], self.query_service_tier)[0]

    async def _aget_query_embedding(self, query: str) -> Vector:
        return (await self._aembed([query], self.query_service_tier))[0]

    def _get_text_embedding(self, text: str) -> Vector:
        return self._embed([text], self.service_tier)[0]

    async def _aget_text_embedding(self, text: str) -> Vector:
        return (await self._aembed([text], self.service_tier))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Vector]:
        return self._embed(texts, self.service_tier)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Vector]:
        return await self._aembed(texts, self.service_tier)

    def _embed(self, texts: Sequence[str], tier: Tier) -> list[Vector]:
        """Embed texts without a word to anyone: LlamaIndex's hooks, for who tells and caches by themselves."""
        call = self._call(texts)
        self._ask(call, tier, call.read)
        return call.vectors()

    async def _aembed(self, texts: Sequence[str], tier: Tier) -> list[Vector]:
        call = self._call(texts)
        await self._aask(call, tier, call.read)
        return call.vectors()

    def _told(
        self, texts: Sequence[str], tier: Tier, *, slice_size: int | None = None, show_progress: bool = False
    ) -> list[Vector]:
        """Embed texts as LlamaIndex's public methods do: with events, the user's cache and rate limiter."""
        call = self._call(texts, slice_size)
        cache: BaseKVStore | None = self.embeddings_cache
        with Telling(call, self.callback_manager, self.to_payload(), show_progress=show_progress) as telling:
            if cache is not None:
                for place in range(len(call)):
                    telling.recall(place, cache.get(key=call.cache_key(place), collection=_COLLECTION))
            try:
                self._ask(call, tier, telling.read, limited=True)
            finally:
                if cache is not None:
                    for place in call.arrived():
                        cache.put(key=call.cache_key(place), val=_kept(call, place), collection=_COLLECTION)
            for _ in telling.ends():
                pass
        return call.vectors()

    async def _atold(
        self, texts: Sequence[str], tier: Tier, *, slice_size: int | None = None, show_progress: bool = False
    ) -> list[Vector]:
        call = self._call(texts, slice_size)
        cache: BaseKVStore | None = self.embeddings_cache
        with Telling(call, self.callback_manager, self.to_payload(), show_progress=show_progress) as telling:
            if cache is not None:
                for place in range(len(call)):
                    telling.recall(place, await cache.aget(key=call.cache_key(place), collection=_COLLECTION))
            try:
                await self._aask(call, tier, telling.read, limited=True)
            finally:
                if cache is not None:
                    for place in call.arrived():
                        await cache.aput(key=call.cache_key(place), val=_kept(call, place), collection=_COLLECTION)
            for _ in telling.ends():
                await checkpoint()  # events of large slices take their time
        return call.vectors()

    def _call(self, texts: Sequence[str], slice_size: int | None = None) -> Call:
        slice_size = slice_size or self.embed_batch_size
        with in_llama_index_terms():
            return Call(texts, model=self.model_name, dimensions=self.dimensions, slice_size=slice_size)

    def _ask(self, call: Call, tier: Tier, read: Callable[..., object], *, limited: bool = False) -> None:
        """Ask the service, in this thread, for the vectors that a call has not."""
        if call.complete:
            return
        _warn_inside_a_loop()
        with in_llama_index_terms():
            steps = self._steps(call, tier, limited=limited)
            gather_in_thread(self.engine, steps, read, every=self.heartbeat, beat=beat)

    async def _aask(self, call: Call, tier: Tier, read: Callable[..., object], *, limited: bool = False) -> None:
        if call.complete:
            return
        with in_llama_index_terms():
            async with aclosing(self._asteps(call, tier, limited=limited)) as steps:
                await gather_on_loop(self.engine, steps, read, every=self.heartbeat, beat=abeat)

    def _steps(self, call: Call, tier: Tier, *, limited: bool) -> Iterator[Step]:
        for part in call.slices:
            for number, step in enumerate(call.steps(part, self._travel(tier))):
                if limited and number == 0 and self.rate_limiter is not None:
                    self.rate_limiter.acquire()
                yield step

    async def _asteps(self, call: Call, tier: Tier, *, limited: bool) -> AsyncGenerator[Step, None]:
        for part in call.slices:
            for number, step in enumerate(call.steps(part, self._travel(tier))):
                if limited and number == 0 and self.rate_limiter is not None:
                    await self.rate_limiter.async_acquire()
                yield step

    def _advise(self, texts: Sequence[str]) -> None:
        if self.service_tier == "batch" and len(texts) == _SLICE_OF_AN_INDEX:
            warn_once(
                "llama_index.embeddings.insert_batch_size",
                "A VectorStoreIndex hands over 2,048 texts at a time, and each slice waits for the batch of the one "
                "before. Instead: VectorStoreIndex(..., insert_batch_size=100_000), or the embedding model as the last "
                "of the transformations of an IngestionPipeline.",
            )


def _kept(call: Call, place: int) -> dict[str, Vector]:
    return {"embedding": call.vector(place)}


def _warn_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    warn_once(
        "llama_index.embeddings.sync_in_loop",
        "A synchronous method of DoublewordEmbedding was called inside a running event loop, which stands still until "
        "the vectors are there: hours on batch. Instead: the asynchronous one (aget_text_embedding_batch, aquery, arun "
        "and so on).",
    )
