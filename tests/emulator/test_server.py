"""Starting and stopping the emulator."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import urllib.request
from typing import Any

import pytest
import trio

import dw_agents.emulator
from dw_agents.emulator import Emulator, Fault, Faults, make_backend
from tests.emulator.support import MODEL, Api, ScriptedBackend, serving, until

FLEX = {"model": MODEL, "input": "ping", "service_tier": "flex"}


def _healthy(emulator: Emulator) -> bool:
    with urllib.request.urlopen(emulator.base_url.removesuffix("/v1") + "/healthz", timeout=5) as reply:
        return bool(reply.status == 200)


def _threads() -> int:
    return sum(thread.name == "dw-agents-emulator" for thread in threading.enumerate())


def test_a_with_block_serves_and_leaves_no_thread_behind() -> None:
    backend = ScriptedBackend()
    with Emulator(backend) as emulator:
        assert _healthy(emulator)
        assert emulator.base_url.startswith("http://127.0.0.1:")
        assert emulator.api_key == "dw-test-key"
        assert _threads() == 1
        port = int(emulator.base_url.split(":")[2].split("/")[0])

    assert _threads() == 0
    assert (backend.started, backend.closed) == (1, 1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_an_async_with_block_works_on_trio_too() -> None:
    async def run() -> bool:
        async with Emulator() as emulator:
            return await trio.to_thread.run_sync(_healthy, emulator)

    assert trio.run(run)
    assert _threads() == 0


async def test_an_emulator_can_stand_in_front_of_another_server() -> None:
    async with serving(ScriptedBackend("from afar")) as far:
        near = make_backend("upstream", base_url=far.emulator.base_url, api_key=far.key)
        async with serving(near) as api:
            shown = await api.finished(await api.submit())

        assert far.emulator.counters.realtime == 1

    assert shown["output"][0]["content"][0]["text"] == "from afar"


async def test_two_emulators_live_side_by_side() -> None:
    async with serving() as one, serving() as two:
        await one.submit()

        assert one.emulator.base_url != two.emulator.base_url
        assert (len(one.emulator.jobs), len(two.emulator.jobs)) == (1, 0)


@pytest.mark.parametrize(
    "fault", [None, Fault("stall"), Fault("stall_reply"), Fault("slow", delay=60), Fault("slow_reply", delay=60)]
)
async def test_stopping_is_prompt_with_requests_hanging(fault: Fault | None) -> None:
    emulator = Emulator(ScriptedBackend(), latency=60, faults=Faults(*([fault] if fault else [])))
    async with emulator, Api(emulator) as api:
        calls = [asyncio.create_task(api("POST", "/responses", FLEX)) for _ in range(20)]
        calls.append(asyncio.create_task(api("POST", "/responses", {**FLEX, "stream": True})))
        await until(lambda: emulator.counters.requests == 21)
        started = time.monotonic()
        await asyncio.to_thread(emulator.stop)
        took = time.monotonic() - started
        results = await asyncio.gather(*calls, return_exceptions=True)

    assert took < 0.5
    assert all(isinstance(result, Exception) for result in results)


async def test_stopping_is_prompt_with_many_jobs_waiting() -> None:
    emulator = Emulator(ScriptedBackend(), pickup=60, latency=60, claim_interval=1)
    async with emulator, Api(emulator) as api:
        await asyncio.gather(*(api.submit() for _ in range(200)))
        started = time.monotonic()
        await asyncio.to_thread(emulator.stop)

    assert time.monotonic() - started < 0.5


async def test_what_was_counted_and_stored_can_be_read_after_the_stop() -> None:
    async with serving() as api:
        await api.finished(await api.submit())

    assert [job.state for job in api.emulator.jobs] == ["completed"]
    assert api.emulator.counters.accepted == 1


def test_stopping_twice_or_before_the_start_is_fine() -> None:
    never = Emulator()
    never.stop()
    emulator = Emulator().start()
    emulator.stop()
    emulator.stop()


def test_an_emulator_starts_once() -> None:
    with Emulator() as emulator, pytest.raises(RuntimeError, match="make a new one"):
        emulator.start()


@pytest.mark.parametrize("name", ["base_url", "batches", "files", "jobs", "requests"])
def test_before_the_start_it_says_so(name: str) -> None:
    with pytest.raises(RuntimeError, match="not been started"):
        getattr(Emulator(), name)


def test_a_port_that_is_taken_is_an_error_in_the_callers_thread() -> None:
    with Emulator() as first:
        port = int(first.base_url.split(":")[2].split("/")[0])
        backend = ScriptedBackend()
        with pytest.raises(OSError, match="address already in use"):
            Emulator(backend, port=port).start()

    assert backend.closed == 1
    assert _threads() == 0


def test_a_backend_that_cannot_start_is_an_error_in_the_callers_thread() -> None:
    class Broken(ScriptedBackend):
        async def start(self) -> None:
            raise ImportError("the extra is missing")

    with pytest.raises(ImportError, match="the extra is missing"):
        Emulator(Broken()).start()

    assert _threads() == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "oracle"}, "oracle"),
        ({"backend": "upstream"}, "make_backend"),
        ({"speed": 0}, "speed"),
        ({"latency": -1}, "latency"),
        ({"pickup": "soon"}, "pickup"),
        ({"api_keys": ()}, "api_keys"),
        ({"cancel_route": "put"}, "cancel_route"),
        ({"profile": "azure"}, "profile"),
        ({"line_latency": "soon"}, "line_latency"),
        ({"batch_latency": -1}, "batch_latency"),
        ({"completion_windows": ("soon",)}, "completion_windows"),
        ({"batch_concurrency": 0}, "batch_concurrency"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Emulator(**settings)


def test_a_job_is_found_by_its_id_or_is_a_key_error() -> None:
    with Emulator() as emulator, pytest.raises(KeyError):
        emulator.job("resp_1")


def test_the_description_says_what_answers() -> None:
    assert Emulator(ScriptedBackend()).description == "A test's own backend."
    assert "no language model" in Emulator().description.lower() or "not a language model" in Emulator().description


async def test_a_thousand_jobs_and_polls_take_seconds_at_most() -> None:
    async with serving(record=0) as api:
        started = time.monotonic()
        for _ in range(20):
            idents = await asyncio.gather(*(api.submit() for _ in range(50)))
            await asyncio.gather(*(api.get(ident) for ident in idents))

        assert api.emulator.counters.accepted == 1000

    # This takes a third of a second here; the margin is for slow machines.
    assert time.monotonic() - started < 10


def test_the_public_names_are_sorted_and_all_there() -> None:
    names = dw_agents.emulator.__all__

    assert names == sorted(names)
    assert all(getattr(dw_agents.emulator, name) for name in names)
    assert set(names) <= set(dir(dw_agents.emulator))
    with pytest.raises(AttributeError):
        _ = dw_agents.emulator.nothing


def test_only_the_pinned_address_is_listened_on() -> None:
    with Emulator() as emulator:
        port = int(emulator.base_url.split(":")[2].split("/")[0])
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=1)
