"""Flex calls on dw-agents, by any of its ways in; all at once, or so many at a time.

Asked for: ``via`` (engine, langchain, langchain_threads, llama_index, openai), ``calls``, ``at_a_time`` (0: all),
``tier``, ``window`` and ``options`` of the engine.
"""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.clients.measure import MODEL, Watch, asked, prompt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Ask = Callable[[int], Awaitable[object]]


def through_engine(given: dict[str, Any]) -> Ask:
    """Ask the engine itself."""
    from dw_agents import Engine, Step

    engine = Engine(api_key=given["api_key"], base_url=given["base_url"], **given.get("options", {}))
    tier, window = given.get("tier", "flex"), given.get("window")

    async def ask(number: int) -> object:
        if number < 0:
            return await engine.arun(Step(body={"model": MODEL, "input": "warm-up"}, service_tier="priority"))
        body = {"model": MODEL, "input": prompt(number)}
        return await engine.arun(Step(body=body, service_tier=tier, completion_window=window))

    return ask


def langchain_model(given: dict[str, Any]) -> Any:
    """Make LangChain's model."""
    from langchain_dw_agents import ChatDoubleword

    return ChatDoubleword(model=MODEL, api_key=given["api_key"], base_url=given["base_url"])


def through_langchain(given: dict[str, Any]) -> Ask:
    """Ask with ``ainvoke``."""
    llm = langchain_model(given)

    async def ask(number: int) -> object:
        answer: object = await llm.ainvoke(prompt(number), **({"service_tier": "priority"} if number < 0 else {}))
        return answer

    return ask


def through_llama_index(given: dict[str, Any]) -> Ask:
    """Ask with ``achat``."""
    from llama_index.core.base.llms.types import ChatMessage

    from llama_index.llms.dw_agents import DoublewordLLM

    llm = DoublewordLLM(model=MODEL, api_key=given["api_key"], base_url=given["base_url"])

    async def ask(number: int) -> object:
        messages = [ChatMessage(role="user", content=prompt(number))]
        return await llm.achat(messages, **({"service_tier": "priority"} if number < 0 else {}))

    return ask


def through_openai(given: dict[str, Any]) -> Ask:
    """Ask with the drop-in client's ``chat.completions.create``."""
    from dw_agents.openai import AsyncOpenAI

    client = AsyncOpenAI(api_key=given["api_key"], base_url=given["base_url"])

    async def ask(number: int) -> object:
        tier: Any = "priority" if number < 0 else given.get("tier", "flex")
        messages: Any = [{"role": "user", "content": prompt(number)}]
        return await client.chat.completions.create(model=MODEL, messages=messages, service_tier=tier)

    return ask


WAYS = {
    "engine": through_engine,
    "langchain": through_langchain,
    "llama_index": through_llama_index,
    "openai": through_openai,
}


async def on_a_loop(given: dict[str, Any]) -> Watch:
    """Ask from tasks of one event loop."""
    ask, calls = WAYS[given["via"]](given), given["calls"]
    await ask(-1)  # imports on first use, connections and the like are no part of a call
    watch = Watch()

    async def one(number: int) -> None:
        await ask(number)
        watch.hold()

    async def some(numbers: Any) -> None:
        for number in numbers:
            await one(number)

    if given.get("at_a_time"):
        numbers = iter(range(calls))
        await asyncio.gather(*[some(numbers) for _ in range(given["at_a_time"])])
    else:
        await asyncio.gather(*[one(number) for number in range(calls)])
    return watch


def in_threads(given: dict[str, Any]) -> Watch:
    """Ask with LangChain's ``invoke``, each from one of many threads."""
    llm, threads = langchain_model(given), given["at_a_time"]
    llm.invoke("warm-up", service_tier="priority")
    numbers = itertools.count()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: None, range(threads)))
        watch = Watch()

        def some(_: int) -> None:
            while (number := next(numbers)) < given["calls"]:
                llm.invoke(prompt(number))
                watch.hold()

        list(pool.map(some, range(threads)))
    return watch


def main() -> None:
    """Do what was asked, and report."""
    given = asked()
    watch = in_threads(given) if given["via"] == "langchain_threads" else asyncio.run(on_a_loop(given))
    watch.report()


if __name__ == "__main__":
    main()
