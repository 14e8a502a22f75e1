"""As much of Markdown as the project's own pages use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
DOCS: Final = CHECKOUT / "docs"
README: Final = CHECKOUT / "README.md"
CONTRIBUTING: Final = CHECKOUT / "CONTRIBUTING.md"
PAGES: Final = [*sorted(CHECKOUT.glob("*.md")), *sorted(DOCS.glob("*.md"))]

FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and the heading that it stands below."""

    heading: str
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The page's fenced blocks, in their order."""
    for heading, text in sections(page):
        for language, content in FENCE.findall(text):
            yield Block(heading, language, content)


def sections(page: Path) -> Iterator[tuple[str, str]]:
    """Each heading without its backticks, and the text down to the next one."""
    text = page.read_text(encoding="utf-8")
    fenced = [match.span() for match in FENCE.finditer(text)]
    headings = [
        match
        for match in HEADING.finditer(text)
        if not any(start < match.start() < end for start, end in fenced)  # a comment in a shell script
    ]
    for match, following in zip(headings, [*headings[1:], None], strict=True):
        yield match[1].replace("`", ""), text[match.end() : following.start() if following else None]


def section(page: Path, heading: str) -> str:
    """The text below the one heading of this name."""
    [text] = [text for name, text in sections(page) if name == heading]
    return text


def table(text: str) -> list[list[str]]:
    """The cells of the first table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(page: Path) -> set[str]:
    """What can be linked to, as GitHub makes it of the headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading, _ in sections(page)
    }


def links(page: Path) -> list[str]:
    """Where the page's links and pictures lead."""
    return LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def column(text: str, number: int = 0) -> list[str]:
    """One column of the first table, without backticks."""
    return [row[number].replace("`", "") for row in table(text)]


def by_first_column(text: str) -> Mapping[str, list[str]]:
    """The rows of the first table by their first cell, without backticks."""
    return {row[0].replace("`", ""): row[1:] for row in table(text)}
