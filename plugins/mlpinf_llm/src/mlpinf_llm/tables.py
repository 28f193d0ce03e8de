"""The data sets of the language benchmarks as tables: named columns of equal length.

MLPerf distributes them as pickled DataFrames, one of them compressed, and as JSON; all are read
here without pandas. Parquet, which some keep them in, is read by pyarrow.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import PrerequisiteError
from mlpinf_llm.pickle_parts import TableError
from mlpinf_llm.table_pickle import columns_of_pickle

__all__ = ["Table", "TableError", "read_table"]

Column = list[Any] | npt.NDArray[Any]
#: One sample's token ids, int32, of shape [length].
TokenIds = npt.NDArray[np.int32]


@attrs.frozen(slots=True)
class Table:
    """Columns by name, all of one length; `path` is for messages."""

    path: Path
    columns: Mapping[str, Column]

    def __attrs_post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise TableError(f"{self.path}: columns have different lengths: {listed}")

    def __len__(self) -> int:
        return next((len(column) for column in self.columns.values()), 0)

    def column(self, name: str) -> Column:
        """Raises TableError naming the columns that there are when `name` is not one."""
        try:
            return self.columns[name]
        except KeyError:
            there = ", ".join(self.columns) or "none"
            raise TableError(f"{self.path} has no column {name}; it has: {there}") from None

    def texts(self, name: str) -> list[str]:
        """A column of strings. Raises TableError naming the first row that is not one."""
        column = self.column(name)
        for row, value in enumerate(column):
            if not isinstance(value, str):
                raise TableError(f"{self.path}: {name} of row {row} is {value!r}, not text")
        return list(column)

    def token_ids(self, name: str) -> list[TokenIds]:
        """A column of token ids as int32 arrays of shape [length].

        Raises TableError naming the first row that is empty, isn't a list of whole numbers or
        doesn't fit int32.
        """
        return [self._ids(name, row, value) for row, value in enumerate(self.column(name))]

    def _ids(self, name: str, row: int, value: Any) -> TokenIds:
        where = f"{self.path}: {name} of row {row}"
        try:
            ids = np.asarray(value)
        except ValueError:
            raise TableError(f"{where} is not a list of token ids") from None
        if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise TableError(f"{where} is not a list of token ids")
        if ids.min() < 0 or ids.max() > np.iinfo(np.int32).max:
            raise TableError(f"{where} has a token id that does not fit 31 bits")
        return ids.astype(np.int32)


def read_table(path: Path) -> Table:
    """Read a data set file, by its ending and its first bytes.

    `.json` is a list of objects with the same keys, `.parquet` a Parquet file, any other a pickled
    DataFrame; JSON and pickles may be compressed with gzip. Raises TableError naming the file for
    anything else, PrerequisiteError where pyarrow is missing, and OSError when it cannot be read.
    Nothing in a pickle is executed.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if suffixes[-1:] == [".parquet"]:
            return Table(path, _columns_of_parquet(path))
        with _opened(path) as file:
            is_json = suffixes[-1:] == [".json"] or suffixes[-2:] == [".json", ".gz"]
            return Table(path, _columns_of_json(file) if is_json else columns_of_pickle(file))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{path} is damaged: {error}") from None
    except TableError as error:
        text = str(error)
        raise error if text.startswith(str(path)) else TableError(f"{path} {error}") from error


def _opened(path: Path) -> BinaryIO:
    file = path.open("rb")
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not compressed:
        return file
    file.close()
    return cast("BinaryIO", gzip.open(path, "rb"))


def _columns_of_parquet(path: Path) -> dict[str, Column]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise PrerequisiteError(
            "a Parquet file cannot be read: pyarrow is not installed",
            where=str(path),
            remedy="pip install 'mlpinf-llm[parquet]'",
        ) from None
    try:
        table = parquet.ParquetFile(path).read()
    except (ArrowException, ValueError) as error:
        raise TableError(f"is not a Parquet file: {error}") from None
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _columns_of_json(file: BinaryIO) -> dict[str, Column]:
    try:
        rows = json.load(file)
    except (ValueError, RecursionError) as error:
        raise TableError(f"is not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TableError("is not a JSON list of objects")
    names = list(rows[0]) if rows else []
    for index, row in enumerate(rows):
        if set(row) != set(names):
            raise TableError(f"has other keys in object {index} than in the first")
    return {name: [row[name] for row in rows] for name in names}
