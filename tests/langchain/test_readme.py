"""The README's code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw_agents.adapting.carry import RULES, Verdict

if TYPE_CHECKING:
    import pytest

    from dw_agents.emulator import Emulator

README = Path(__file__).parents[2] / "integrations" / "langchain" / "README.md"


def test_the_readmes_code_runs_top_to_bottom(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", emulator.base_url)
    names: dict[str, Any] = {"__name__": "readme"}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 10
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert "717710" in names["state"]["messages"][-1].text
    assert (names["city"].name, names["city"].people) == ("Oslo", 717710)
    assert len(names["answers"]) == 100
    assert "291940" in names["states"][1]["messages"][-1].text
    assert "flex" in capsys.readouterr().out
    assert len(names["vectors"]) == 1000
    counts = emulator.counters.snapshot()
    assert counts.realtime == 2  # the one call that asked for it, and the query
    assert (counts.batches, counts.lines) == (3, 100 + 1 + 4)


def test_the_readme_names_every_verdict_that_users_meet() -> None:
    """Fields of other servers that users may bring along need no line of their own."""
    text = README.read_text(encoding="utf-8")
    common = {"n", "logprobs", "logit_bias", "cache_control", "chat_template_kwargs", "previous_response_id"}
    assert common <= {name for name, rule in RULES.items() if rule.verdict is Verdict.REFUSED}
    assert all(f"`{name}`" in text for name in common)
