"""Threads, event loops, forks and exits: as many jobs as calls, every call answered or clearly failed."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trio
from llama_index.core.async_utils import asyncio_run, run_jobs

from llama_index.llms.dw_agents import DoublewordWarning
from tests.llama_index.wire import MODEL, nothing_runs, run_program

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from llama_index.llms.dw_agents import DoublewordLLM
    from tests.llama_index.conftest import MakeEmulator


def answered(answers: list[Any]) -> bool:
    return all("You wrote: Hi." in answer.text for answer in answers)


def accepted(emulator: Emulator) -> int:
    counts = emulator.counters.snapshot()
    assert counts.realtime == 0
    return counts.accepted


def test_four_threads_of_thirty_calls_share_one_llm(emulator: Emulator, llm: DoublewordLLM) -> None:
    """Half of them with event loops of their own."""

    async def thirty() -> list[Any]:
        return await asyncio.gather(*(llm.acomplete("Hi.") for _ in range(30)))

    def thread(number: int) -> list[Any]:
        return asyncio.run(thirty()) if number % 2 else [llm.complete("Hi.") for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        answers = [answer for some in pool.map(thread, range(4)) for answer in some]
    assert answered(answers)
    assert accepted(emulator) == len(answers) == 70


async def test_a_synchronous_call_inside_a_loop_is_answered_and_warned_about_once(
    emulator: Emulator, llm: DoublewordLLM
) -> None:
    with pytest.warns(DoublewordWarning, match=r"event loop.*achat") as told:
        answers = [llm.complete("Hi."), llm.complete("Hi."), *llm.stream_complete("Hi.")]
    assert len(told) == 1
    assert answered(answers)
    assert accepted(emulator) == 3


async def test_llama_indexs_nested_loops_never_deadlock(emulator: Emulator, llm: DoublewordLLM) -> None:
    """Its synchronous wrappers run another loop in another thread and block this one meanwhile."""
    assert answered([asyncio_run(llm.acomplete("Hi.")), await llm.acomplete("Hi.")])
    assert answered(asyncio_run(run_jobs([llm.acomplete("Hi.") for _ in range(10)], workers=4)))
    assert accepted(emulator) == 12


def test_notebooks_that_nest_their_loops_are_answered(emulator: Emulator) -> None:
    """``nest_asyncio`` changes the whole process: in one of its own."""
    program = f"""
        import asyncio, warnings
        import nest_asyncio
        from llama_index.core.async_utils import run_async_tasks
        from llama_index.embeddings.dw_agents import DoublewordEmbedding
        from llama_index.llms.dw_agents import DoublewordLLM

        llm = DoublewordLLM(model={MODEL!r})
        embedding = DoublewordEmbedding("Qwen/Qwen3-Embedding-8B")
        warnings.simplefilter("ignore")

        async def cell():
            assert "Hi." in run_async_tasks([llm.acomplete("Hi.")], show_progress=True)[0].text
            nest_asyncio.apply()
            loop = asyncio.get_running_loop()
            assert "Hi." in loop.run_until_complete(llm.acomplete("Hi.")).text
            assert "Hi." in asyncio.run(llm.acomplete("Hi.")).text
            assert "Hi." in llm.complete("Hi.").text
            assert len(loop.run_until_complete(embedding.aget_text_embedding_batch(["a", "b"]))) == 2
            assert "Hi." in (await llm.acomplete("Hi.")).text

        asyncio.run(cell())
    """
    process = run_program(program, emulator)
    _, trouble = process.communicate(timeout=30)
    assert process.returncode == 0, trouble.decode()
    assert accepted(emulator) == 5
    assert emulator.counters.batches == 1


def test_no_warning_without_a_loop(llm: DoublewordLLM) -> None:
    """The engine's own loop, in its own thread, does not count."""
    assert answered([llm.complete("Hi.")])
    assert answered([asyncio_run(llm.acomplete("Hi."))])


def test_trio_calls_are_answered(emulator: Emulator, llm: DoublewordLLM) -> None:
    """LlamaIndex itself is for asyncio, but the methods of the LLM do not need it."""

    async def main() -> list[Any]:
        stream = await llm.astream_complete("Hi.")
        return [await llm.acomplete("Hi."), *[chunk async for chunk in stream]]

    assert answered(trio.run(main))
    assert accepted(emulator) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_calls_of_its_own_and_both_exit(make_emulator: MakeEmulator) -> None:
    """With calls in flight, which are not waited for and leave no job behind."""
    emulator = make_emulator()
    program = f"""
        import os, threading, time
        from llama_index.llms.dw_agents import DoublewordLLM

        llm = DoublewordLLM(model={MODEL!r})
        assert "Hi." in llm.complete("Hi.").text
        child = os.fork()
        assert "Hi." in llm.complete("Hi.").text
        if child:
            assert os.waitpid(child, 0)[1] == 0
            for _ in range(3):
                threading.Thread(target=llm.complete, args=("slow",), daemon=True).start()
            while llm.engine.snapshot()["queued"] + llm.engine.snapshot()["in_progress"] < 3:
                time.sleep(0.01)
    """
    emulator.faults.add("slow_reply", delay=60.0, route="GET /responses/{id}", match=lambda *_: accepted(emulator) > 3)
    process = run_program(program, emulator)
    _, trouble = process.communicate(timeout=30)
    assert process.returncode == 0, trouble.decode()
    assert accepted(emulator) == 6
    assert nothing_runs(emulator)
