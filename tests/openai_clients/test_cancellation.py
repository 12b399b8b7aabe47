"""Who leaves does not pay: the job goes with its caller, on asyncio, on trio and in threads."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
import trio

from tests.openai_clients.support import HELLO, MODEL, collect, eventually, our_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeClient, MakeEmulator

ASKS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat.completions.create(model=MODEL, messages=HELLO),
    "a chat stream": lambda client: client.chat.completions.create(model=MODEL, messages=HELLO, stream=True),
    "responses": lambda client: client.responses.create(model=MODEL, input="hello"),
}


@pytest.fixture
def emulator(make_emulator: MakeEmulator) -> Emulator:
    """An emulator whose answers take an hour: nothing ends there unless it is cancelled."""
    return make_emulator(latency=3600)


@pytest.mark.parametrize("ask", ASKS)
async def test_a_cancelled_task_cancels_its_job(emulator: Emulator, ours: MakeClient, ask: str) -> None:
    task = asyncio.create_task(ASKS[ask](ours("async")))
    assert await asyncio.to_thread(eventually, lambda: len(emulator.running()) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2.0)
    assert await asyncio.to_thread(eventually, lambda: not emulator.running())
    assert emulator.counters["POST /responses"] == 1


async def test_a_limit_around_many_calls_cancels_all_of_them(emulator: Emulator, ours: MakeClient) -> None:
    client = ours("async")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.gather(*[ASKS["chat"](client) for _ in range(20)])
    assert await asyncio.to_thread(eventually, lambda: not emulator.running())


@pytest.mark.filterwarnings("ignore::dw_agents.openai.DoublewordWarning")
async def test_the_time_limit_of_a_held_call_does_not_wait_for_a_sign_of_life(
    make_emulator: MakeEmulator, closing: list[Any]
) -> None:
    closing.append(our_client(make_emulator(latency=3600, keepalive_every=1.0), "async"))
    started = time.monotonic()
    with pytest.raises(openai.APITimeoutError, match=r"timeout=1\.3 s"):
        await closing[0].chat.completions.create(model=MODEL, messages=HELLO, seed=1, timeout=1.3)
    assert 1.3 <= time.monotonic() - started < 1.9


def test_a_cancel_scope_of_trio_cancels_its_job(emulator: Emulator) -> None:
    async def main() -> None:
        async with our_client(emulator, "async") as client:
            with trio.move_on_after(0.5) as scope:
                await ASKS["chat"](client)
            assert scope.cancelled_caught

    trio.run(main)
    assert eventually(lambda: not emulator.running())
    assert emulator.counters["POST /responses"] == 1


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")  # the SDK leaves its generators at "[DONE]", on trio too
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_answers_and_streams_arrive_on_trio(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator()

    async def main() -> None:
        async with our_client(emulator, "async") as client:
            answer = await ASKS["chat"](client)
            chunks = await collect(ASKS["a chat stream"](client))
            with pytest.warns(UserWarning, match="seed"):
                held = await client.chat.completions.create(model=MODEL, messages=HELLO, seed=1)
            assert answer.choices[0].message.content == held.choices[0].message.content
            assert chunks[-1].choices[0].finish_reason == "stop"

    trio.run(main)


def test_one_async_client_serves_several_loops(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator()
    client = our_client(emulator, "async")

    async def main() -> None:
        answers = await asyncio.gather(*[ASKS["chat"](client) for _ in range(30)])
        assert len(answers) == 30

    asyncio.run(main())
    asyncio.run(main())
    assert emulator.counters["POST /responses"] == 60


def test_one_sync_client_serves_many_threads(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator()
    answers: list[Any] = []
    with our_client(emulator) as client:
        threads = [threading.Thread(target=lambda: answers.append(ASKS["chat"](client))) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 40
    assert emulator.counters["POST /responses"] == 40


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal")
@pytest.mark.parametrize(
    "call",
    [
        "OpenAI().chat.completions.create(**ASKED)",
        "OpenAI().chat.completions.create(**ASKED, stream=True)",
        "asyncio.run(asked())",
    ],
)
def test_ctrl_c_cancels_the_job_and_ends_the_program(emulator: Emulator, call: str) -> None:
    program = f"""
        import asyncio
        from dw_agents.openai import AsyncOpenAI, OpenAI

        ASKED = {{"model": "m", "messages": [{{"role": "user", "content": "hello"}}]}}

        async def asked():
            async with AsyncOpenAI() as client:
                await client.chat.completions.create(**ASKED)

        {call}
    """
    surroundings = {**os.environ, "DOUBLEWORD_API_KEY": emulator.api_key, "DOUBLEWORD_BASE_URL": emulator.base_url}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env=surroundings, stderr=subprocess.PIPE
    )
    try:
        assert eventually(lambda: len(emulator.running()) == 1 or process.poll() is not None, 30.0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert b"KeyboardInterrupt" in said
    assert eventually(lambda: not emulator.running())
    assert emulator.counters["POST /responses"] == 1
