"""Nobody pays for an answer that nobody waits for: whoever leaves, the job goes with them."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from dw_agents.errors import DeadlineExceeded
from tests.llama_index.wire import MODEL, llm_for, nothing_runs, run_program, wait_until_running

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator

SLOW = 60.0


class Number(BaseModel):
    number: int


@pytest.fixture
def slow(make_emulator: MakeEmulator) -> Emulator:
    """An emulator whose answers take a minute: nothing ends there unless it is cancelled."""
    return make_emulator(latency=SLOW, batch_latency=SLOW)


async def until_running(emulator: Emulator, jobs: int) -> None:
    while len(emulator.running()) < jobs:  # noqa: ASYNC110 - the jobs are the server's: no event tells of them
        await asyncio.sleep(0.01)


async def gone(emulator: Emulator) -> bool:
    return await asyncio.to_thread(nothing_runs, emulator)


async def test_wait_for_on_a_gather_cancels_every_job(slow: Emulator) -> None:
    llm = llm_for(slow)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(llm.acomplete("Hi.") for _ in range(30))), 1.0)
    assert slow.counters.snapshot().accepted == 30
    assert await gone(slow)


async def test_a_cancelled_structured_call_cancels_its_job(slow: Emulator) -> None:
    task = asyncio.create_task(llm_for(slow).astructured_predict(Number, PromptTemplate("Hi.")))
    await until_running(slow, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(slow)


async def test_a_call_cancelled_before_its_submission_was_answered_leaves_no_job(slow: Emulator) -> None:
    """The id is not known yet: the job is cancelled as soon as the reply tells it."""
    slow.faults.add("slow_reply", delay=0.5, route="POST /responses")
    task = asyncio.create_task(llm_for(slow).acomplete("Hi."))
    await until_running(slow, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(slow.running()) == 1
    assert await gone(slow)


async def test_a_batch_that_nobody_awaits_any_more_is_cancelled(slow: Emulator) -> None:
    llm = llm_for(slow, service_tier="batch")
    tasks = [asyncio.create_task(llm.acomplete(f"number {n}")) for n in range(5)]
    await until_running(slow, 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await gone(slow)


def test_the_llms_own_timeout_cancels_its_call(slow: Emulator) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        llm_for(slow, timeout=0.3).complete("Hi.")
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(DeadlineExceeded):
        llm_for(slow).complete("Hi.", timeout=0.3)
    assert nothing_runs(slow)


def test_a_stream_that_is_not_read_costs_nothing(slow: Emulator) -> None:
    """The call is made when the chunk is asked for."""
    stream = llm_for(slow).stream_complete("Hi.")
    stream.close()
    assert slow.counters.snapshot().requests == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_ends_each_kind_of_call_and_its_job(slow: Emulator, tmp_path: Path) -> None:
    program = f"""
        import asyncio, os, time
        from llama_index.core.agent.workflow import FunctionAgent
        from llama_index.core.async_utils import asyncio_run
        from llama_index.llms.dw_agents import DoublewordLLM

        llm = DoublewordLLM(model={MODEL!r})

        async def agent():
            await FunctionAgent(llm=llm, tools=[]).run("Hi.")

        for number, call in enumerate((
            lambda: llm.complete("Hi."),
            lambda: list(llm.stream_complete("Hi.")),
            lambda: asyncio.run(llm.acomplete("Hi.")),
            lambda: asyncio_run(llm.acomplete("Hi.")),
            lambda: asyncio.run(agent()),
        )):
            try:
                call()
            except KeyboardInterrupt:
                deadline = time.monotonic() + 5
                while any(llm.engine.snapshot().values()) and time.monotonic() < deadline:
                    time.sleep(0.01)
                print("interrupted, in flight:", sum(llm.engine.snapshot().values()), flush=True)
            while not os.path.exists({str(tmp_path)!r} + f"/{{number}}"):
                time.sleep(0.01)
    """
    process = run_program(program, slow)
    for number in range(5):
        wait_until_running(slow, 1, process)
        process.send_signal(signal.SIGINT)
        assert nothing_runs(slow)
        (tmp_path / str(number)).touch()
    assert slow.counters.snapshot().accepted == 5
    output, trouble = process.communicate(timeout=15)
    assert output.decode().splitlines() == ["interrupted, in flight: 0"] * 5, trouble.decode()
