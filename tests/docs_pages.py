"""The documentation as the tests read it: pages, fenced blocks with their directives, tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"

_DIRECTIVE = re.compile(r"<!-- test: (?P<text>.+?) -->")
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)")


@attrs.frozen
class Block:
    """A fenced block.

    Attributes:
        page: relative to the repository.
        line: of its fence, from 1.
        language: ``python``, ``console``, ...; empty where none is given.
        text: between the fences, without the fence's indentation.
        directive: of the comment ``<!-- test: ... -->`` on the line before; None without one.
    """

    page: str
    line: int
    language: str
    text: str
    directive: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that a reader may meet."""
    extra = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("plugins/*/README.md")]
    return [*extra, *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in its order."""
    found = list(_blocks(name_of(page), page.read_text(encoding="utf-8").splitlines()))
    return [b for b in found if language is None or b.language == language]


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    numbered = enumerate(lines, 1)
    before = ""
    for number, line in numbered:
        opening = _FENCE.fullmatch(line)
        if opening is None:
            before = line
            continue
        inside = []
        for _, text in numbered:
            if text.strip() == "```":
                break
            inside.append(text.removeprefix(opening["indent"]))
        directive = _DIRECTIVE.fullmatch(before.strip())
        yield Block(
            page,
            number,
            opening["language"],
            "".join(f"{text}\n" for text in inside),
            directive and directive["text"],
        )
        before = ""


def prose(page: Path) -> str:
    """A page's text."""
    return page.read_text(encoding="utf-8")


def sections(page: Path, level: int) -> dict[str, str]:
    """Heading to the text below it, for the headings of one level."""
    parts = re.split(rf"^{'#' * level} (.+)$", prose(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row in a text, headings and rules left out."""
    rows = []
    for line in text.splitlines():
        if line.startswith("| "):
            cells = [c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows.append(cells)
    return rows


def quoted(text: str) -> set[str]:
    """Everything that stands in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))
