"""What the service drops is refused, warned about once, or left out because it asks for nothing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.adapting.carry import RULES, Verdict
from langchain_dw_agents import DoublewordWarning
from langchain_dw_agents.errors import InvalidStep
from tests.langchain.wire import bodies

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from langchain_dw_agents import ChatDoubleword
    from tests.langchain.conftest import MakeModel

REFUSED: dict[str, Any] = {
    "n": 2,
    "best_of": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {5: 1},
    "include": ["message.output_text.logprobs"],
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "prompt": {"id": "p"},
    "context_management": [{"type": "compaction"}],
    "cache_control": {"type": "ephemeral"},
    "prompt_cache_options": {"ttl": "1h"},
    "chat_template_kwargs": {"enable_thinking": False},
    "enable_thinking": False,
    "thinking": {"type": "disabled"},
    "thinking_token_budget": 100,
    "guided_json": {},
    "guided_regex": "a*",
    "guided_choice": ["a"],
    "guided_grammar": "g",
    "structured_outputs": {"choice": ["a"]},
    "functions": [{"name": "f"}],
    "function_call": "auto",
    "audio": {"voice": "alloy"},
    "modalities": ["text", "audio"],
    "stream_options": {"include_obfuscation": False},
    "background": False,
}
TUNING: dict[str, Any] = {
    "seed": 7,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "top_k": 20,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "max_tool_calls": 2,
    "truncation": "auto",
    "verbosity": "low",
}
IDLE: dict[str, Any] = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0,
    "repetition_penalty": 1.0,
    "truncation": "disabled",
    "stream_options": {"include_usage": True},
    "background": True,
    "modalities": ["text"],
    "chat_template_kwargs": {},
    "seed": None,
}


def test_every_verdict_that_users_notice_is_tested() -> None:
    assert {name for name, rule in RULES.items() if rule.verdict is Verdict.REFUSED} == set(REFUSED)
    assert {name for name, rule in RULES.items() if rule.verdict is Verdict.TUNING} == set(TUNING) - {"verbosity"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_whose_loss_changes_answer_or_bill_is_refused(
    emulator: Emulator, llm: ChatDoubleword, name: str
) -> None:
    with pytest.raises(InvalidStep, match=rf"^{name}=.*Instead: ") as caught:
        llm.bind(**{name: REFUSED[name]}).invoke("Hi.")
    assert caught.value.field == name
    assert emulator.counters.snapshot().requests == 0


@pytest.mark.parametrize("name", TUNING)
def test_a_field_that_only_tunes_is_warned_about_once(emulator: Emulator, llm: ChatDoubleword, name: str) -> None:
    tuned = llm.bind(**{name: TUNING[name]})
    with pytest.warns(DoublewordWarning, match=rf"^{name}=.*no effect.*Instead: ") as said:
        tuned.invoke("Hi.")
    assert len(said) == 1
    tuned.invoke("Hi.")  # a second warning would be an error here
    assert emulator.counters.snapshot().flex == 2


@pytest.mark.parametrize("name", IDLE)
def test_a_value_that_asks_for_nothing_is_left_out_silently(emulator: Emulator, llm: ChatDoubleword, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.bind(**{name: IDLE[name]}).invoke("Hi.")
    body = bodies(emulator)[0]
    assert name not in body or name == "background"  # which is the flex tier's own


def test_harmless_fields_travel_silently(emulator: Emulator, make_model: MakeModel) -> None:
    make_model(metadata={"run": "1"}, store=True).bind(user="ada", safety_identifier="x", prompt_cache_key="k").invoke(
        "Hi."
    )
    body = bodies(emulator)[0]
    assert (body["store"], body["user"], body["safety_identifier"], body["prompt_cache_key"]) == (True, "ada", "x", "k")


def test_carried_fields_arrive(emulator: Emulator, make_model: MakeModel) -> None:
    make_model(temperature=0.2, top_p=0.9, max_tokens=64, reasoning_effort="low", stop_sequences=["x"]).invoke("Hi.")
    body = bodies(emulator)[0]
    assert (body["temperature"], body["top_p"], body["max_output_tokens"]) == (0.2, 0.9, 64)
    assert body["reasoning"] == {"effort": "low"}
    assert body["stop"] == ["x"]


def test_an_unknown_field_is_warned_about_by_name(llm: ChatDoubleword) -> None:
    with pytest.warns(DoublewordWarning, match="temprature"):
        llm.bind(temprature=0.1).invoke("Hi.")


def test_extra_body_is_judged_field_by_field(emulator: Emulator, make_model: MakeModel) -> None:
    thoughtless = make_model(extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    with pytest.raises(InvalidStep, match="reasoning_effort"):
        thoughtless.invoke("Hi.")
    assert emulator.counters.snapshot().requests == 0


def test_fields_of_the_constructor_are_judged_like_those_of_a_call(emulator: Emulator, make_model: MakeModel) -> None:
    with pytest.raises(InvalidStep, match=r"^n=2"):
        make_model(n=2).invoke("Hi.")
    with pytest.warns(DoublewordWarning, match=r"^seed=7"):
        make_model(seed=7).invoke("Hi.")
    assert emulator.counters.snapshot().flex == 1


@pytest.mark.parametrize("tool", ["web_search", "code_interpreter", "mcp", "file_search"])
def test_built_in_tools_are_refused(emulator: Emulator, llm: ChatDoubleword, tool: str) -> None:
    with pytest.raises(InvalidStep, match=f"{tool}.*bind a function"):
        llm.bind_tools([{"type": tool, "name": "x"}]).invoke("Hi.")
    assert emulator.counters.snapshot().requests == 0


def test_a_reasoning_budget_is_refused(emulator: Emulator, make_model: MakeModel) -> None:
    with pytest.raises(InvalidStep, match="only the effort"):
        make_model(reasoning={"effort": "low", "max_tokens": 100}).invoke("Hi.")
    assert emulator.counters.snapshot().requests == 0


def test_an_unknown_tool_choice_is_refused(emulator: Emulator, llm: ChatDoubleword) -> None:
    with pytest.raises(InvalidStep, match="name of a bound tool"):
        llm.bind(tool_choice="nobody").invoke("Hi.")
    assert emulator.counters.snapshot().requests == 0
