"""Settings: where they come from, what is refused before anything is sent, and what a call may say otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.memory import ChatMemoryBuffer
from pydantic import BaseModel, SecretStr, ValidationError

from dw_agents import Engine
from llama_index.llms.dw_agents import DoublewordLLM, DoublewordWarning
from llama_index.llms.dw_agents.errors import ConfigurationError, InvalidStep, MissingAPIKey
from tests.llama_index.wire import MODEL, bodies

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeLLM


def headers(emulator: Emulator) -> dict[str, str]:
    return {name.lower(): value for name, value in emulator.requests[0].headers.items()}


def test_flex_is_the_default_and_nothing_is_sent_that_was_not_asked(emulator: Emulator, llm: DoublewordLLM) -> None:
    llm.complete("Hi.")
    assert bodies(emulator)[0] == {
        "model": MODEL,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}],
        "service_tier": "flex",
        "background": True,
    }


def test_the_tier_is_a_field_and_an_argument_of_each_call(emulator: Emulator, make_llm: MakeLLM) -> None:
    make_llm(service_tier="priority").complete("Hi.")
    make_llm().complete("Hi.", service_tier="priority")
    make_llm(additional_kwargs={"service_tier": "priority"}).complete("Hi.")
    assert emulator.counters.snapshot().realtime == 3
    make_llm(service_tier="priority").complete("Hi.", service_tier="flex")
    make_llm(service_tier="batch", completion_window="24h").complete("Hi.", service_tier="flex")
    counts = emulator.counters.snapshot()
    assert (counts.realtime, counts.flex) == (3, 2)


def test_a_batch_takes_the_window_that_was_asked(emulator: Emulator, make_llm: MakeLLM) -> None:
    make_llm(service_tier="batch", completion_window="1h").complete("Hi.")
    make_llm().complete("Hi.", service_tier="batch", completion_window="24h")
    assert [batch.window for batch in emulator.batches] == ["1h", "24h"]
    assert emulator.counters.snapshot().lines == 2


def test_every_setting_travels_under_the_services_name(emulator: Emulator, make_llm: MakeLLM) -> None:
    """A call's argument comes before ``additional_kwargs``, and these before the field."""
    llm = make_llm(
        temperature=0.1, top_p=0.9, max_tokens=900, stop=["END"], reasoning_effort="low",
        additional_kwargs={"temperature": 0.2, "user": "u1", "metadata": {"a": "b"}},
    )  # fmt: skip
    llm.complete("Hi.")
    llm.complete(
        "Hi.", temperature=0.3, max_tokens=800, stop="STOP", reasoning_effort=None, reasoning={"effort": "high"},
        top_p=None, model="Qwen/Qwen3-14B-FP8", extra_body={"user": "u2"},
    )  # fmt: skip
    first, second = bodies(emulator)
    not_settings = {"model", "input", "service_tier", "background", "metadata"}
    assert {name: first[name] for name in first.keys() - not_settings} == {
        "temperature": 0.2, "top_p": 0.9, "max_output_tokens": 900, "stop": ["END"], "reasoning": {"effort": "low"},
        "user": "u1",
    }  # fmt: skip
    assert first["metadata"] == {"a": "b"}
    assert "top_p" not in second
    assert {name: second[name] for name in ("temperature", "max_output_tokens", "stop", "reasoning", "user")} == {
        "temperature": 0.3, "max_output_tokens": 800, "stop": ["STOP"], "reasoning": {"effort": "high"}, "user": "u2",
    }  # fmt: skip
    assert second["model"] == "Qwen/Qwen3-14B-FP8"


class Reading(BaseModel):
    """What a thermometer says."""

    degrees: float


@pytest.mark.parametrize(
    "given",
    [
        Reading,
        {"type": "json_schema", "json_schema": {"name": "Reading", "strict": True, "schema": {"type": "object"}}},
        {"type": "json_schema", "name": "Reading", "strict": True, "schema": {"type": "object"}},
        {"type": "json_object"},
    ],
    ids=["class", "chat completions' shape", "the API's shape", "any JSON"],
)
def test_a_response_format_is_taken_in_every_shape(emulator: Emulator, llm: DoublewordLLM, given: Any) -> None:
    llm.complete("degrees: 4.5", response_format=given)
    sent = bodies(emulator)[0]["text"]["format"]
    assert sent["type"] == ("json_object" if given == {"type": "json_object"} else "json_schema")
    assert sent.get("name", "Reading") == "Reading"


def test_tools_may_be_given_as_json(emulator: Emulator, llm: DoublewordLLM) -> None:
    """In the shape of chat completions, too; the same for the choice among them."""
    tool = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    choice = {"type": "function", "function": {"name": "f"}}
    llm.complete("Hi.", tools=[{"type": "function", "function": tool}], tool_choice=choice)
    llm.complete("Hi.", tools=[{"type": "function", **tool}], tool_choice="any")
    first, second = bodies(emulator)
    assert first["tools"] == second["tools"] == [{"type": "function", **tool}]
    assert (first["tool_choice"], second["tool_choice"]) == ({"type": "function", "name": "f"}, "required")


def test_a_call_without_tools_says_nothing_of_tools(emulator: Emulator, make_llm: MakeLLM) -> None:
    """Some servers refuse a choice among none."""
    llm = make_llm(parallel_tool_calls=True)
    llm.complete("Hi.")
    llm.chat_with_tools([], "Hi.", tool_required=True, tool_choice="f")
    for body in bodies(emulator):
        assert not body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


def test_key_and_address_come_from_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DOUBLEWORD_API_BASE", emulator.base_url)
    assert DoublewordLLM(model=MODEL).complete("Hi.").text
    assert headers(emulator)["authorization"] == f"Bearer {emulator.api_key}"


def test_the_key_comes_from_the_cli_s_files(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / ".dw").mkdir()
    (tmp_path / ".dw" / "config.toml").write_text('active_account = "work"\n')
    (tmp_path / ".dw" / "credentials.toml").write_text(f'[accounts.work]\ninference_key = "{emulator.api_key}"\n')
    assert DoublewordLLM(model=MODEL, api_base=emulator.base_url).complete("Hi.").text


def test_openais_key_and_address_are_never_used(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """They belong to another company."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_ORG_ID"):
        monkeypatch.setenv(name, "of-openai")
    with pytest.raises(MissingAPIKey):
        DoublewordLLM(model=MODEL, base_url=emulator.base_url).complete("Hi.")
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    DoublewordLLM(model=MODEL, base_url=emulator.base_url).complete("Hi.")
    assert "of-openai" not in str(emulator.requests[0].headers)


def test_both_names_of_the_address_mean_the_same(emulator: Emulator) -> None:
    llm = DoublewordLLM(model=MODEL, api_key="k", api_base=emulator.base_url)
    assert llm.base_url == llm.api_base == emulator.base_url
    with pytest.raises(ValidationError, match="two names for one address"):
        DoublewordLLM(model=MODEL, api_base=emulator.base_url, base_url="http://elsewhere.invalid/v1")


def test_no_key_is_refused_before_anything_is_sent(emulator: Emulator) -> None:
    llm = DoublewordLLM(model=MODEL, base_url=emulator.base_url)
    with pytest.raises(MissingAPIKey, match=r"api_key=.*DOUBLEWORD_API_KEY.*~/.dw"):
        llm.complete("Hi.")
    for key in ("", "  "):
        with pytest.raises(ConfigurationError) as caught:
            DoublewordLLM(model=MODEL, api_key=key, base_url=emulator.base_url).complete("Hi.")
        assert caught.value.field == "api_key"
    assert emulator.counters.snapshot().requests == 0


def test_a_function_may_give_the_key(emulator: Emulator) -> None:
    assert DoublewordLLM(model=MODEL, base_url=emulator.base_url, api_key=lambda: emulator.api_key).complete("Hi.").text


def test_default_headers_are_sent_and_shown_nowhere(emulator: Emulator, make_llm: MakeLLM) -> None:
    llm = make_llm(default_headers={"X-Proxy-Key": "open-sesame"})
    llm.complete("Hi.")
    assert headers(emulator)["x-proxy-key"] == "open-sesame"
    assert "open-sesame" not in f"{llm!r} {llm.to_dict()} {llm.to_payload()}"
    llm.engine.close()


def test_a_misspelt_setting_is_refused_with_the_one_that_was_meant() -> None:
    """LlamaIndex's classes ignore such names; a tier that is ignored is another bill."""
    with pytest.raises(ValidationError, match="did you mean service_tier"):
        DoublewordLLM(model=MODEL, service_teir="batch")
    with pytest.raises(ValidationError, match="additional_kwargs"):
        DoublewordLLM(model=MODEL, zzz=1)


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
        ("heartbeat", 0),
        ("completion_window", "24h"),
        ("completion_window", "2h"),
        ("on_unknown", "guess"),
        ("api_key", a_key),
        ("max_retries", -1),
        ("temperature", 3.0),
        ("top_p", 1.5),
        ("max_tokens", 0),
        ("context_window", 0),
        ("additional_kwargs", {"n": 2}),
        ("additional_kwargs", {"service_tier": "standard"}),
        ("additional_kwargs", {"response_format": "json"}),
    ],
)
def test_a_setting_that_cannot_hold_is_refused_at_construction(emulator: Emulator, field: str, value: Any) -> None:
    settings = {"model": MODEL, "api_key": "sk-secret", "base_url": emulator.base_url, field: value}
    with pytest.raises(ValidationError) as caught:
        DoublewordLLM(**settings)
    named = next(iter(value)) if field == "additional_kwargs" else field
    assert named in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_tier", "standard"),
        ("service_tier", None),
        ("completion_window", "24h"),
        ("timeout", 0),
        ("heartbeat", -1),
        ("max_retries", -1),
        ("on_unknown", "guess"),
        ("run", 7),
        ("temperature", 3.0),
        ("temperature", "warm"),
        ("max_tokens", 0),
        ("model", ""),
        ("n", 2),
        ("logprobs", True),
        ("previous_response_id", "resp_1"),
        ("response_format", "json"),
        ("response_format", dict[str, int]),
        ("api_key", "other"),
        ("base_url", "http://elsewhere.invalid/v1"),
        ("extra_headers", {"a": "b"}),
        ("context_window", 5),
        ("system_prompt", "Be brief."),
        ("strict", True),
        ("additional_kwargs", {"seed": 1}),
        ("input", "Something else."),
        ("image_documents", ["a picture"]),
        ("extra_body", 7),
        ("reasoning", "high"),
        ("tools", "double"),
        ("tools", [7]),
    ],
)
async def test_a_setting_that_cannot_hold_is_refused_per_call(
    emulator: Emulator, llm: DoublewordLLM, field: str, value: Any
) -> None:
    for refused in (llm.complete, llm.stream_complete):
        with pytest.raises(InvalidStep) as caught:
            refused("Hi.", **{field: value})
        assert caught.value.field == field
    with pytest.raises(InvalidStep):
        await llm.achat([], **{field: value})
    assert emulator.counters.snapshot().requests == 0


@pytest.mark.parametrize("name", ["input", "messages"])
def test_no_extra_field_takes_the_place_of_the_conversation(emulator: Emulator, llm: DoublewordLLM, name: str) -> None:
    with pytest.raises(InvalidStep, match=f"{name} would replace the messages"):
        llm.complete("Hi.", extra_body={name: "Something else."})
    assert emulator.counters.snapshot().requests == 0


def test_the_mend_of_a_header_per_call_is_a_setting_that_there_is(llm: DoublewordLLM) -> None:
    with pytest.raises(InvalidStep, match=r"DoublewordLLM\(default_headers=\.\.\.\)"):
        llm.complete("Hi.", extra_headers={"X-Team": "blue"})


def test_what_the_service_drops_is_warned_about_once(llm: DoublewordLLM) -> None:
    with pytest.warns(DoublewordWarning, match="seed"):
        llm.complete("Hi.", seed=7)
    llm.complete("Hi.", seed=8)


def test_a_setting_can_be_changed_afterwards(emulator: Emulator, llm: DoublewordLLM) -> None:
    llm.service_tier = "priority"
    llm.complete("Hi.")
    assert emulator.counters.snapshot().realtime == 1
    llm.service_tier = "standard"
    with pytest.raises(InvalidStep, match="service_tier"):
        llm.complete("Hi.")


def test_llms_of_one_account_share_an_engine(emulator: Emulator, make_llm: MakeLLM) -> None:
    first, second = make_llm(), make_llm(model="Qwen/Qwen3-14B-FP8", temperature=0.5)
    assert first.engine is second.engine
    assert first.engine is Engine.shared(api_key=SecretStr(emulator.api_key), base_url=emulator.base_url)


@pytest.mark.parametrize(
    ("model", "window"),
    [("Qwen/Qwen3.5-35B-A3B-FP8", 262_144), ("Qwen/Qwen3-14B-FP8", 32_768), ("some/other-model", 131_072)],
)
def test_the_context_window_is_the_models_own_unless_it_is_said(model: str, window: int) -> None:
    assert DoublewordLLM(model=model).metadata.context_window == window
    assert DoublewordLLM(model=model, context_window=9_000).metadata.context_window == 9_000


def test_what_follows_from_the_metadata_leaves_room(make_llm: MakeLLM) -> None:
    """LlamaIndex's own default would make an agent's memory forget, and the limit of an answer is not known to it."""
    llm = make_llm(model="somebody/unheard-of")
    assert ChatMemoryBuffer.from_defaults(llm=llm).token_limit == 98_304
    assert PromptHelper.from_llm_metadata(llm.metadata).num_output == 256
    assert PromptHelper.from_llm_metadata(make_llm(max_tokens=700).metadata).num_output == 700


def test_a_model_without_tools_can_be_declared() -> None:
    llm = DoublewordLLM(model=MODEL, is_function_calling_model=False, max_tokens=50)
    assert not llm.metadata.is_function_calling_model
    assert llm.metadata.num_output == 50


def test_events_tell_the_tier(llm: DoublewordLLM) -> None:
    assert llm.to_payload()["service_tier"] == "flex"
