"""Steps that cannot travel are refused before anything is sent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents import ConfigurationError, Engine, InvalidStep, MissingAPIKey, Step
from tests.core.steps import MODEL, step

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"service_tier": "cheap"}, "service_tier"),
    ({"body": {"model": ""}}, "model"),
    ({"body": {"model": None}}, "model"),
    ({"body": {"n": 2}}, "n"),
    ({"body": {"stream": True}}, "stream"),
    ({"body": {"service_tier": "priority"}}, "service_tier"),
    ({"body": {"background": False}}, "service_tier"),
    ({"body": {"previous_response_id": "resp_1"}}, "previous_response_id"),
    ({"body": {"tools": [object()]}}, "body"),
    ({"body": {"temperature": {1, 2, object()}}}, "body"),
    ({"body": {"input": "x" * (10 * 1024 * 1024)}}, "body"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": math.nan}, "timeout"),
    ({"max_retries": -1}, "max_retries"),
    ({"on_unknown": "guess"}, "on_unknown"),
    ({"completion_window": "24h"}, "completion_window"),
    ({"endpoint": "/embeddings"}, "service_tier"),
    ({"endpoint": "/chat/completions"}, "endpoint"),
    ({"endpoint": "/files", "service_tier": "priority"}, "endpoint"),
]


@pytest.mark.parametrize(("settings", "field"), REFUSED)
def test_a_bad_step_names_its_field_and_is_not_sent(
    settings: dict[str, Any], field: str, engine: Engine, emulator: Emulator
) -> None:
    with pytest.raises(InvalidStep) as caught:
        engine.submit(step(**settings))

    assert caught.value.field == field
    assert str(caught.value).endswith(".")
    assert emulator.counters.requests == 0


def test_a_body_that_is_no_object_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidStep, match="JSON object"):
        engine.submit(Step(body=[("model", MODEL)]))  # type: ignore[arg-type]


def test_no_key_is_an_error_when_the_engine_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("DOUBLEWORD_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingAPIKey):
        Engine()


@pytest.mark.parametrize("bad", [{"on_unknown": "guess"}, {"max_polls_per_second": 0}])
def test_a_bad_engine_setting_names_its_field(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Engine(api_key="sk", **bad)
    assert caught.value.field == next(iter(bad))
