"""An LLM as an object: saved, copied, shared among threads and loops.

Owns: the contracts of serialisation, of secrets, and of who may call from where. Must not import any LLM.
"""
# ruff: noqa: S101, S301 - these are tests, though they live in a package, and unpickle what they pickled

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.async_utils import asyncio_run

from llama_index.llms.dw_agents.conformance.asking import METHODS, aask
from llama_index.llms.dw_agents.conformance.server import Contracts, Reply, Server, blocking, question, run, until

__all__ = ["KeepingContracts"]

SECRET = "sk-keep-this-to-yourself"  # noqa: S105 - that is the point


class KeepingContracts(Contracts):
    """Contracts of the LLM as an object."""

    def test_no_secret_leaves_by_serialisation(self, server: Server) -> None:
        """Caches hash ``to_dict()``, tracers keep ``to_payload()``, logs hold reprs, queues pickles."""
        llm = server.llm(api_key=SECRET)
        for shown in (repr(llm), str(llm), json.dumps(llm.to_dict()), llm.to_json(), json.dumps(llm.to_payload())):
            assert SECRET not in shown
        assert SECRET.encode() not in pickle.dumps(llm)

    def test_an_llm_survives_its_dictionary(self, server: Server) -> None:
        """With its settings; whatever is secret is found again in the surroundings."""
        llm = server.llm(model="Qwen/Qwen3-32B", max_tokens=77)
        again: Any = type(llm).from_dict(json.loads(json.dumps(llm.to_dict())))
        assert again.to_dict() == llm.to_dict()
        assert again.metadata == llm.metadata

    def test_a_pickle_leaves_the_original_working(self, server: Server) -> None:
        """LlamaIndex's base class takes what cannot be pickled out of the very object."""
        server.says(Reply("Still here."))
        llm = server.llm(messages_to_prompt=lambda _: "prompt")
        llm.chat(question())
        again = pickle.loads(pickle.dumps(llm))
        assert again.metadata == llm.metadata
        assert llm.chat(question()).message.content == "Still here."

    def test_copies_answer(self, server: Server) -> None:
        """Shallow and deep ones, also of an LLM that was used."""
        server.says(Reply("Here."))
        llm = server.llm()
        llm.chat(question())
        for twin in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy(update={"max_tokens": 50})):
            assert twin.chat(question()).message.content == "Here."

    def test_one_llm_serves_many_loops_one_after_another(self, server: Server) -> None:
        """A client that clings to the first loop would break on the second."""
        server.says(Reply("Here."))
        llm = server.llm()

        async def ten() -> list[Any]:
            return await asyncio.gather(*(llm.achat(question()) for _ in range(10)))

        for _ in range(3):
            assert [answer.message.content for answer in run(ten())] == ["Here."] * 10
        assert len(server.requests()) == 30

    def test_one_llm_serves_many_threads_at_once(self, server: Server) -> None:
        """Some with loops of their own, some without."""
        server.says(Reply("Here."))
        llm = server.llm()

        def thread(number: int) -> list[Any]:
            if number % 2:
                return [llm.chat(question()) for _ in range(10)]

            async def ten() -> list[Any]:
                return await asyncio.gather(*(llm.achat(question()) for _ in range(10)))

            return asyncio.run(ten())

        with ThreadPoolExecutor(4) as pool:
            answers = [answer for some in pool.map(thread, range(4)) for answer in some]
        assert [answer.message.content for answer in answers] == ["Here."] * 40
        assert len(server.requests()) == 40

    @pytest.mark.parametrize("method", [method for method in METHODS if method.startswith("a")])
    def test_asynchronous_methods_leave_the_loop_free(self, server: Server, method: str) -> None:
        """``CustomLLM`` answers them by the synchronous ones: agents would then wait one after the other."""
        server.waits(0.5)
        llm = server.llm()

        async def beside() -> bool:
            task = asyncio.create_task(aask(llm, method))
            free = await until(lambda: server.running() == 1)
            assert not task.done()
            await task
            return free

        assert run(beside())

    def test_synchronous_calls_work_inside_a_running_loop(self, server: Server) -> None:
        """They may warn; a poller on the caller's loop would wait for ever."""
        server.says(Reply("Here."))
        llm = server.llm()

        async def inside() -> list[str]:
            with blocking():
                direct = llm.chat(question()).message.content
                streamed = list(llm.stream_chat(question()))[-1].message.content
                # What LlamaIndex's synchronous wrappers do: another loop, in another thread, while this one waits.
                nested = asyncio_run(llm.achat(question())).message.content
            return [str(text) for text in (direct, streamed, nested)]

        assert run(inside()) == ["Here."] * 3
