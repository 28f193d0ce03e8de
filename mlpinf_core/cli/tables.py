"""Tables on standard output, and what becomes of them where they are too wide for the terminal."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

from mlpinf_core.cli.console import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GAP: Final = 3
"""Columns of the terminal between two of a table."""
_LONGEST: Final = 3
"""The column with the longest word has room for that, or for the n-th part of the width, so that
one long path does not decide the form."""
_WORD: Final = re.compile(r"^\s*\S+|\S+")
"""What stands on one line of the terminal: an indent stays with its word."""
_GOOD: Final = frozenset({"VALID", "passed", "ok", "loaded"})
_BAD: Final = frozenset(
    {"INVALID", "failed", "FAILED", "bug", "import error", "missing dependency", "duplicate"}
)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """A table on standard output; None is an empty cell.

    Where the terminal is too narrow for its words, each row becomes lines of its own.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    out = console()
    widths = _widths([columns, *cells], out.width)
    if widths is None:
        for line in _blocks(columns, cells, title, out.width):
            out.print(Text(line), soft_wrap=True)
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", width=width)
    for row in cells:
        table.add_row(*(Text(cell, _style(cell)) for cell in row))
    out.print(table)


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The width of each column, so that no word is broken; None where there is no room for that.

    The one column with the longest word may be narrower than that word, where the others leave it
    little, but not less than its share of the width.
    """
    columns = list(zip(*rows, strict=True))
    room -= _GAP * len(columns) - 1
    lines = [[line for cell in column for line in cell.splitlines()] for column in columns]
    most = [max(map(len, column), default=0) for column in lines]
    words = [[len(word) for line in column for word in _WORD.findall(line)] for column in lines]
    widths = [max(found, default=0) for found in words]
    lacking = sum(widths) - room
    if lacking > 0:
        widest = widths.index(max(widths))
        widths[widest] -= lacking
        return None if widths[widest] < max(1, room // _LONGEST) else widths
    while (spare := room - sum(widths)) > 0:
        wanting = [index for index, width in enumerate(widths) if width < most[index]]
        if not wanting:
            break
        for index in wanting[:spare]:
            widths[index] += 1
    return widths


def _blocks(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None, width: int
) -> Iterable[str]:
    """A row as its first cell, and the others below it, each with the name of its column."""
    if title:
        yield title
    for first, *others in rows:
        yield ", ".join(first.splitlines())
        for column, cell in zip(columns[1:], others, strict=True):
            if not cell:
                continue
            text = "  " + (f"{column}: " if column else "") + ", ".join(cell.splitlines())
            yield textwrap.fill(
                text,
                width,
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def _style(cell: str) -> str:
    """Verdicts are seen at a glance."""
    return "bold green" if cell in _GOOD else "bold red" if cell in _BAD else ""
