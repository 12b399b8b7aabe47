"""The settings of ``DoublewordEmbedding``: names, refusals, secrets, copies, and the engine that they lead to."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from pydantic import SecretStr, ValidationError

from dw_agents import Engine
from langchain_dw_agents import DoublewordEmbeddings
from llama_index.embeddings.dw_agents import DoublewordEmbedding, DoublewordWarning
from llama_index.embeddings.dw_agents.errors import MissingAPIKey
from tests.llama_index.vectors import EMBEDDING_MODEL, TEXTS, embedding_for, expected

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("service_tier", "flex", "bill them as realtime"),
        ("service_tier", "background", "bill them as realtime"),
        ("query_service_tier", "flex", "bill them as realtime"),
        ("service_tier", "standard", "batch"),
        ("service_tier", None, "batch"),
        ("completion_window", "2h", "24h"),
        ("model", "", "model"),
        ("model", " ", "model"),
        ("dimensions", 0, "dimensions"),
        ("embed_batch_size", 0, "embed_batch_size"),
        ("embed_batch_size", 4096, "2048"),
        ("timeout", 0, "timeout"),
        ("heartbeat", -1, "heartbeat"),
        ("max_retries", -1, "max_retries"),
        ("on_unknown", "guess", "on_unknown"),
        ("embeddings_cache", {}, "BaseKVStore"),
        ("sevice_tier", "batch", "sevice_tier"),
    ],
)
def test_a_setting_that_cannot_hold_is_refused_at_construction(
    emulator: Emulator, field: str, value: Any, words: str
) -> None:
    with pytest.raises((ValidationError, TypeError), match=words):
        embedding_for(emulator, **{field: value})


def test_a_model_must_be_named() -> None:
    with pytest.raises(ValidationError, match="names no model"):
        DoublewordEmbedding()


def test_a_window_without_a_batch_is_refused(emulator: Emulator) -> None:
    with pytest.raises(ValidationError, match="completion_window"):
        embedding_for(emulator, service_tier="priority", completion_window="1h")


def test_an_async_function_is_no_key() -> None:
    async def key() -> str:
        return "key"

    with pytest.raises(ValidationError, match="async function"):
        DoublewordEmbedding(EMBEDDING_MODEL, api_key=key)  # type: ignore[arg-type]


def test_model_and_address_go_by_either_name(emulator: Emulator) -> None:
    first = DoublewordEmbedding(EMBEDDING_MODEL, api_base=emulator.base_url)
    second = DoublewordEmbedding(model_name=EMBEDDING_MODEL, base_url=emulator.base_url)
    assert first.model == first.model_name == second.model_name == EMBEDDING_MODEL
    assert first.api_base == first.base_url == second.base_url == emulator.base_url
    with pytest.raises(ValidationError, match="two names"):
        DoublewordEmbedding("one/model", model_name="another/model")
    with pytest.raises(ValidationError, match="two names"):
        DoublewordEmbedding(EMBEDDING_MODEL, api_base="http://a", base_url="http://b")


def test_workers_have_no_effect_and_that_is_said_once(emulator: Emulator) -> None:
    with pytest.warns(DoublewordWarning, match="num_workers=4"):
        embedding_for(emulator, num_workers=4)
    embedding = embedding_for(emulator, num_workers=4, embed_batch_size=1, dimensions=8)
    assert embedding.get_text_embedding_batch(TEXTS) == [expected(text) for text in TEXTS]
    assert emulator.counters.batches == 1


def test_openais_key_is_never_used(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
    with pytest.raises(MissingAPIKey, match="DOUBLEWORD_API_KEY"):
        DoublewordEmbedding(EMBEDDING_MODEL).get_query_embedding("deep water")
    assert emulator.counters.requests == 0


def test_key_and_address_come_from_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = DoublewordEmbedding(EMBEDDING_MODEL, dimensions=8)
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DOUBLEWORD_API_BASE", emulator.base_url)
    assert embedding.get_query_embedding("a") == expected("a")


def test_the_key_comes_from_the_cli_s_files(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / ".dw").mkdir()
    (tmp_path / ".dw" / "config.toml").write_text('active_account = "work"\n')
    (tmp_path / ".dw" / "credentials.toml").write_text(f'[accounts.work]\ninference_key = "{emulator.api_key}"\n')
    assert DoublewordEmbedding(EMBEDDING_MODEL, base_url=emulator.base_url).get_query_embedding("deep water")


@pytest.mark.parametrize("key", ["very-secret-key", SecretStr("very-secret-key"), lambda: "very-secret-key"])
def test_the_key_is_shown_nowhere(emulator: Emulator, key: Any) -> None:
    embedding = embedding_for(emulator, api_key=key, default_headers={"X-Secret": "blue-secret"})
    shown = f"{embedding!r} {embedding} {embedding.model_dump()} {embedding.to_dict()} {embedding.to_json()}"
    assert "secret" not in shown.lower()
    assert b"very-secret" not in pickle.dumps(embedding)
    with pytest.raises(ValidationError) as caught:
        embedding_for(emulator, api_key=key, service_tier="flex")
    assert "very-secret" not in str(caught.value)


def test_a_model_survives_its_dictionary_which_holds_no_key(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = embedding_for(emulator, service_tier="priority", dimensions=8, run="monday", timeout=30.0)
    twin = DoublewordEmbedding.from_dict(embedding.to_dict())
    assert twin.to_dict() == embedding.to_dict()
    with pytest.raises(MissingAPIKey):
        twin.get_query_embedding("a")
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    assert twin.get_query_embedding("a") == expected("a")
    assert twin.engine is embedding.engine


def test_another_key_leaves_the_key_of_a_pipelines_cache_alone(emulator: Emulator) -> None:
    """LlamaIndex's pipelines find what they did before by the model's dictionary."""
    nodes = [TextNode(text="a", id_="1")]
    hashes = {
        get_transformation_hash(nodes, embedding_for(emulator, api_key=key, default_headers={"X-Day": key}))
        for key in ("monday", "tuesday")
    }
    assert len(hashes) == 1


def test_copies_are_the_same_model(emulator: Emulator) -> None:
    embedding = embedding_for(emulator, dimensions=8)
    for twin in (copy.copy(embedding), copy.deepcopy(embedding), embedding.model_copy()):
        assert twin.get_query_embedding("a") == expected("a")
        assert twin.engine is embedding.engine


def test_a_pickle_leaves_the_key_behind_and_the_model_untouched(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = embedding_for(emulator, dimensions=8, service_tier="priority", default_headers={"X-Team": "blue"})
    twin = pickle.loads(pickle.dumps(embedding))
    with pytest.raises(MissingAPIKey):
        twin.get_query_embedding("a")
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    assert twin.get_query_embedding("a") == embedding.get_query_embedding("a") == expected("a")
    assert twin.engine is embedding.engine
    assert emulator.requests[-1].headers["X-Team"] == "blue"
    embedding.engine.close()


def test_embeddings_of_both_frameworks_share_the_engine_and_the_batch(emulator: Emulator) -> None:
    langchain = DoublewordEmbeddings(model=EMBEDDING_MODEL, api_key=emulator.api_key, base_url=emulator.base_url)
    embedding = embedding_for(emulator)
    assert embedding.engine is langchain.engine


def test_the_run_and_the_travelling_settings_reach_the_steps(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = embedding_for(
        emulator, run="monday", timeout=9.0, max_retries=1, on_unknown="raise", completion_window="1h"
    )
    steps: list[Any] = []
    submit = embedding.engine.submit

    def note(step: Any) -> Any:
        steps.append(step)
        return submit(step)

    monkeypatch.setattr(embedding.engine, "submit", note)
    embedding.get_text_embedding_batch(["a"])
    embedding.get_query_embedding("b")
    assert [(step.run, step.timeout, step.max_retries, step.on_unknown) for step in steps] == [
        ("monday", 9.0, 1, "raise")
    ] * 2
    assert [(step.service_tier, step.completion_window) for step in steps] == [("batch", "1h"), ("priority", None)]


def test_the_receipt_counts_tokens_and_money(emulator: Emulator) -> None:
    embedding = embedding_for(emulator)
    embedding.get_text_embedding_batch(TEXTS)
    receipt = embedding.engine.receipt()
    line = receipt.lines[EMBEDDING_MODEL, "batch"]
    assert (line.steps, line.unmetered) == (1, 0)
    assert line.input_tokens > 0
    assert 0 < receipt.cost().dollars < receipt.cost(tier="realtime").dollars


def test_a_closed_engine_is_replaced(emulator: Emulator) -> None:
    embedding = embedding_for(emulator)
    embedding.get_query_embedding("a")
    embedding.engine.close()
    assert embedding.get_query_embedding("a")
    Engine.shared(api_key=emulator.api_key, base_url=emulator.base_url).close()
