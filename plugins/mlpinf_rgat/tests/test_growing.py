"""A file that grows: what is on disk is kept, what is not is written again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpinf_rgat.growing import GrowingArray

if TYPE_CHECKING:
    from pathlib import Path

DATA = np.arange(24, dtype=np.float32).reshape(8, 3)


def array(path: Path, dtype: str = "float32", shape: tuple[int, ...] = (8, 3)) -> GrowingArray:
    return GrowingArray(path / "a.npy", dtype, shape)


def grow(path: Path, *parts: tuple[int, int]) -> GrowingArray:
    growing = array(path)
    with growing:
        for start, stop in parts:
            growing.append(DATA[start:stop])
    return growing


def test_an_array_written_in_parts_is_an_ordinary_file(tmp_path: Path) -> None:
    growing = array(tmp_path)
    with growing:
        growing.append(DATA[:5])
        growing.append(DATA[5:])
        growing.finish()
    assert np.array_equal(np.load(tmp_path / "a.npy"), DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert growing.complete


def test_a_second_writer_goes_on_after_the_rows_that_are_on_disk(tmp_path: Path) -> None:
    grow(tmp_path, (0, 2), (2, 5))
    assert not (tmp_path / "a.npy").exists()
    growing = array(tmp_path)
    with growing:
        assert growing.rows == 5
        growing.append(DATA[5:])
        growing.finish()
    assert np.array_equal(np.load(tmp_path / "a.npy"), DATA)


def test_rows_that_were_written_and_not_noted_are_written_again(tmp_path: Path) -> None:
    grow(tmp_path, (0, 2))
    with (tmp_path / "a.npy.part").open("ab") as file:
        file.write(b"half a row")
    growing = array(tmp_path)
    with growing:
        assert growing.rows == 2
        growing.append(DATA[2:])
        growing.finish()
    assert np.array_equal(np.load(tmp_path / "a.npy"), DATA)


@pytest.mark.parametrize("damage", ["another shape", "no note", "a torn note", "a short part"])
def test_a_part_that_is_not_the_beginning_of_this_array_is_begun_anew(
    damage: str, tmp_path: Path
) -> None:
    grow(tmp_path, (0, 4))
    note, part = tmp_path / "a.npy.part.json", tmp_path / "a.npy.part"
    if damage == "no note":
        note.unlink()
    if damage == "a torn note":
        note.write_text('{"rows": 4')
    if damage == "a short part":
        part.write_bytes(part.read_bytes()[:-1])
    growing = array(tmp_path, shape=(9, 3)) if damage == "another shape" else array(tmp_path)
    with growing:
        assert growing.rows == 0


def test_an_array_with_rows_missing_does_not_get_its_name(tmp_path: Path) -> None:
    growing = array(tmp_path)
    with growing:
        growing.append(DATA[:7])
        with pytest.raises(ValueError, match="7 of 8 rows"):
            growing.finish()
    assert not growing.complete


def test_outside_its_block_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside its with block"):
        array(tmp_path).append(DATA)
