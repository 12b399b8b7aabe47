"""Fixtures for the tests of the OpenAI clients: an emulator for each test, and an engine that retries quickly."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import tenacity

from dw_agents import Engine, Retries
from dw_agents.adapting import carry
from dw_agents.emulator import Emulator
from tests.openai_clients.support import our_client, result, their_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.openai_clients.support import Kind

QUICK = Retries(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_attempt(4))


class MakeEmulator(Protocol):
    """Starts an emulator that stops, with its engine, when the test ends."""

    def __call__(self, **settings: Any) -> Emulator: ...


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key and no address of the machine reaches a test, and each warning can be said again."""
    for name in (
        "DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_BASE", "OPENAI_API_KEY", "OPENAI_BASE_URL",
        "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_API_VERSION", "AZURE_OPENAI_API_KEY",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    carry.forget_warnings()


@pytest.fixture
def make_emulator() -> Iterator[MakeEmulator]:
    with ExitStack() as running:

        def make(**settings: Any) -> Emulator:
            emulator = running.enter_context(Emulator(**{"blocking_step": 0, **settings}))
            running.callback(lambda: Engine.shared(api_key=emulator.api_key, base_url=emulator.base_url).close())
            return emulator

        yield make


@pytest.fixture
def emulator(make_emulator: MakeEmulator) -> Emulator:
    return make_emulator()


class MakeClient(Protocol):
    """Makes a client that is closed when the test ends."""

    def __call__(self, kind: Kind = "sync", **settings: Any) -> Any: ...


@pytest.fixture
async def closing() -> AsyncIterator[list[Any]]:
    """Clients to close in the loop that they were used in."""
    clients: list[Any] = []
    yield clients
    for client in clients:
        await result(client.close())


@pytest.fixture
def ours(emulator: Emulator, closing: list[Any]) -> MakeClient:
    """Makes clients of ours, on flex unless told otherwise."""

    def make(kind: Kind = "sync", **settings: Any) -> Any:
        closing.append(our_client(emulator, kind, **settings))
        return closing[-1]

    return make


@pytest.fixture
def theirs(emulator: Emulator, closing: list[Any]) -> MakeClient:
    """Makes clients of the SDK's own, which ask for realtime answers."""

    def make(kind: Kind = "sync", **settings: Any) -> Any:
        closing.append(their_client(emulator, kind, **settings))
        return closing[-1]

    return make


@pytest.fixture
def quick(emulator: Emulator) -> Iterator[Engine]:
    """An engine on the emulator that retries quickly."""
    with Engine(api_key=emulator.api_key, base_url=emulator.base_url, retries=QUICK) as engine:
        yield engine
