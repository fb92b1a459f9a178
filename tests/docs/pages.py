"""Markdown pages as the tests read them: sections by heading, rows of tables, code blocks by their marks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block; `mark` is the comment in front of it."""

    mark: str
    language: str
    text: str


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    return [Block(*(part or "" for part in found)) for found in BLOCK.findall(text)]


def marked(name: str, mark: str) -> str:
    """The text of the one block with this mark."""
    (found,) = [block.text for block in blocks(page(name)) if block.mark == mark]
    return found


def sections(text: str) -> dict[str, str]:
    """heading -> what stands below it, up to the next heading of any level."""
    prose = BLOCK.sub(lambda block: block[0].replace("\n#", "\n\x00#"), text)
    parts = re.split(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {head.strip(): body.replace("\x00", "") for head, body in zip(parts[1::2], parts[2::2], strict=True)}


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row but the head; a `|` inside code stands as `\\|`."""
    table = False
    for line in text.splitlines():
        if not line.startswith("|"):
            table = False
        elif re.fullmatch(r"\|[\s|:-]+\|", line):
            table = True
        elif table:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def codes(text: str) -> set[str]:
    """Everything that stands between backticks, and each word of it."""
    found = re.findall(r"`([^`\n]+)`", text)
    return {*found, *(word for text in found for word in text.split())}


def anchor(heading: str) -> str:
    """The name under which a heading can be linked to."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
