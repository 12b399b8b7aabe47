"""What was done and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dw_agents import Amount, ConfigurationError, Engine, Price, Prices, Receipt
from dw_agents.receipt import Line, Tally
from tests.core.steps import MODEL, step

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents.emulator import Emulator

MILLION = {(MODEL, "flex"): Line(steps=10, input_tokens=1_000_000, output_tokens=1_000_000)}


def test_every_price_of_the_catalogue_is_there() -> None:
    prices = Prices.load()
    assert prices.get("Qwen/Qwen3.5-35B-A3B-FP8", "realtime") == Price(0.25, 2.00)
    assert prices.get("Qwen/Qwen3.5-397B-A17B", "batch") == Price(0.15, 1.20)
    assert prices.get("Qwen/Qwen3-Embedding-8B", "flex") == Price(0.03, 0.0)
    assert prices.get("Qwen/Qwen3.5-4B", "realtime") is None
    assert len(prices.models) == 12


def test_a_cost_is_tokens_times_price() -> None:
    receipt = Receipt(lines=MILLION)
    assert receipt.cost().dollars == pytest.approx(0.37)
    assert receipt.cost(tier="realtime").dollars == pytest.approx(2.25)
    assert receipt.cost(tier="batch").dollars == pytest.approx(0.25)


def test_an_unknown_model_costs_unknown_and_never_zero() -> None:
    receipt = Receipt(lines={("my/model", "flex"): Line(steps=1, input_tokens=5)})
    assert receipt.cost() == Amount(0.0, ("my/model",))
    assert str(receipt.cost()) == "unknown (my/model)"
    assert "unknown" in str(receipt)
    mixed = Receipt(lines={**MILLION, **receipt.lines})
    assert str(mixed.cost()) == "$0.370000 + unknown (my/model)"


def test_an_answer_without_usage_makes_the_cost_unknown_too() -> None:
    receipt = Receipt(lines={(MODEL, "flex"): Line(steps=1, unmetered=1)})
    assert receipt.cost().unknown == (f"1 answers of {MODEL} without usage",)


def test_a_users_price_file_is_laid_over_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(f'["{MODEL}"]\nflex = [1, 2.0]\n["my/model"]\nflex = [3.0, 4.0]\n')
    monkeypatch.setenv("DW_AGENTS_PRICES", str(own))
    assert Prices.load().get(MODEL, "flex") == Price(1.0, 2.0)
    assert Prices.load().get(MODEL, "realtime") == Price(0.25, 2.00)
    assert Receipt(lines={("my/model", "flex"): Line(input_tokens=1_000_000)}).cost() == Amount(3.0)


@pytest.mark.parametrize(
    "text", ["not toml", '["m"]\nflexible = [1, 2]', '["m"]\nflex = [1]', '["m"]\nflex = "1"', "m = 3"]
)
def test_a_price_file_of_another_shape_is_refused_by_name(text: str, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(text)
    with pytest.raises(ConfigurationError, match=r"mine\.toml"):
        Prices.load(own)
    with pytest.raises(ConfigurationError, match="nowhere"):
        Prices.load(tmp_path / "nowhere.toml")


def test_the_difference_of_two_receipts_is_what_happened_in_between(engine: Engine) -> None:
    engine.run(step("one"))
    before = engine.receipt()
    engine.run(step("two"))
    between = engine.receipt() - before

    assert between.steps == 1
    assert between.requests["submit"] == 1
    assert before.steps == 1
    assert (engine.receipt() - engine.receipt()).lines == {}


def test_a_receipt_sums_what_the_service_reported(engine: Engine, emulator: Emulator) -> None:
    answers = [engine.run(step(f"number {i}")) for i in range(5)]
    line = engine.receipt().lines[MODEL, "flex"]
    usages = [answer.usage or {} for answer in answers]
    assert line.input_tokens == sum(usage["input_tokens"] for usage in usages)
    assert line.output_tokens == sum(usage["output_tokens"] for usage in usages)
    assert sum(engine.receipt().requests.values()) == emulator.counters.requests


def test_the_printed_receipt_shows_what_a_user_asks_for(engine: Engine) -> None:
    engine.run(step())
    text = str(engine.receipt())
    assert f"{MODEL}  flex" in text
    assert "HTTP requests:" in text
    assert "the same at realtime: $" in text


def test_details_of_usage_are_counted_in_either_spelling() -> None:
    tally = Tally()
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
    tally.ended(step(service_tier="priority"), answered=True, usage=usage)
    usage = {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 2}}
    tally.ended(step(service_tier="priority"), answered=True, usage=usage)
    expected = Line(steps=2, input_tokens=8, output_tokens=7, cached_tokens=3, reasoning_tokens=2)
    assert tally.receipt().lines == {(MODEL, "realtime"): expected}
