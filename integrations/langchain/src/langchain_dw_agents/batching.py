"""Batches of calls, from threads, asyncio and trio.

Owns: the runnable methods that LangChain's defaults cannot serve here: synchronous batches (by default a handful of
threads, so that a thousand deferred answers would be awaited one handful after another), asynchronous batches (whose
other calls would go on, and be paid for, after one failed) and everything asynchronous under trio. Must not import
the chat model.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from langchain_core.runnables.config import get_config_list

from langchain_dw_agents import fanout
from langchain_dw_agents.on_trio import in_trio_task, in_worker_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.runnables import RunnableConfig

    _Base = BaseChatModel
else:
    _Base = object

__all__ = ["Batching"]


class Batching(_Base):
    """Mixed into a chat model before its base class."""

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all inputs, all in flight at once unless ``config["max_concurrency"]`` limits them.

        Works inside a running event loop too (which it blocks, as any synchronous call does). The first error
        ends the batch and cancels the rest, unless ``return_exceptions`` puts errors into the list.
        """
        if len(inputs) < 2:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        return fanout.run(partial(self.abatch, inputs, config, return_exceptions=return_exceptions, **kwargs))

    def batch_as_completed(  # type: ignore[override]  # one signature stands for the two overloads
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, AIMessage | Exception]]:
        """Answer all inputs at once (see ``batch``) and yield ``(index, answer)`` as each arrives."""
        if not inputs:
            return iter(())
        return fanout.iterate(
            partial(self.abatch_as_completed, inputs, config, return_exceptions=return_exceptions, **kwargs)
        )

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name for it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer one input, on asyncio or trio."""
        if in_trio_task():
            return await in_worker_thread(partial(self.invoke, input, config, stop=stop, **kwargs))
        return await super().ainvoke(input, config, stop=stop, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name for it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield the answer to one input as one chunk, on asyncio or trio."""
        if in_trio_task():
            stream = partial(self.stream, input, config, stop=stop, **kwargs)
            for chunk in await in_worker_thread(lambda: list(stream())):
                yield chunk
        else:
            async for chunk in super().astream(input, config, stop=stop, **kwargs):
                yield chunk

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all inputs at once (see ``batch``), on asyncio or trio."""
        if not inputs:
            return []
        configs = get_config_list(config, len(inputs))
        limit = anyio.CapacityLimiter(configs[0].get("max_concurrency") or math.inf)
        answers: dict[int, Any] = {}
        failed: list[Exception] = []

        async def answer(index: int) -> None:
            try:
                async with limit:
                    answers[index] = await self.ainvoke(inputs[index], configs[index], **kwargs)
            except Exception as error:  # noqa: BLE001 - returned or raised below, as the caller asked
                answers[index] = error
                failed.append(error)
                if not return_exceptions:
                    group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for index in range(len(inputs)):
                group.start_soon(answer, index)
        if failed and not return_exceptions:
            raise failed[0]
        return [answers[index] for index in range(len(inputs))]

    async def abatch_as_completed(  # type: ignore[override]  # one signature stands for the two overloads
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, AIMessage | Exception]]:
        """Answer all inputs at once (see ``batch``) and yield ``(index, answer)`` as each arrives; on asyncio.

        Leaving the iteration, or an error in it, cancels the rest.
        """
        if in_trio_task():
            raise NotImplementedError("abatch_as_completed needs asyncio; on trio, abatch answers all at once.")
        configs = get_config_list(config, len(inputs)) if inputs else []
        limit = anyio.CapacityLimiter((configs[0].get("max_concurrency") if configs else None) or math.inf)

        async def answer(index: int) -> tuple[int, AIMessage | Exception]:
            try:
                async with limit:
                    return index, await self.ainvoke(inputs[index], configs[index], **kwargs)
            except Exception as error:
                if return_exceptions:
                    return index, error
                raise

        tasks = [asyncio.create_task(answer(index)) for index in range(len(inputs))]
        try:
            for arrived in asyncio.as_completed(tasks):
                yield await arrived
        finally:
            for task in tasks:
                task.cancel()
