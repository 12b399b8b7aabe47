"""Agents that outlive their process: what was accepted is collected, not paid again."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.utils import get_tokenizer
from llama_index.core.workflow import Context
from workflows.context import PickleSerializer

from dw_agents import Engine
from tests.llama_index.wire import MODEL, llm_for, run_program, wait_until_running

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DW_AGENTS_JOURNAL", str(tmp_path / "journal.db"))


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def test_an_agent_restored_in_the_middle_of_a_call_collects_its_answer(
    make_emulator: MakeEmulator, tmp_path: Path
) -> None:
    """The process that asked was killed; the restored context asks the same again, and one job is paid."""
    emulator = make_emulator(latency=2.0)
    program = f"""
        from __future__ import annotations  # as here: LlamaIndex describes a tool by its signature as written
        import asyncio, os, pickle, signal, sqlite3
        from llama_index.core.agent.workflow import FunctionAgent
        from llama_index.core.workflow import Context
        from llama_index.llms.dw_agents import DoublewordLLM
        from workflows.context import PickleSerializer

        def double(number: int) -> int:
            "Double a number."
            return 2 * number

        async def main():
            llm = DoublewordLLM(model={MODEL!r})
            agent = FunctionAgent(tools=[double], llm=llm)
            context = Context(agent)
            handler = agent.run("Hello.", ctx=context)
            while llm.engine.snapshot()["queued"] + llm.engine.snapshot()["in_progress"] < 1:
                await asyncio.sleep(0.01)
            journal = sqlite3.connect(os.environ["DW_AGENTS_JOURNAL"])  # not to be killed before the id is there
            while journal.execute("SELECT count(response_id) FROM steps").fetchone() != (1,):
                await asyncio.sleep(0.01)
            with open({str(tmp_path / "saved")!r}, "wb") as file:
                pickle.dump(context.to_dict(serializer=PickleSerializer()), file)
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    process = run_program(program, emulator)
    wait_until_running(emulator, 1, process)
    process.communicate(timeout=15)
    assert emulator.counters.snapshot().accepted == 1

    get_tokenizer()  # the saved memory holds it, and it finds its own data only once LlamaIndex has said where it is
    agent = FunctionAgent(tools=[double], llm=llm_for(emulator))
    saved = pickle.loads((tmp_path / "saved").read_bytes())
    context: Any = Context.from_dict(agent, saved, serializer=PickleSerializer())
    assert "Hello." in str(await agent.run(ctx=context))
    counts = emulator.counters.snapshot()
    assert (counts.accepted, counts["POST /responses"]) == (1, 1)


async def test_a_named_run_asked_again_pays_nothing(emulator: Emulator) -> None:
    """Here by another engine, as another process would have; calls of another run or scope are other work."""

    async def ask(**settings: Any) -> str:
        text = (await llm_for(emulator).acomplete("Hi.", **settings)).text
        Engine.shared(api_key=emulator.api_key, base_url=emulator.base_url).close()
        return str(text)

    first = await ask(run="monday")
    assert await ask(run="monday") == first
    assert emulator.counters.accepted == 1
    await ask(run="tuesday")
    await ask(run="monday", scope="elsewhere")
    assert emulator.counters.accepted == 3


def test_a_pickled_llm_works_in_a_fresh_process(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the workers of an ingestion pipeline: the key is found there; neither openai nor a tokenizer is needed."""
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DW_AGENTS_JOURNAL", "off")
    llm = llm_for(emulator, max_tokens=500, default_headers={"X-Team": "blue"})
    assert llm.complete("Hi.").text
    program = """
import pickle, sys
llm = pickle.load(sys.stdin.buffer)
assert llm.max_tokens == 500
assert "You wrote: There." in llm.complete("There.").text
sys.exit("openai" in sys.modules or "tiktoken" in sys.modules)
"""
    pickled = pickle.dumps(llm)
    assert emulator.api_key.encode() not in pickled
    done = subprocess.run([sys.executable, "-c", program], input=pickled, capture_output=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert emulator.requests[-1].headers["X-Team"] == "blue"
    assert emulator.counters.accepted == 2
    llm.engine.close()
