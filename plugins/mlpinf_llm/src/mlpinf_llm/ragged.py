"""Rows of different lengths in two flat files: the values, and where each row begins.

A data set of 24,576 prompts is a few dozen megabytes this way. It is memory-mapped: opened in a
millisecond, and shared by all processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import attrs
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@attrs.frozen(eq=False)
class Ragged:
    """Rows of numbers.

    Attributes:
        values: [total], all rows one after the other.
        offsets: int64 [rows + 1], where each begins.
    """

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def open(cls, directory: Path, name: str) -> Ragged:
        """Map what :func:`write` wrote."""
        values, offsets = _files(directory, name)
        return cls(np.load(values, mmap_mode="r"), np.load(offsets, mmap_mode="r"))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        """One row, [length], without a copy."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """The rows in order."""
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [rows], values in each."""
        return np.diff(self.offsets)

    def padded(
        self, pad: int, width: int | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
        """The rows as a matrix, filled up on the right.

        Args:
            pad: what it is filled up with.
            width: columns; None is the longest row's length.

        Returns:
            [rows, width] of the rows' type, and the lengths, int32 [rows].

        Raises:
            ValueError: a row is longer than ``width``.
        """
        lengths = self.lengths
        longest = int(lengths.max(initial=0))
        width = longest if width is None else width
        if longest > width:
            row = int(lengths.argmax())
            raise ValueError(f"row {row} has {longest} values, and the matrix {width} columns")
        matrix = np.full((len(self), width), pad, dtype=self.values.dtype)
        for row, values in enumerate(self):
            matrix[row, : len(values)] = values
        return matrix, lengths.astype(np.int32)


class Texts(Sequence[str]):
    """Rows of text, kept as UTF-8."""

    def __init__(self, rows: Ragged) -> None:
        self._rows = rows

    @classmethod
    def open(cls, directory: Path, name: str) -> Texts:
        """Map what :func:`write_texts` wrote."""
        return cls(Ragged.open(directory, name))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        """One row, or a list of some."""
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return bytes(self._rows[row % len(self)]).decode("utf-8", "surrogatepass")


def write(
    directory: Path, name: str, rows: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike
) -> None:
    """Write rows, one at a time: no second copy of them is made in memory."""
    values_file, offsets_file = _files(directory, name)
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    np.save(offsets_file, offsets)
    total = int(offsets[-1])
    if total == 0:  # nothing to map
        np.save(values_file, np.empty(0, dtype=dtype))
        return
    values = np.lib.format.open_memmap(values_file, mode="w+", dtype=dtype, shape=(total,))
    for row, start, end in zip(rows, offsets[:-1], offsets[1:], strict=True):
        values[start:end] = row
    values.flush()


def write_texts(directory: Path, name: str, texts: Sequence[str]) -> None:
    """Write rows of text."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    write(directory, name, [np.frombuffer(row, dtype=np.uint8) for row in encoded], np.uint8)


def _files(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.npy", directory / f"{name}_offsets.npy"
