"""Clients that are closed or dropped while calls are in flight."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import TYPE_CHECKING, Any

import openai
import pytest

from dw_agents.errors import StepCancelled, SubmissionUnknown
from dw_agents.openai import DoublewordWarning
from dw_agents.translate.call import Hold, plan
from dw_agents.translate.holding import Holding
from dw_agents.translate.travel import Travel
from tests.openai_clients.support import HELLO, MODEL, eventually, our_client

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeEmulator

ASKED: dict[str, Any] = {"model": MODEL, "messages": HELLO}


@pytest.fixture
def emulator(make_emulator: MakeEmulator) -> Emulator:
    return make_emulator(latency=0.5)


def test_a_call_on_a_tier_outlives_its_client_and_a_held_one_says_that_it_was_sent(emulator: Emulator) -> None:
    client, outcomes = our_client(emulator), {}

    def ask(name: str, **more: Any) -> None:
        try:
            outcomes[name] = client.chat.completions.create(**ASKED, **more)
        except openai.OpenAIError as error:
            outcomes[name] = error

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoublewordWarning)
        threads = [threading.Thread(target=ask, args=["polled"])]
        threads.append(threading.Thread(target=ask, args=["held"], kwargs={"seed": 1}))
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(emulator.jobs) == 2)
        client.close()
        for thread in threads:
            thread.join()
    assert outcomes["polled"].choices[0].finish_reason == "stop"
    assert isinstance(outcomes["held"], SubmissionUnknown | openai.types.chat.ChatCompletion)
    assert len(emulator.jobs) == 2


async def test_an_async_client_that_is_closed_does_not_submit_a_held_call_again(emulator: Emulator) -> None:
    client = our_client(emulator, "async")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoublewordWarning)
        call = asyncio.create_task(client.chat.completions.create(**ASKED, seed=1))
        assert await asyncio.to_thread(eventually, lambda: emulator.jobs)
    await client.close()
    with pytest.raises(openai.APIConnectionError, match="client was closed") as caught:
        await call
    error: Any = caught.value
    assert error.ticket.possible_duplicates == 1
    assert isinstance(error, SubmissionUnknown)
    assert len(emulator.jobs) == 1


def test_a_held_call_whose_client_was_closed_before_it_was_sent_was_cancelled() -> None:
    decided = plan("/chat/completions", {**ASKED, "seed": 1}, Travel())
    assert isinstance(decided, Hold)
    assert isinstance(Holding(decided).client_closed(sent=False), StepCancelled)


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_a_stream_outlives_the_client_that_nobody_holds_any_more(emulator: Emulator, tier: str) -> None:
    stream = our_client(emulator).chat.completions.create(**ASKED, stream=True, service_tier=tier)
    gc.collect()
    assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "stop"


def test_a_copy_outlives_the_client_that_it_was_made_of(emulator: Emulator) -> None:
    client = our_client(emulator)
    copied = client.with_options(timeout=30)
    client.models.list()
    del client
    gc.collect()
    assert copied.models.list().data
    assert copied.chat.completions.create(**ASKED).service_tier == "flex"
    copied.close()
