"""The journal behind an engine: what a later process gets, what two at once get, and what a broken disk costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dw_agents import Engine, ServiceError, StepCancelled
from dw_agents.config import Account, Secret
from dw_agents.emulator import Emulator
from dw_agents.journal.jobs import Jobs, Selection
from dw_agents.journal.rows import account_mark, step_key
from tests.core.steps import eventually, posts, step, text_of
from tests.faults.engines import accepted, start
from tests.faults.rows import query, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., Engine]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def slow() -> Iterator[Emulator]:
    """A service that needs an hour for everything."""
    with Emulator(latency=3600.0, batch_latency=3600.0) as running:
        yield running


@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_work_in_flight_at_close_goes_on_and_the_next_engine_gets_it(
    tier: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Emulator(latency=1.0, batch_latency=1.0) as emulator:
        first = start(emulator, path)
        tickets = [first.submit(step(f"<{n}>", service_tier=tier)) for n in range(5)]
        assert eventually(lambda: all(accepted(ticket) for ticket in tickets))
        first.close()
        assert "5 of them run on at the service and will be billed" in capsys.readouterr().err
        assert all(isinstance(ticket._error, StepCancelled) for ticket in tickets)
        with start(emulator, path) as second:
            again = [second.submit(step(f"<{n}>", service_tier=tier)) for n in range(5)]
            assert all(f"<{n}>" in text_of(ticket.result(10).body) for n, ticket in enumerate(again))
            receipt = second.receipt()
        assert (receipt.reattached, receipt.steps, receipt.possible_duplicates) == (5, 5, 0)
        counts = emulator.counters.snapshot()
        assert (counts.flex, counts.batch) == ((5, 0) if tier == "flex" else (0, 5))
    assert set(states(path).values()) == {"delivered"}


def test_without_a_journal_work_in_flight_at_close_is_cancelled(slow: Emulator) -> None:
    engine = start(slow, False)
    ticket = engine.submit(step())
    assert eventually(lambda: accepted(ticket))
    engine.close()
    assert not slow.running()


@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_fifty_equal_steps_are_fifty_answers_also_after_a_close_in_between(tier: str, path: Path) -> None:
    with Emulator(latency=1.0, batch_latency=1.0) as emulator:
        first = start(emulator, path)
        tickets = [first.submit(step("the same", service_tier=tier)) for _ in range(50)]
        assert eventually(lambda: all(accepted(ticket) for ticket in tickets))
        first.close()
        with start(emulator, path) as second:
            again = [second.submit(step("the same", service_tier=tier)) for _ in range(50)]
            assert len({ticket.result(10).body["id"] for ticket in again}) == 50
        assert emulator.counters.flex + emulator.counters.batch == 50


@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_a_named_run_is_answered_from_what_the_service_holds_and_pays_for_new_steps_only(
    tier: str, emulator: Emulator, path: Path
) -> None:
    with start(emulator, path, run="tuesday") as first:
        before = [first.run(step(n % 2, service_tier=tier)).body["id"] for n in range(4)]
    with start(emulator, path, run="tuesday") as second:
        tickets = [second.submit(step(n % 2, service_tier=tier)) for n in range(4)]
        assert [ticket.result(10).body["id"] for ticket in tickets] == before
        assert all(ticket.replayed for ticket in tickets)
        assert not second.submit(step(0, service_tier=tier)).result(10).ticket.replayed
        receipt = second.receipt()
    assert (receipt.replayed, receipt.steps, receipt.reattached) == (4, 1, 0)
    assert emulator.counters.flex + emulator.counters.batch == 5
    with start(emulator, path, run="wednesday") as third:
        assert not third.run(step(0, service_tier=tier)).ticket.replayed


def test_realtime_steps_are_in_no_journal(emulator: Emulator, path: Path) -> None:
    with start(emulator, path, run="tuesday") as engine:
        for _ in range(2):
            engine.run(step(service_tier="priority"))
    assert emulator.counters.realtime == 2
    assert states(path) == {}


def test_two_accounts_and_two_addresses_never_share_work() -> None:
    def key(api_key: str, base_url: str) -> str:
        return step_key(account_mark(Account(Secret(api_key), base_url)), "", step(), b"{}")

    here, there = "http://127.0.0.1/v1", "http://127.0.0.2/v1"
    assert len({key("a", here), key("b", here), key("a", there), key("b", there)}) == 4
    assert key("a", here) == key("a", here)


def test_all_that_makes_a_step_another_step_is_in_its_key() -> None:
    steps = [
        step(),
        step(scope="s"),
        step(service_tier="batch"),
        step(service_tier="batch", completion_window="24h"),
        step(service_tier="batch", completion_window="1h"),
        step(service_tier="batch", endpoint="/chat/completions"),
    ]
    keys = {step_key("m", run, each, body) for each in steps for run in ("", "r") for body in (b"{}", b"[]")}
    assert len(keys) == len(steps) * 4
    ignored = {step_key("m", "", each, b"{}") for each in (step(), step(label="l", timeout=5, max_retries=1))}
    assert len(ignored) == 1, "who asks with more patience asks for the same"


# Two engines at the same time, each with a hold of its own on the file, as two processes have.


@pytest.fixture
def another(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    """Make engines that share no writer with any other engine of this process."""

    def make(emulator: Emulator, **settings: Any) -> Engine:
        from dw_agents.journal import place

        monkeypatch.setattr(place, "_writers", {})
        engine = start(emulator, path, **settings)
        engine._running()
        return engine

    return make


def test_two_processes_in_one_run_send_each_step_once(another: Start) -> None:
    with Emulator(latency=0.3) as emulator, another(emulator, run="r") as one, another(emulator, run="r") as two:
        tickets = [engine.submit(step(n)) for n in range(20) for engine in (one, two)]
        answers = [ticket.result(20).body["id"] for ticket in tickets]
        assert answers[::2] == answers[1::2]
        assert emulator.counters.accepted == 20


def test_a_job_that_fails_is_sent_again_once_however_many_processes_wait_for_it(another: Start) -> None:
    with Emulator(latency=0.3) as emulator, another(emulator, run="r") as one, another(emulator, run="r") as two:
        emulator.faults.add("fail_job", code=500, times=1)
        first = one.submit(step())
        assert eventually(lambda: accepted(first))
        second = two.submit(step())
        assert first.result(20).body["id"] == second.result(20).body["id"]
        assert emulator.counters.accepted == 2


def test_a_place_in_a_run_that_was_given_up_is_taken_by_the_next_ask(another: Start, slow: Emulator) -> None:
    with another(slow, run="r") as one, another(slow, run="r") as two:
        first = one.submit(step())
        assert eventually(lambda: accepted(first))
        for _ in range(3):
            ticket = two.submit(step())
            assert eventually(lambda: accepted(ticket))  # noqa: B023 - called at once
            ticket.cancel()
        assert slow.counters.accepted == 1


def test_an_answer_that_could_not_be_read_again_is_read_by_the_next_ask(emulator: Emulator, path: Path) -> None:
    with start(emulator, path, run="r") as first:
        before = first.run(step()).body["id"]
    with start(emulator, path, run="r") as second:
        emulator.faults.add("status", route="GET /responses/{id}", status=403, times=1)
        with pytest.raises(ServiceError):
            second.run(step())
        assert second.run(step()).body["id"] == before
    assert emulator.counters.accepted == 1


def test_what_a_shared_job_cost_is_on_one_receipt_only(another: Start) -> None:
    with Emulator(latency=0.3) as emulator, another(emulator, run="r") as one, another(emulator, run="r") as two:
        tickets = [one.submit(step()), two.submit(step())]
        answers = [ticket.result(20) for ticket in tickets]
        receipts = [one.receipt(), two.receipt()]
        assert answers[0].usage is not None
        assert (
            sum(line.output_tokens for each in receipts for line in each.lines.values())
            == (answers[0].usage["output_tokens"])
        )


def test_the_file_grows_by_some_hundred_bytes_a_step(emulator: Emulator, path: Path) -> None:
    with start(emulator, path) as engine:
        for ticket in [engine.submit(step(f"{number} " + "x" * 2000)) for number in range(1000)]:
            ticket.result(20)
    assert path.stat().st_size < 1000 * 600


def test_a_name_that_is_no_unicode_is_escaped_and_does_its_neighbours_no_harm(path: Path, emulator: Emulator) -> None:
    odd = "caf\udce9"  # as the environment and the command line give bytes that are not UTF-8
    with start(emulator, path, run=odd) as engine:
        tickets = [engine.submit(step(n, label=odd, scope=odd)) for n in range(3)]
        tickets.append(engine.submit(step("a neighbour")))
        assert all(ticket.result(10).body["status"] == "completed" for ticket in tickets)
    with start(emulator, path, run=odd) as engine:
        assert engine.run(step(0, label=odd, scope=odd)).body == tickets[0].result().body
    assert posts(emulator) == 4
    with Jobs(path) as jobs:
        assert [entry.label for entry in jobs.entries(Selection(run=odd))] == ["caf\\udce9"] * 3 + [""]


def test_an_engine_that_stops_before_it_is_told_gives_back_what_was_found_for_it(path: Path, slow: Emulator) -> None:
    with start(slow, path) as first:
        ticket = first.submit(step())
        assert eventually(lambda: accepted(ticket))
    with start(slow, path) as stays:
        stays.start()
        for _ in range(5):
            short = start(slow, path).start()
            short.submit(step())
            short.close(0.0)
        assert eventually(lambda: set(query(path, "SELECT owner FROM steps")) == {(0,)})
        ticket = stays.submit(step())
        assert eventually(lambda: accepted(ticket))
        assert stays.receipt().reattached == 1
    assert posts(slow) == 1
