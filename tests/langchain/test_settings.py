"""Settings: where they come from, what is refused before anything is sent, copies and pickles."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import ModelError
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField
from pydantic import SecretStr, ValidationError

from dw_agents import Engine
from dw_agents import errors as core
from langchain_dw_agents import ChatDoubleword
from langchain_dw_agents.errors import InvalidStep, MissingAPIKey
from tests.langchain.wire import MODEL, bodies

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator
    from tests.langchain.conftest import MakeModel


def headers(emulator: Emulator) -> dict[str, str]:
    return {name.lower(): value for name, value in emulator.requests[0].headers.items()}


def test_flex_is_the_default_tier(emulator: Emulator, llm: ChatDoubleword) -> None:
    llm.invoke("Hi.")
    assert (bodies(emulator)[0]["service_tier"], bodies(emulator)[0]["background"]) == ("flex", True)
    assert "stream" not in bodies(emulator)[0]


def test_the_tier_is_a_field_and_an_argument_of_each_call(emulator: Emulator, make_model: MakeModel) -> None:
    make_model(service_tier="priority").invoke("Hi.")
    assert emulator.counters.snapshot().realtime == 1
    make_model().bind(service_tier="priority").invoke("Hi.")
    make_model().invoke("Hi.", service_tier="priority")
    assert emulator.counters.snapshot().realtime == 3
    make_model(service_tier="priority").invoke("Hi.", service_tier="flex")
    assert (emulator.counters.snapshot().realtime, emulator.counters.snapshot().flex) == (3, 1)


def test_a_completion_window_is_for_its_own_tier_only(emulator: Emulator, make_model: MakeModel) -> None:
    patient = make_model(service_tier="batch", completion_window="24h")
    patient.bind(service_tier="flex").invoke("Hi.")
    assert emulator.counters.snapshot().flex == 1


def test_the_tier_can_be_chosen_by_configuration(emulator: Emulator, llm: ChatDoubleword) -> None:
    chosen = llm.configurable_fields(service_tier=ConfigurableField(id="tier"))
    chosen.invoke("Hi.", {"configurable": {"tier": "priority"}})
    chosen.invoke("Hi.")
    assert (emulator.counters.snapshot().realtime, emulator.counters.snapshot().flex) == (1, 1)


def test_key_and_address_come_from_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DOUBLEWORD_API_BASE", emulator.base_url)
    llm = ChatDoubleword(model=MODEL)
    assert isinstance(llm.api_key, SecretStr)
    assert llm.base_url == emulator.base_url
    assert llm.invoke("Hi.").text
    assert headers(emulator)["authorization"] == f"Bearer {emulator.api_key}"


def test_the_key_comes_from_the_cli_s_files(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / ".dw").mkdir()
    (tmp_path / ".dw" / "config.toml").write_text('active_account = "work"\n')
    (tmp_path / ".dw" / "credentials.toml").write_text(f'[accounts.work]\ninference_key = "{emulator.api_key}"\n')
    assert ChatDoubleword(model=MODEL, base_url=emulator.base_url).invoke("Hi.").text


def test_openais_key_and_address_are_never_used(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """They belong to another company."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
    monkeypatch.setenv("OPENAI_API_BASE", emulator.base_url)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-openai")
    llm = ChatDoubleword(model=MODEL)
    assert llm.base_url is None
    assert llm.openai_organization is None
    with pytest.raises(MissingAPIKey):
        llm.invoke("Hi.")
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    ChatDoubleword(model=MODEL, base_url=emulator.base_url).invoke("Hi.")
    assert "of-openai" not in str(emulator.requests[0].headers)


@pytest.mark.parametrize("key", ["", "  "])
def test_a_key_that_is_empty_is_refused(emulator: Emulator, key: str) -> None:
    with pytest.raises(core.ConfigurationError) as caught:
        ChatDoubleword(model=MODEL, api_key=key, base_url=emulator.base_url).invoke("Hi.")
    assert caught.value.field == "api_key"
    assert isinstance(caught.value, ModelError)
    assert emulator.counters.snapshot().requests == 0


async def test_no_key_is_refused_before_anything_is_sent(emulator: Emulator) -> None:
    llm = ChatDoubleword(model=MODEL, base_url=emulator.base_url)
    for call in (llm.invoke, llm.stream):
        with pytest.raises(MissingAPIKey, match=r"api_key=.*DOUBLEWORD_API_KEY.*~/.dw"):
            list(call("Hi."))
    with pytest.raises(MissingAPIKey):
        await llm.ainvoke("Hi.")
    assert emulator.counters.snapshot().requests == 0


def test_a_function_may_give_the_key(emulator: Emulator) -> None:
    assert ChatDoubleword(model=MODEL, base_url=emulator.base_url, api_key=lambda: emulator.api_key).invoke("Hi.").text


async def a_key() -> str:
    return "k"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_tier", "standard"),
        ("service_tier", "auto"),
        ("service_tier", None),
        ("model", ""),
        ("model", "  "),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", (1.0, 2.0)),
        ("heartbeat", 0),
        ("completion_window", "24h"),
        ("completion_window", "2h"),
        ("on_unknown", "guess"),
        ("api_key", a_key),
        ("http_client", httpx.Client()),
        ("http_socket_options", ()),
        ("default_query", {"a": "b"}),
        ("organization", "org"),
        ("openai_proxy", "http://proxy"),
        ("stream_chunk_timeout", 5.0),
        ("include_response_headers", True),
        ("use_responses_api", False),
        ("use_previous_response_id", True),
    ],
)
def test_a_setting_that_cannot_hold_is_refused_at_construction(
    emulator: Emulator, make_model: MakeModel, field: str, value: Any
) -> None:
    with pytest.raises(ValidationError, match=field):
        make_model(**{field: value})
    assert emulator.counters.snapshot().requests == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_tier", "standard"),
        ("service_tier", None),
        ("model", ""),
        ("timeout", 0),
        ("heartbeat", -1),
        ("completion_window", "24h"),
        ("on_unknown", "guess"),
        ("max_retries", -1),
    ],
)
async def test_a_setting_of_one_call_that_cannot_hold_is_refused(
    emulator: Emulator, llm: ChatDoubleword, field: str, value: Any
) -> None:
    with pytest.raises(InvalidStep, match=field) as caught:
        llm.bind(**{field: value}).invoke("Hi.")
    assert caught.value.field == field
    with pytest.raises(InvalidStep):
        await llm.ainvoke("Hi.", **{field: value})
    with pytest.raises(InvalidStep):
        list(llm.stream("Hi.", **{field: value}))
    assert emulator.counters.snapshot().requests == 0


def test_a_model_must_be_named(emulator: Emulator) -> None:
    with pytest.raises(ValidationError, match="model"):
        ChatDoubleword(api_key=emulator.api_key, base_url=emulator.base_url)


def test_a_body_over_the_limit_is_refused(emulator: Emulator, llm: ChatDoubleword) -> None:
    with pytest.raises(InvalidStep, match=r"body|MB|bytes"):
        llm.invoke([HumanMessage("x" * (10 * 1024 * 1024 + 1))])
    assert emulator.counters.snapshot().requests == 0


def test_default_headers_are_sent(emulator: Emulator, make_model: MakeModel) -> None:
    llm = make_model(default_headers={"X-Team": "blue"})
    llm.invoke("Hi.")
    assert headers(emulator)["x-team"] == "blue"
    llm.engine.close()


def test_models_of_one_account_share_one_engine(make_model: MakeModel) -> None:
    assert make_model().engine is make_model(temperature=1.0).engine


def test_a_copy_or_a_pickle_is_the_same_model(emulator: Emulator, llm: ChatDoubleword) -> None:
    llm.invoke("Hi.")
    for twin in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy(), pickle.loads(pickle.dumps(llm))):
        assert twin.invoke("Hi.").text
        assert twin.engine is llm.engine
    assert emulator.counters.snapshot().flex == 5


def test_the_key_is_shown_nowhere(make_model: MakeModel) -> None:
    llm = make_model(api_key="very-secret-key")
    assert "very-secret" not in f"{llm!r} {llm} {llm.to_json()} {llm._identifying_params} {llm.model_dump()}"
    assert llm.lc_secrets == {"openai_api_key": "DOUBLEWORD_API_KEY"}
    Engine.shared(api_key="very-secret-key", base_url=llm.base_url).close()


def test_an_error_about_settings_does_not_show_the_key() -> None:
    with pytest.raises(ValidationError, match="service_tier") as caught:
        ChatDoubleword(model=MODEL, api_key="very-secret-key", service_tier="standard")
    assert "secret" not in str(caught.value)


def test_no_client_of_openai_is_built(llm: ChatDoubleword) -> None:
    assert (llm.client, llm.async_client, llm.root_client, llm.root_async_client) == (None, None, None, None)


@pytest.mark.parametrize("streaming", [True, False])
def test_the_streaming_field_changes_nothing_in_the_answer(make_model: MakeModel, *, streaming: bool) -> None:
    answer = make_model(streaming=streaming).invoke("Hi.")
    assert "You wrote: Hi." in answer.text
    assert answer.usage_metadata is not None


def test_a_cached_answer_is_not_asked_for_again(emulator: Emulator, make_model: MakeModel) -> None:
    llm = make_model(cache=InMemoryCache())
    assert llm.invoke("Hi.").text == llm.invoke("Hi.").text
    llm.invoke("Hi.", max_tokens=2)
    assert emulator.counters.snapshot().flex == 2


def test_tracing_is_told_the_provider_and_the_model(llm: ChatDoubleword) -> None:
    params = llm._get_ls_params(model="another")
    assert (params["ls_provider"], params["ls_model_name"]) == ("doubleword", "another")
    assert llm.invoke("Hi.").response_metadata["model_provider"] == "openai"  # whose message format it is


def test_known_models_have_their_profile_and_others_a_modest_one(make_model: MakeModel) -> None:
    known, unknown = make_model().profile, make_model(model="some/new-model").profile
    assert known is not None
    assert unknown is not None
    assert (known["max_input_tokens"], known["image_inputs"]) == (262_144, True)
    assert (unknown["max_input_tokens"], unknown["image_inputs"]) == (32_768, False)
    assert unknown["structured_output"]
    assert unknown["tool_calling"]
    reader = make_model(model="allenai/olmOCR-2-7B-1025-FP8").profile
    assert reader is not None
    assert not reader["tool_calling"]
    assert make_model(profile={"max_input_tokens": 1}).profile == {"max_input_tokens": 1}


def test_tokens_are_estimated_without_downloading_a_tokenizer(llm: ChatDoubleword) -> None:
    assert 1 <= llm.get_num_tokens("four words of text") <= 20
    assert llm.get_num_tokens_from_messages([HumanMessage("Hi.")]) > 0
    with pytest.raises(NotImplementedError, match="custom_get_token_ids"):
        llm.get_token_ids("Hi.")
    assert llm.model_copy(update={"custom_get_token_ids": lambda text: [len(text)]}).get_token_ids("Hi.") == [3]
