"""What all tests share: no test writes the journal of whoever runs it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the journal name theirs."""
    monkeypatch.setenv("DW_AGENTS_JOURNAL", "off")
    monkeypatch.delenv("DW_AGENTS_RUN", raising=False)
