"""Every Python block that a user may copy runs, against the emulator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dw_agents.emulator.fixtures import emulator

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator

__all__ = ["emulator"]

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("integrations/*/README.md")),
    *sorted(ROOT.glob("cookbook/**/*.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # LlamaIndex's own agents
@pytest.mark.filterwarnings("ignore:is_running called:DeprecationWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_the_page_run_one_after_the_other(
    page: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", emulator.base_url)
    names = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    assert "Traceback" not in capsys.readouterr().err


def test_the_pages_have_examples() -> None:
    assert sum(len(blocks(page)) for page in PAGES) >= 4
