"""Tables that people read on terminals of any width: no word is broken to make one fit."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.cli import cli, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("benchmark", "", "scenarios", "backends")
ROWS = (
    ("stable-diffusion-xl", "images from text", "Offline, SingleStream", "torch\ntensorrt"),
    ("null", None, "Offline", "none (missing: pip install 'some-thing[more]')"),
)


def printed(
    width: int, columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None
) -> list[str]:
    """The lines of a table on a terminal of some width."""
    from rich.console import Console

    file = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "console", lambda: Console(file=file, width=width))
        tables.print_table(columns, rows, title=title)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def words(texts: Sequence[object]) -> list[str]:
    return [word for text in texts for word in str(text).split()]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 79, 80, 100, 140])
def test_no_word_is_broken_at_any_width(width: int) -> None:
    found = words([line.replace(",", " ") for line in printed(width, COLUMNS, ROWS)])
    for row in ROWS:
        for word in words([str(cell).replace(",", " ") for cell in row if cell]):
            assert word in found


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_table_is_never_wider_than_its_terminal(width: int) -> None:
    assert all(len(line) <= width for line in printed(width, COLUMNS, ROWS))


def test_what_fits_is_a_table_and_what_does_not_is_a_block_a_row() -> None:
    wide, narrow = printed(140, COLUMNS, ROWS), printed(40, COLUMNS, ROWS, "All")
    assert any("benchmark" in line and "backends" in line for line in wide)
    assert narrow[:5] == [
        "All",
        "stable-diffusion-xl",
        "  images from text",
        "  scenarios: Offline, SingleStream",
        "  backends: torch, tensorrt",
    ]


def test_one_long_path_does_not_decide_the_form() -> None:
    found = printed(80, ("name", "path"), [("a", "/" + "x" * 200)])
    assert any("name" in line and "path" in line for line in found)


def test_a_table_without_rows_has_its_heading() -> None:
    assert any("benchmark" in line for line in printed(80, COLUMNS, []))


@given(
    width=st.integers(20, 160),
    rows=st.lists(st.tuples(*[st.text("ab \n", max_size=40)] * 3), max_size=4),
)
def test_whatever_is_in_it_a_table_of_short_words_can_be_printed(
    width: int, rows: list[tuple[str, str, str]]
) -> None:
    said = "".join(printed(width, ("a", "b", "c"), rows))
    for row in rows:
        for word in words(row):
            assert len(word) > 5 or word in said


def test_the_list_of_benchmarks_keeps_its_words_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    monkeypatch.setattr(tables, "console", lambda: Console(file=sys.stdout, width=50))
    cli.main(["list"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "SingleStream" in said
    assert "MultiStream" in said
