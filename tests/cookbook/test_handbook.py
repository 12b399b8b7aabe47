"""The handbook and its search."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from demo import QUESTIONS
from handbook import DOCUMENTS, Handbook

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def handbook() -> Handbook:
    return Handbook()


def test_there_are_eight_to_twelve_pages_of_a_readable_length() -> None:
    lengths = {page.name: len(page.read_text(encoding="utf-8").split()) for page in DOCUMENTS.glob("*.md")}
    assert 8 <= len(lengths) <= 12
    assert all(300 <= words <= 700 for words in lengths.values()), lengths


def test_every_link_of_every_section_leads_to_a_section(handbook: Handbook) -> None:
    assert all(section.reference_id in handbook.sections for section in handbook.sections.values())


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Page\n\n## One\n\nText.\n\nRead next: [x](gone.md#two).\n", encoding="utf-8")
    with pytest.raises(ValueError, match="gone#two"):
        Handbook(tmp_path)


def test_a_section_without_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Page\n\n## One\n\nText.\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Read next"):
        Handbook(tmp_path)


@pytest.mark.parametrize(
    ("question", "section_id"),
    [
        ("How long may a flex job stay queued?", "flex#how-long-a-job-may-stay-queued"),
        ("Which tier do embeddings use?", "embeddings#which-tier-embeddings-use"),
        ("What does a receipt count?", "receipts#what-is-counted"),
        ("How do I find a batch again after a crash?", "batch#finding-a-batch-again"),
        ("What happens when the reply to a submission is lost?", "retries#when-the-reply-is-lost"),
    ],
)
def test_a_search_finds_the_section_about_the_question(handbook: Handbook, question: str, section_id: str) -> None:
    assert section_id in [hit["section_id"] for hit in json.loads(handbook.search(question))]


def test_each_question_of_the_demo_leads_to_sections_that_can_be_opened(handbook: Handbook) -> None:
    for question in QUESTIONS:
        hit = json.loads(handbook.search(question))[0]
        page = json.loads(handbook.open_section(hit["section_id"]))
        assert json.loads(handbook.follow_reference(page["reference_id"]))["text"]


def test_an_unknown_section_is_answered_with_advice(handbook: Handbook) -> None:
    assert "Search" in handbook.open_section("nowhere#at-all")
