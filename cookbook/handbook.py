"""The handbook in ``documents/``, as the tools of an agent see it: search, open, follow.

Owns: reading the pages, their sections and links, and a small word search. Must not import LangChain.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["DOCUMENTS", "Handbook", "Section"]

DOCUMENTS = Path(__file__).parent / "documents"

_LINK = re.compile(r"^Read next: \[[^\]]+\]\(([\w-]+)\.md#([\w-]+)\)\.$", re.MULTILINE)
_WORD = re.compile(r"[a-z0-9]{3,}")
_TITLE_WEIGHT = 3


@dataclass(frozen=True)
class Section:
    """One section of a page.

    Attributes:
        section_id: page and heading, such as ``"flex#what-flex-is"``.
        title: its heading.
        subject: the heading of its page.
        text: its text, without the link.
        reference_id: the section that it sends readers to.
    """

    section_id: str
    title: str
    subject: str
    text: str
    reference_id: str

    @cached_property
    def words(self) -> Counter[str]:
        """How often each word occurs; a word of a heading counts three times."""
        words = Counter(_stems(self.text))
        for word in _stems(f"{self.title} {self.subject}"):
            words[word] += _TITLE_WEIGHT
        return words


class Handbook:
    """All sections of the handbook.

    Args:
        folder: where the pages are, in Markdown.

    Raises:
        ValueError: a section has no link, or a link leads nowhere.
    """

    def __init__(self, folder: Path = DOCUMENTS) -> None:
        pages = sorted(folder.glob("*.md"))
        self.sections = {section.section_id: section for page in pages for section in _read(page)}
        for section in self.sections.values():
            if section.reference_id not in self.sections:
                raise ValueError(f"{section.section_id} refers to {section.reference_id!r}, which does not exist")
        self._spread = Counter(word for section in self.sections.values() for word in section.words)

    def search(self, query: str) -> str:
        """Find the sections whose words fit the query best, the best first.

        Args:
            query: a question or some words.
        """
        words = set(_stems(query))
        ranked = sorted(self.sections.values(), key=lambda section: (-self._score(section, words), section.section_id))
        return json.dumps([{"section_id": hit.section_id, "title": hit.title} for hit in ranked[:2]])

    def open_section(self, section_id: str) -> str:
        """Read a section that the search found; names the section to read next.

        Args:
            section_id: as given by search.
        """
        return self._page(section_id)

    def follow_reference(self, reference_id: str) -> str:
        """Read the section that another one refers to.

        Args:
            reference_id: as given by open_section.
        """
        return self._page(reference_id)

    def _page(self, ident: str) -> str:
        section = self.sections.get(ident)
        if section is None:
            return f"There is no section {ident!r}. Search for one."
        return json.dumps({"title": section.title, "text": section.text, "reference_id": section.reference_id})

    def _score(self, section: Section, words: set[str]) -> float:
        length = 1 + math.log(1 + sum(section.words.values()))
        rarity = {word: math.log(1 + len(self.sections) / self._spread[word]) for word in words & section.words.keys()}
        return sum(math.sqrt(section.words[word]) * weight for word, weight in rarity.items()) / length


def _read(page: Path) -> list[Section]:
    head, *parts = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    subject = head.partition("\n")[0].removeprefix("# ")
    sections = []
    for part in parts:
        title, _, body = part.partition("\n")
        link = _LINK.search(body)
        if link is None:
            raise ValueError(f"the section {title!r} of {page.name} has no line 'Read next: [...](page.md#heading).'")
        slug = re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-")
        text = " ".join(body[: link.start()].split())
        sections.append(Section(f"{page.stem}#{slug}", title, subject, text, f"{link[1]}#{link[2]}"))
    return sections


def _stems(text: str) -> list[str]:
    """Split into words, without the endings that most often differ."""
    return [re.sub(r"(?:ing|ed|es|s)$", "", word) for word in _WORD.findall(text.lower())]
