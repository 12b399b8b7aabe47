"""LangChain's standard suites for embeddings, over real HTTP against the emulator; nothing is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from dw_agents import Engine
from dw_agents.emulator import Emulator
from langchain_dw_agents import DoublewordEmbeddings
from tests.langchain.wire import EMBEDDING_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestUnit(EmbeddingsUnitTests):
    """The suite that needs no service."""

    @property
    def embeddings_class(self) -> type[DoublewordEmbeddings]:
        return DoublewordEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": EMBEDDING_MODEL, "api_key": "a key"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"DOUBLEWORD_API_KEY": "from env", "DOUBLEWORD_BASE_URL": "http://127.0.0.1:1/v1"},
            {"model": EMBEDDING_MODEL},
            {"api_key": "from env", "base_url": "http://127.0.0.1:1/v1"},
        )


class TestIntegration(EmbeddingsIntegrationTests):
    """The suite that talks to the service: documents by batch, queries realtime."""

    emulator: ClassVar[Emulator]
    tiers: ClassVar[dict[str, str]] = {}
    realtime_calls = 4
    batch_calls = 2

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running_emulator(cls) -> Iterator[None]:
        with Emulator() as cls.emulator:
            yield
            counts = cls.emulator.counters.snapshot()
            Engine.shared(api_key=cls.emulator.api_key, base_url=cls.emulator.base_url).close()
        assert (counts.realtime, counts.batch, counts.flex) == (cls.realtime_calls, cls.batch_calls, 0)

    @property
    def embeddings_class(self) -> type[DoublewordEmbeddings]:
        return DoublewordEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        where = {"api_key": self.emulator.api_key, "base_url": self.emulator.base_url}
        return {"model": EMBEDDING_MODEL, **where, **self.tiers}


class TestIntegrationPriority(TestIntegration):
    """The same with documents realtime."""

    tiers: ClassVar = {"service_tier": "priority"}
    realtime_calls = 6
    batch_calls = 0


class TestIntegrationBatchQueries(TestIntegration):
    """The same with queries by batch too."""

    tiers: ClassVar = {"query_service_tier": "batch"}
    realtime_calls = 0
    batch_calls = 6
