"""Rare coincidences that once went wrong, each of which would have cost a user an answer, money or a hung program."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from dw_agents import (
    ConfigurationError,
    Engine,
    EngineClosed,
    Retries,
    ServiceUnreachable,
    StepLost,
    SubmissionUnknown,
)
from dw_agents.config import resolve_account
from dw_agents.emulator import Emulator, Fault
from dw_agents.schedule.retries import retry_after
from dw_agents.ticket import Ticket
from dw_agents.wire.jsonl import read_line
from tests.core.conftest import QUICK
from tests.core.steps import MODEL, SUBMIT, eventually, posts, step, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents import Answer, Step

DOWNLOAD = "GET /files/{id}/content"


def batched(text: str) -> Step:
    return step(text, service_tier="batch")


def test_few_polls_a_second_are_slow_but_not_none(emulator: Emulator) -> None:
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, max_polls_per_second=2) as engine:
        assert engine.submit(step()).join(10)


@pytest.mark.parametrize("headers", [{"X-Run": 5}, {"X-Run": "a\nb"}, {"": "a"}, {"Ä": "a"}])
def test_a_header_that_http_cannot_carry_is_refused_when_the_engine_is_made(headers: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Engine(api_key="k", headers=headers)
    assert caught.value.field == "headers"


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "foo..bar"])
async def test_a_host_name_that_cannot_be_looked_up_ends_the_step(host: str) -> None:
    async with Engine(api_key="k", base_url=f"http://{host}/v1", retries=QUICK) as engine:
        with pytest.raises(ServiceUnreachable):
            await engine.arun(step())


@pytest.mark.parametrize("tier", ["flex", "batch", "priority"])
def test_answered_tickets_are_let_go(tier: str, engine: Engine) -> None:
    tickets = [engine.submit(step(i, service_tier=tier)) for i in range(20)]
    for ticket in tickets:
        ticket.result()
    gone = [weakref.ref(ticket.result()) for ticket in tickets]
    del tickets, ticket
    engine.run(step("one more", service_tier=tier))
    gc.collect()
    assert sum(ref() is not None for ref in gone) <= 1


def test_a_worker_that_keeps_asking_while_the_program_dies_is_refused_each_time_and_the_program_ends(
    emulator: Emulator,
) -> None:
    emulator.faults.add("stall", route="GET /responses/{id}")
    program = f"""
        import threading, time
        from dw_agents import Engine, Step, DwAgentsError
        engine = Engine(api_key={emulator.api_key!r}, base_url={emulator.base_url!r})
        def work():
            for _ in range(5):
                try:
                    engine.run(Step(body={{"model": "m", "input": "x"}}))
                except DwAgentsError as error:
                    print(type(error).__name__)
        threading.Thread(target=work).start()
        time.sleep(0.5)
        raise SystemError("the main thread dies")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert len(done.stdout.split()) == 5
    assert set(done.stdout.split()) <= {"StepCancelled", "EngineClosed"}


async def test_stop_after_delay_ends_a_step_in_time(free_address: str) -> None:
    retries = Retries(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(0.5))
    async with Engine(api_key="k", base_url=free_address, retries=retries) as engine:
        with pytest.raises(ServiceUnreachable):
            await asyncio.wait_for(engine.arun(step()), 10)


async def test_a_burst_of_refused_connections_is_one_failure_of_the_service(free_address: str) -> None:
    retries = Retries(wait=tenacity.wait_fixed(0.3), stop=tenacity.stop_after_attempt(4))
    async with Engine(api_key="k", base_url=free_address, retries=retries) as engine:
        started = time.monotonic()
        tickets = [engine.submit(step(i)) for i in range(100)]
        for ticket in tickets:
            with pytest.raises(ServiceUnreachable, match="after 4 tries"):
                await ticket
        assert time.monotonic() - started >= 0.8


def test_realtime_steps_cancelled_as_they_are_sent_give_their_places_back(engine: Engine) -> None:
    for _ in range(400):
        engine.submit(step(service_tier="priority")).cancel()
    assert engine.submit(step(service_tier="priority")).join(10)


def test_a_step_cancelled_as_it_is_sent_never_leaves_without_its_body(engine: Engine, emulator: Emulator) -> None:
    for i in range(300):
        engine.submit(step(i)).cancel()
    engine.run(step())
    assert all(request.body for request in emulator.requests if request.path.endswith("/responses"))


async def test_conflicts_that_are_retried_at_once_give_their_places_back(emulator: Emulator) -> None:
    emulator.faults.add("status", route=SUBMIT, status=409, times=100)
    retries = Retries(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(300))
    async with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=retries) as engine:
        await asyncio.gather(*[engine.arun(step(i)) for i in range(80)])
        await asyncio.wait_for(engine.arun(step()), 10)


async def test_who_leaves_during_a_download_does_not_cost_the_others_their_answers(
    engine: Engine, emulator: Emulator
) -> None:
    emulator.faults.add("slow", route=DOWNLOAD, delay=0.5)
    tickets = [engine.submit(batched(f"<{i}>")) for i in range(20)]
    assert await asyncio.to_thread(eventually, lambda: emulator.counters[DOWNLOAD] > 0)
    for ticket in tickets[::2]:
        ticket.cancel()
    for i, ticket in list(enumerate(tickets))[1::2]:
        assert f"<{i}>" in text_of((await ticket).body)


async def test_one_refused_download_while_a_batch_runs_ends_nobody() -> None:
    with Emulator(line_latency=(0.05, 0.8)) as trickling:
        trickling.faults.add("status", route=DOWNLOAD, status=403, times=1)
        async with Engine(api_key=trickling.api_key, base_url=trickling.base_url) as patient:
            answers = await asyncio.gather(*[patient.arun(batched(str(i))) for i in range(20)])
            assert len(answers) == 20


async def test_a_batch_that_nobody_can_read_any_more_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dw_agents.routes.reader.VISIBLE_WITHIN", 0.1)
    with Emulator(batch_latency=3600.0) as emulator:
        emulator.faults.add("status", route="GET /batches/{id}", status=404)
        async with Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
            with pytest.raises(StepLost):
                await engine.arun(batched("x"))
            assert await asyncio.to_thread(eventually, lambda: not emulator.running())


async def test_failed_lines_are_told_while_their_batch_still_runs() -> None:
    with Emulator(line_latency=(0.05, 2.0)) as emulator:
        emulator.faults.add("fail_line", code=400, match="<bad>")
        async with Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
            bad = engine.submit(batched("<bad>"))
            good = [engine.submit(batched(f"<{i}>")) for i in range(60)]
            await bad.wait()
            assert any(not ticket.done() for ticket in good)
            await asyncio.gather(*[ticket.wait() for ticket in good])


async def test_many_refusals_of_an_upload_do_not_use_up_its_tries(engine: Engine, emulator: Emulator) -> None:
    emulator.set_faults(
        Fault("status", route="POST /files", status=429, retry_after=0.01, times=9),
        Fault("status", route="POST /files", status=409, times=1),
    )
    await engine.arun(batched("x"))


async def test_a_first_submission_without_a_reply_stays_unknown_when_the_service_goes_away(free_address: str) -> None:
    port = int(free_address.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
    retries = Retries(wait=tenacity.wait_fixed(0.5), stop=tenacity.stop_after_attempt(1))
    async with Engine(api_key="dw-test-key", base_url=free_address, retries=retries) as engine:
        with Emulator(port=port) as emulator:
            emulator.faults.add("lost_reply", route=SUBMIT)
            ticket = engine.submit(step())
            assert await asyncio.to_thread(eventually, lambda: posts(emulator) == 1)
        with pytest.raises(SubmissionUnknown, match="first submission got no reply"):
            await ticket


async def test_what_is_sent_again_is_what_was_asked(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("fail_job", code=500, times=1)
    messages = [{"role": "user", "content": "the first question"}]
    ticket = engine.submit(step(body={"input": messages}))
    messages[0]["content"] = "another question"
    assert "the first question" in text_of((await ticket).body)


async def test_a_callback_that_raises_leaves_the_other_callers_awake(engine: Engine) -> None:
    ticket = engine.submit(step())
    ticket.add_done_callback(lambda: 1 / 0)
    waiting = [asyncio.ensure_future(ticket.wait(10)) for _ in range(3)]
    ticket.add_done_callback(lambda: 1 / 0)
    assert all(await asyncio.gather(*waiting))


async def test_looking_again_and_again_leaves_nothing_behind() -> None:
    with Emulator(latency=60.0) as emulator, Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
        ticket = engine.submit(step())
        for _ in range(50):
            assert not await ticket.wait(0.001)
            assert not ticket.join(0.001)
        assert len(ticket._waiters) == 0
        ticket.cancel()


def test_the_state_of_an_ended_ticket_stays_as_it_ended() -> None:
    ticket = Ticket(step())
    ticket.cancel()
    ticket.progress("queued")
    assert ticket.status == "cancelled"


def test_a_users_authorization_header_in_any_spelling_does_not_travel(emulator: Emulator) -> None:
    headers = {"authorization": "Bearer theirs"}
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, headers=headers) as engine:
        engine.run(step())


def test_an_address_that_cannot_be_used_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_account("k", "sk-pasted-into-the-wrong-argument", home=tmp_path)
    assert "sk-pasted" not in str(caught.value)


@pytest.mark.parametrize("text", [b'{"custom_id":"\xff"}', b'{"custom_id":' + b"[" * 5000])
def test_a_line_broken_in_any_way_is_just_unreadable(text: bytes) -> None:
    assert read_line(text) is None


@pytest.mark.parametrize("date", ["Mon, 01 Jan 2024 00:00:00 +99999999999", "Mon, 01 Jan 99999999999 00:00:00 GMT"])
def test_an_impossible_retry_after_is_no_header(date: str) -> None:
    assert retry_after({"Retry-After": date}, 0.0) is None


def test_submitting_while_another_thread_closes_the_engine_hangs_nobody(emulator: Emulator) -> None:
    for _ in range(10):
        engine = Engine(api_key=emulator.api_key, base_url=emulator.base_url)
        engine.run(step())
        tickets: list[Ticket] = []

        def ask(engine: Engine = engine, tickets: list[Ticket] = tickets) -> None:
            try:
                while True:
                    tickets.append(engine.submit(step()))
            except EngineClosed:
                return

        asking = threading.Thread(target=ask)
        asking.start()
        engine.close()
        asking.join(10)
        assert not asking.is_alive()
        assert all(ticket.join(5) for ticket in tickets)


async def test_the_receipt_holds_an_answer_before_its_caller_wakes(engine: Engine) -> None:
    answers: list[Answer] = []
    for i in range(20):
        answers.append(await engine.arun(step(i)))
        assert engine.receipt().lines[MODEL, "flex"].steps == len(answers)
