"""The data sets of the language benchmarks as tables: named columns of equal length.

MLPerf distributes them as pickled DataFrames and as JSON; both are read here without pandas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

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
    """Read a data set file, by its ending.

    `.json` is a list of objects with the same keys, any other a pickled DataFrame. Raises
    TableError naming the file for anything else, and OSError when it cannot be read. Nothing in a
    pickle is executed.
    """
    data = path.read_bytes()
    try:
        is_json = path.suffix == ".json"
        columns = _columns_of_json(data) if is_json else columns_of_pickle(data)
    except TableError as error:
        raise TableError(f"{path} {error}") from error
    return Table(path, columns)


def _columns_of_json(data: bytes) -> dict[str, Column]:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TableError(f"is not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TableError("is not a JSON list of objects")
    names = list(rows[0]) if rows else []
    for index, row in enumerate(rows):
        if set(row) != set(names):
            raise TableError(f"has other keys in object {index} than in the first")
    return {name: [row[name] for row in rows] for name in names}
