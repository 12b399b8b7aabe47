"""Signs of life: an event of LlamaIndex's instrumentation each few seconds while a call waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers import BaseEventHandler
from pydantic import Field

from llama_index.llms.dw_agents import DoublewordHeartbeat
from tests.llama_index.wire import llm_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index_instrumentation.base import BaseEvent

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator


class Watch(BaseEventHandler):
    """Notes every heartbeat."""

    beats: list[Any] = Field(default_factory=list)

    def handle(self, event: BaseEvent, **_: Any) -> None:
        if isinstance(event, DoublewordHeartbeat):
            self.beats.append(event)


@pytest.fixture
def watch() -> Iterator[Watch]:
    root, handler = get_dispatcher(), Watch()
    before = list(root.event_handlers)
    root.event_handlers = [*before, handler]
    yield handler
    root.event_handlers = before


@pytest.fixture
def slowish(make_emulator: MakeEmulator) -> Emulator:
    return make_emulator(latency=0.5)


def check(beats: list[DoublewordHeartbeat]) -> None:
    assert 2 <= len(beats) <= 8
    assert beats[-1].status in {"queued", "in_progress"}
    assert beats[-1].response_id is not None
    assert 0.07 <= beats[0].waited < beats[-1].waited < 2.0
    assert {beat.label for beat in beats} == {"planner"}
    assert beats[0].class_name() == "DoublewordHeartbeat"


def test_a_waiting_call_tells_how_it_stands(slowish: Emulator, watch: Watch) -> None:
    llm_for(slowish, heartbeat=0.08, label="planner").complete("Hi.")
    check(watch.beats)


async def test_asynchronous_calls_tell_it_too_each_as_often_as_it_says(slowish: Emulator, watch: Watch) -> None:
    await llm_for(slowish, label="planner").acomplete("Hi.", heartbeat=0.08)
    check(watch.beats)


def test_heartbeats_belong_to_the_span_of_the_call(slowish: Emulator, watch: Watch) -> None:
    """So that a tracer shows them where they belong."""
    llm_for(slowish, heartbeat=0.2).complete("Hi.")
    assert "DoublewordLLM.complete" in str(watch.beats[0].span_id)


@pytest.mark.parametrize("heartbeat", [None, 15.0])
def test_quick_answers_and_silent_llms_have_none(slowish: Emulator, watch: Watch, heartbeat: float | None) -> None:
    llm_for(slowish, heartbeat=heartbeat).complete("Hi.")
    assert watch.beats == []


def test_a_handler_that_fails_does_not_end_the_call(slowish: Emulator, watch: Watch, monkeypatch: Any) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the tracer is down")

    monkeypatch.setattr(Watch, "handle", broken)
    assert llm_for(slowish, heartbeat=0.08).complete("Hi.").text
