"""A NumPy file that grows from the front, and is continued where its writer was stopped."""

from __future__ import annotations

import json
import os
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np

from mlpinf_core.hashing import sync_folder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt


class GrowingArray:
    """Writes ``<path>`` row by row through ``<path>.part``.

    The file gets its name when it is complete and on disk, so its name says that it is done. Beside
    the part lies a note of how many rows are on disk; rows beyond them are written again.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        """Name the file; nothing is written before the block is entered."""
        self.path = path
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.rows = 0
        """Rows that are on disk."""
        self._part = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")
        self._file: IO[bytes] | None = None

    @property
    def complete(self) -> bool:
        """Whether the file has its name."""
        return self.path.exists()

    def __enter__(self) -> Self:
        """Open the part, at the first row that is not on disk."""
        header = self._header()
        self.rows = self._noted(len(header))
        self._file = self._part.open("r+b" if self._part.exists() else "w+b")
        if self.rows == 0:
            self._file.write(header)
        self._file.truncate(len(header) + self.rows * self._row_bytes)
        self._file.seek(0, os.SEEK_END)
        return self

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write rows, and have them on disk; the last ones are when the file gets its name.

        Raises:
            OSError: the disk is full, say.
        """
        file = self._open_file
        file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.rows += len(rows)
        if self.rows == self.shape[0]:
            return
        file.flush()
        os.fsync(file.fileno())
        note = {"rows": self.rows, "dtype": self.dtype.str, "shape": list(self.shape)}
        write_atomically(self._note, json.dumps(note).encode())

    def finish(self) -> None:
        """Give the file its name.

        Raises:
            ValueError: rows are missing.
        """
        if self.rows != self.shape[0]:
            raise ValueError(f"{self.rows} of {self.shape[0]} rows of {self.path} were written")
        file = self._open_file
        file.flush()
        os.fsync(file.fileno())
        self._part.rename(self.path)
        sync_folder(self.path.parent)
        self._note.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the part; it stays where it is not finished."""
        self._open_file.close()

    @property
    def _open_file(self) -> IO[bytes]:
        if self._file is None:
            raise RuntimeError("the array is written inside its with block")
        return self._file

    @property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    def _header(self) -> bytes:
        import io

        header = io.BytesIO()
        fields = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, fields)
        return header.getvalue()

    def _noted(self, header: int) -> int:
        """Rows on disk, of a part that is the beginning of this very array; else 0."""
        try:
            note = json.loads(self._note.read_bytes())
            rows = int(note["rows"])
            same = note["dtype"] == self.dtype.str and note["shape"] == list(self.shape)
            there = self._part.stat().st_size >= header + rows * self._row_bytes
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return rows if same and there and 0 <= rows <= self.shape[0] else 0
