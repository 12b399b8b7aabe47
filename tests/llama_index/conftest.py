"""Fixtures for the LlamaIndex adapter's tests: an emulator for each test and models that talk to it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from dw_agents import Engine
from dw_agents.adapting import carry
from dw_agents.emulator import Emulator
from tests.llama_index.wire import llm_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index.llms.dw_agents import DoublewordLLM


class MakeEmulator(Protocol):
    """Starts an emulator that stops, with its engine, when the test ends."""

    def __call__(self, **settings: Any) -> Emulator: ...


class MakeLLM(Protocol):
    """Makes an LLM that talks to the test's emulator."""

    def __call__(self, **fields: Any) -> DoublewordLLM: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let LlamaIndex's own agents use what pydantic and the workflows have renamed."""
    renamed = ("ignore::pydantic.warnings.PydanticDeprecationWarning", "ignore:is_running called:DeprecationWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(*renamed))


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key or address of the machine reaches a test, and each warning can be said again."""
    for name in (
        "DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_BASE", "OPENAI_API_KEY", "OPENAI_BASE_URL",
        "OPENAI_API_BASE", "IS_TESTING",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    carry.forget_warnings()


@pytest.fixture
def make_emulator() -> Iterator[MakeEmulator]:
    with ExitStack() as running:

        def make(**settings: Any) -> Emulator:
            emulator = running.enter_context(Emulator(**settings))
            running.callback(lambda: Engine.shared(api_key=emulator.api_key, base_url=emulator.base_url).close())
            return emulator

        yield make


@pytest.fixture
def emulator(make_emulator: MakeEmulator) -> Emulator:
    return make_emulator()


@pytest.fixture
def make_llm(emulator: Emulator) -> MakeLLM:
    return lambda **fields: llm_for(emulator, **fields)


@pytest.fixture
def llm(make_llm: MakeLLM) -> DoublewordLLM:
    return make_llm()
