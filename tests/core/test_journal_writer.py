"""The thread that commits: groups, who is told what, and what is owed when nothing can be written."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.errors import JournalError
from dw_agents.journal import writer as module
from dw_agents.journal.rows import Found, Group
from dw_agents.journal.writer import Change, Writer
from tests.core.steps import eventually
from tests.faults.rows import ask

if TYPE_CHECKING:
    from collections.abc import Iterator


class Slate:
    """A store in memory, which can be held up, refuse to write, or not know yet what an ask gets."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.trouble: Exception | None = None
        self.undecided: set[str] = set()
        self.closed_by = ""
        self.entered = threading.Event()

    def apply(self, group: Group, now: float) -> list[Found | None]:
        assert threading.current_thread().name == "dw-agents-journal"
        self.entered.set()
        self.goes_on.wait(10)
        if self.trouble is not None:
            raise self.trouble
        self.groups.append(group)
        return [None if each.key in self.undecided else Found(len(self.groups), "waiting") for each in group.asks]

    def close(self) -> None:
        self.closed_by = threading.current_thread().name

    def disown(self) -> None:
        raise AssertionError("nobody forks here")


@pytest.fixture
def slate() -> Slate:
    return Slate()


@pytest.fixture
def writer(slate: Slate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.01)
    monkeypatch.setattr(module, "_WRITE_AGAIN", 0.02)
    made = Writer(slate)
    assert made.open()
    yield made
    made.close()


async def put(writer: Writer, kind: str, what: Any) -> Any:
    """Hand a change over and wait until it is told what became of it."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[Any] = loop.create_future()
    writer.put(Change(kind, what, loop, told.set_result))
    return await asyncio.wait_for(told, 10)


async def test_what_comes_while_a_group_is_being_written_is_the_next_group(writer: Writer, slate: Slate) -> None:
    slate.goes_on.clear()
    first = asyncio.ensure_future(put(writer, "sending", (0, False)))
    await asyncio.to_thread(slate.entered.wait, 5)
    rest = [asyncio.ensure_future(put(writer, "sending", (number, False))) for number in range(1, 200)]
    await asyncio.sleep(0)
    slate.goes_on.set()
    await asyncio.gather(first, *rest)
    assert [len(group.sending) for group in slate.groups] == [1, 199]


async def test_a_group_is_bounded_so_that_other_processes_get_their_turn(
    writer: Writer, slate: Slate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    slate.goes_on.clear()
    first = asyncio.ensure_future(put(writer, "unsent", 0))
    await asyncio.to_thread(slate.entered.wait, 5)
    rest = [asyncio.ensure_future(put(writer, "unsent", number)) for number in range(1, 36)]
    await asyncio.sleep(0)
    slate.goes_on.set()
    await asyncio.gather(first, *rest)
    assert [len(group.unsent) for group in slate.groups] == [1, 10, 10, 10, 5]
    assert [row for group in slate.groups for row in group.unsent] == list(range(36))


async def test_nobody_is_told_before_it_is_written(writer: Writer, slate: Slate) -> None:
    slate.goes_on.clear()
    waiting = asyncio.ensure_future(put(writer, "sending", (1, False)))
    await asyncio.to_thread(slate.entered.wait, 5)
    assert not waiting.done()
    slate.goes_on.set()
    await waiting
    assert slate.groups


async def test_asks_that_cannot_be_decided_yet_are_asked_again_until_they_can(writer: Writer, slate: Slate) -> None:
    slate.undecided.add("b")
    loop = asyncio.get_running_loop()
    told: asyncio.Future[Any] = loop.create_future()
    writer.put(Change("asks", ask("b"), loop, told.set_result))
    assert (await put(writer, "asks", ask("a"))).state == "waiting"
    assert await asyncio.to_thread(eventually, lambda: len(slate.groups) > 3)
    assert not told.done()
    slate.undecided.clear()
    assert (await asyncio.wait_for(told, 5)).state == "waiting"


async def test_who_waits_is_told_that_nothing_was_written_and_what_has_happened_is_written_later(
    writer: Writer, slate: Slate, caplog: pytest.LogCaptureFixture
) -> None:
    slate.trouble = JournalError("the disk is full.")
    assert await put(writer, "sending", (1, False)) is slate.trouble
    assert await put(writer, "asks", ask("a")) is slate.trouble
    for number in range(3):
        writer.put(Change("accepted", (number, f"resp_{number}")))
    assert await asyncio.to_thread(eventually, lambda: bool(caplog.records))
    assert "known to this process alone" in caplog.text
    slate.trouble = None
    assert await asyncio.to_thread(eventually, lambda: bool(slate.groups))
    assert [row for group in slate.groups for row, _ in group.accepted] == [0, 1, 2]
    assert not any(group.sending or group.asks for group in slate.groups)


async def test_what_is_owed_is_written_before_what_comes_after_it(writer: Writer, slate: Slate) -> None:
    slate.trouble = JournalError("the disk is full.")
    writer.put(Change("released", 1))
    await put(writer, "sending", (9, False))
    slate.trouble = None
    writer.put(Change("released", 2))
    await put(writer, "sending", (10, False))
    assert [row for group in slate.groups for row in group.released] == [1, 2]


async def test_a_defect_of_the_store_is_an_error_for_who_waits_and_ends_nothing(writer: Writer, slate: Slate) -> None:
    slate.trouble = ZeroDivisionError("a defect")
    told = await put(writer, "sending", (1, False))
    assert isinstance(told, JournalError)
    assert "ZeroDivisionError" in str(told)
    slate.trouble = None
    assert await put(writer, "sending", (1, False)) is None


async def test_a_waiter_whose_loop_is_gone_costs_the_others_nothing(writer: Writer) -> None:
    gone = asyncio.new_event_loop()
    gone.close()
    writer.put(Change("sending", (1, False), gone, lambda _: None))
    assert await put(writer, "sending", (2, False)) is None


def test_closing_writes_what_was_handed_over_and_closes_the_store_on_its_own_thread(slate: Slate) -> None:
    writer = Writer(slate)
    writer.open()
    slate.goes_on.clear()
    for number in range(100):
        writer.put(Change("released", number))
    slate.goes_on.set()
    writer.close()
    assert [row for group in slate.groups for row in group.released] == list(range(100))
    assert slate.closed_by == "dw-agents-journal"


def test_no_one_gets_a_writer_that_is_being_closed(slate: Slate) -> None:
    for _ in range(200):
        writer = Writer(Slate())
        assert writer.open()
        opened = []
        other = threading.Thread(target=lambda: opened.append(writer.open()))  # noqa: B023 - joined below
        other.start()
        writer.close()
        other.join()
        if opened[0]:
            assert writer.open(), "it was opened in time, so it lives"
            writer.close()
            writer.close()
        assert not writer.open()


async def test_what_was_found_for_a_loop_that_closed_is_given_back(writer: Writer, slate: Slate) -> None:
    slate.goes_on.clear()
    elsewhere = asyncio.new_event_loop()
    writer.put(Change("asks", ask("a"), elsewhere, lambda _: None))
    await asyncio.to_thread(slate.entered.wait, 5)
    elsewhere.close()
    slate.goes_on.set()
    assert await asyncio.to_thread(eventually, lambda: len(slate.groups) == 2)
    assert [(end.row, end.state) for end in slate.groups[1].ended] == [(1, "cancelled")]


async def test_nothing_more_is_asked_for_a_loop_that_closed(writer: Writer, slate: Slate) -> None:
    slate.undecided.add("a")
    elsewhere = asyncio.new_event_loop()
    writer.put(Change("asks", ask("a"), elsewhere, lambda _: None))
    assert await asyncio.to_thread(eventually, lambda: len(slate.groups) > 1)
    elsewhere.close()
    await put(writer, "unsent", 1)
    count = len(slate.groups)
    await put(writer, "unsent", 2)
    assert all(not group.asks for group in slate.groups[count - 1 :])


async def test_who_left_is_not_asked_for_any_more_and_takes_nobodys_place(writer: Writer, slate: Slate) -> None:
    slate.undecided.add("a")
    loop, left = asyncio.get_running_loop(), threading.Event()
    writer.put(Change("asks", ask("a"), loop, lambda _: None, left.is_set))
    assert await asyncio.to_thread(eventually, lambda: len(slate.groups) > 1)
    left.set()
    slate.undecided.clear()
    await put(writer, "asks", ask("a"))
    assert len(slate.groups[-1].asks) == 1
