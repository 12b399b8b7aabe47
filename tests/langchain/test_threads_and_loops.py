"""Threads, event loops, forks and exits: as many jobs as calls, every call answered or clearly failed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trio

from langchain_dw_agents.errors import PermissionDenied
from tests.langchain.wire import MODEL, Peak, model_for, nothing_runs

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeEmulator


def answered(answers: list[Any]) -> bool:
    return all("You wrote: Hi." in answer.text for answer in answers)


def accepted(emulator: Emulator) -> int:
    counts = emulator.counters.snapshot()
    assert counts.realtime == 0
    return counts.accepted


def test_four_threads_of_thirty_calls_share_one_model(emulator: Emulator, llm: ChatDoubleword) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: [llm.invoke("Hi.") for _ in range(30)], range(4)))
    assert answered([answer for thread in answers for answer in thread])
    assert accepted(emulator) == 120


def test_four_threads_with_loops_of_their_own_share_one_model(emulator: Emulator, llm: ChatDoubleword) -> None:
    async def thirty() -> list[Any]:
        return await asyncio.gather(*(llm.ainvoke("Hi.") for _ in range(30)))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: asyncio.run(thirty()), range(4)))
    assert answered([answer for thread in answers for answer in thread])
    assert accepted(emulator) == 120


def test_asyncio_run_twice_with_fifty_calls_each(emulator: Emulator, llm: ChatDoubleword) -> None:
    async def fifty() -> list[Any]:
        return await asyncio.gather(*(llm.ainvoke("Hi.") for _ in range(50)))

    assert answered(asyncio.run(fifty()))
    assert answered(asyncio.run(fifty()))
    assert accepted(emulator) == 100


async def test_a_notebook_mixes_both_kinds_of_calls_in_one_loop(emulator: Emulator, llm: ChatDoubleword) -> None:
    """A notebook's cells run inside a loop: synchronous calls there block it, and work."""
    assert answered([llm.invoke("Hi."), await llm.ainvoke("Hi."), *llm.batch(["Hi."] * 3)])
    assert answered([*llm.stream("Hi."), *await llm.abatch(["Hi."] * 3)])
    assert answered([await asyncio.to_thread(llm.invoke, "Hi.")])
    assert accepted(emulator) == 10


def test_trio_calls_are_answered(emulator: Emulator, llm: ChatDoubleword) -> None:
    async def main() -> list[Any]:
        answers: list[Any] = [await llm.ainvoke("Hi."), await llm.bind(max_tokens=500).ainvoke("Hi.")]
        answers += [chunk async for chunk in llm.astream("Hi.")]
        answers += await llm.abatch(["Hi."] * 50)
        return answers

    answers = trio.run(main)
    assert len(answers) == 53
    assert answered(answers)
    assert accepted(emulator) == 53


def test_trio_calls_are_all_in_flight_at_once(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=1.0)
    with Peak(emulator) as peak:
        trio.run(lambda: model_for(emulator).abatch(["Hi."] * 60))
    assert peak.most == 60  # trio's default for threads would be 40


def test_a_cancelled_trio_scope_cancels_its_jobs(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(latency=60.0)

    async def main() -> None:
        with trio.move_on_after(0.5):
            await model_for(emulator).abatch(["Hi."] * 5)

    trio.run(main)
    assert accepted(emulator) == 5
    assert nothing_runs(emulator)


def test_what_trio_cannot_have_is_refused_before_anything_is_sent(emulator: Emulator, llm: ChatDoubleword) -> None:
    async def main() -> None:
        async for _ in llm.abatch_as_completed(["Hi."]):
            pass

    with pytest.raises(NotImplementedError, match="on trio, abatch"):
        trio.run(main)
    assert accepted(emulator) == 0


def test_errors_of_trio_batches_are_raised_or_returned(emulator: Emulator, llm: ChatDoubleword) -> None:
    async def main(*, return_exceptions: bool) -> list[Any]:
        return await llm.abatch(["Hi.", "bad"], {"max_concurrency": 1}, return_exceptions=return_exceptions)

    emulator.faults.add("status", status=403, route="POST /responses", match="bad")
    answers = trio.run(lambda: main(return_exceptions=True))
    assert answered(answers[:1])
    assert isinstance(answers[1], PermissionDenied)
    with pytest.raises(PermissionDenied):
        trio.run(lambda: main(return_exceptions=False))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_calls_of_its_own(emulator: Emulator) -> None:
    program = f"""
        import os
        from langchain_dw_agents import ChatDoubleword

        llm = ChatDoubleword(model={MODEL!r})
        assert "Hi." in llm.invoke("Hi.").text
        child = os.fork()
        assert "Hi." in llm.invoke("Hi.").text
        assert all("Hi." in answer.text for answer in llm.batch(["Hi."] * 3))
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    run(program, emulator)
    assert accepted(emulator) == 9


def test_the_interpreter_exits_with_calls_in_flight(make_emulator: MakeEmulator) -> None:
    """It does not wait for the answers, and leaves no job behind."""
    emulator = make_emulator(latency=60.0)
    program = f"""
        import threading, time
        from langchain_dw_agents import ChatDoubleword

        llm = ChatDoubleword(model={MODEL!r})
        for _ in range(5):
            threading.Thread(target=llm.invoke, args=("Hi.",), daemon=True).start()
        while llm.engine.snapshot()["queued"] + llm.engine.snapshot()["in_progress"] < 5:
            time.sleep(0.01)
    """
    run(program, emulator)
    assert accepted(emulator) == 5
    assert nothing_runs(emulator)


def run(program: str, emulator: Emulator) -> None:
    surroundings: dict[str, Any] = {
        **os.environ, "DOUBLEWORD_API_KEY": emulator.api_key, "DOUBLEWORD_BASE_URL": emulator.base_url,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=surroundings, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
