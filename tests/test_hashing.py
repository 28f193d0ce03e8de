"""A copy is whole or not there, and an error of making one names the file that it is about."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.hashing import copy_atomically

from .disks import ROOM, full_disk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (1 << 21) + 1])
def test_a_copy_of_any_size_is_the_whole_file(size: int, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * size)
    target.write_text("the old one")
    copy_atomically(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


# Below what is buffered, and above it: the error comes from the flush, or from the write.
@pytest.mark.parametrize("size", [ROOM + 1, 1 << 21])
def test_where_the_disk_is_full_the_error_names_the_copy(size: int, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * size)
    target.write_text("the old one")
    with pytest.raises(OSError, match="too large") as caught, full_disk():
        copy_atomically(source, target)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(target)
    assert target.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "folder"
    source.write_text("x")
    target.mkdir()
    for place in (target, tmp_path / "missing" / "target"):
        with pytest.raises(OSError, match="director") as caught:
            copy_atomically(source, place)
        assert caught.value.filename == str(place)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("there", [False, True])
def test_what_cannot_be_read_is_named(there: bool, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    if there:
        source.symlink_to("/proc/self/mem")  # it opens, and its first byte cannot be read
    with pytest.raises(OSError) as caught:  # noqa: PT011 - another one on each system
        copy_atomically(source, target)
    assert caught.value.filename == str(source)
    assert not target.exists()
