"""Tables that people read on terminals of any width: no word is broken to make one fit."""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
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


@pytest.mark.parametrize(
    ("width", "columns", "row"),
    [
        (20, ("a", "b", "c"), ("aaaaa", "bbbbb", "ababa")),
        (20, ("a", "b"), ("aaaaaaaaaaa", "bbbbbbbbbbbb")),
        (20, ("a", "b"), ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbb")),
        (30, ("a", "b", "c"), ("aaaaaaaaaaaaa", "bbbbbbbbbbbbb", "ccc")),
    ],
)
def test_where_more_than_one_column_has_no_room_for_its_words_each_row_is_a_block(
    width: int, columns: Sequence[str], row: Sequence[str]
) -> None:
    first, *others = printed(width, columns, [row])
    assert first == row[0]
    assert others == [f"  {name}: {cell}" for name, cell in zip(columns[1:], row[1:], strict=True)]


@pytest.mark.parametrize("path", ["/" + "x" * 40, "/x" * 60])
def test_the_column_with_the_longest_word_gives_way_to_the_others(path: str) -> None:
    columns = ("workload", "scenario", "problem")
    found = printed(55, columns, [("stable-diffusion-xl", "Offline", f"lacks {path}")])
    assert any(all(column in line for column in columns) for line in found)
    assert {"stable-diffusion-xl", "Offline", "lacks"} <= set(words(found))
    assert all(len(line) <= 55 for line in found)


def test_where_the_longest_word_would_get_less_than_its_share_each_row_is_a_block() -> None:
    row = ("stable-diffusion-xl", "SingleStream", "/" + "x" * 40)
    found = printed(50, ("workload", "scenario", "problem"), [row])
    assert found == [row[0], "  scenario: SingleStream", "  problem:", f"    {row[2]}"]


def test_two_columns_share_what_is_left_over_their_words() -> None:
    found = printed(30, ("name", "said"), [("abc " * 9, "defghijk")])
    assert set(words(found)) >= {"abc", "defghijk"}
    assert max(map(len, found)) > 25


@example(width=16, rows=[("", " aa", "aaaaa")])
@given(
    width=st.integers(16, 160),
    rows=st.integers(1, 3).flatmap(
        lambda n: st.lists(st.tuples(*[st.text("ab \n", max_size=40)] * n), min_size=1, max_size=4)
    ),
)
def test_whatever_is_in_it_only_the_column_with_the_longest_word_has_words_broken(
    width: int, rows: list[tuple[str, ...]]
) -> None:
    columns = ("x", "y", "z")[: len(rows[0])]
    share = (width - 3 * len(columns) + 1) // 3
    found = {word.strip(",") for word in words(printed(width, columns, rows))}
    cells = [
        [line for cell in column for line in cell.splitlines()]
        for column in zip(*rows, strict=True)
    ]
    broken = [[word for word in words(column) if word not in found] for column in cells]
    # An indent belongs to the word behind it.
    longest = [
        max((len(word) for line in column for word in re.findall(r"^ *\S+|\S+", line)), default=0)
        for column in cells
    ]
    assert sum(map(bool, broken)) <= 1
    for lost, most in zip(broken, longest, strict=True):
        assert not lost or share < most == max(longest)


def test_the_list_of_benchmarks_keeps_its_words_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    monkeypatch.setattr(tables, "console", lambda: Console(file=sys.stdout, width=50))
    cli.main(["list"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "SingleStream" in said
    assert "MultiStream" in said
