"""Read the table out of a pickled pandas DataFrame without pandas, and without trusting it.

Unpickling runs whatever the file names, so the unpickler here knows only stand-ins: small classes
that remember what pandas and NumPy would have been told, and from which the columns are then put
together. Known layouts: pandas 1.x to 3.x, pickle protocols 2 to 5.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from mlpinf_llm.pickle_arrays import (
    Backed,
    Categorical,
    CategoricalDType,
    Masked,
    NumberDType,
    StringArray,
    StringDType,
)
from mlpinf_llm.pickle_parts import (
    Array,
    Block,
    BufferArray,
    DType,
    Encoded,
    Frame,
    Index,
    Manager,
    Named,
    Scalar,
    Slice,
    TableError,
    only,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

_PICKLE_PROTOCOLS = (2, 3, 4, 5)


def columns_of_pickle(data: bytes | BinaryIO) -> dict[str, list[Any] | npt.NDArray[Any]]:
    """The columns of the pickled DataFrame in `data`, in its order.

    `data` is read from the file as it goes, so that a large one is never in memory twice.

    A column of numbers is a one-dimensional NumPy array, any other a list of strings, numbers,
    lists and arrays. The row index is dropped. Raises TableError for anything that isn't such a
    table; nothing in it is executed.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    start = file.read(2)
    if len(start) < 2 or start[0] != 0x80 or start[1] not in _PICKLE_PROTOCOLS:
        raise TableError("is not a pickle of protocol 2 to 5")
    file.seek(0)
    try:
        frame: Frame = only(_Unpickler(file).load(), Frame)
        return frame.columns()
    except TableError:
        raise
    except RecursionError:
        raise TableError("is nested too deeply for a table") from None
    except Exception as error:  # damaged pickles raise almost anything, out of C code as well
        raise TableError(f"is damaged or not a table: {type(error).__name__}: {error}") from error


_BASE, _RANGE = "pandas.core.indexes.base", "pandas.core.indexes.range"
_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "slice"): Slice,
    ("__builtin__", "slice"): Slice,
    ("_codecs", "encode"): Encoded,
    ("numpy", "ndarray"): Named,
    ("numpy", "dtype"): DType,
    ("pandas", "DataFrame"): Frame,
    ("pandas.core.frame", "DataFrame"): Frame,
    ("pandas.core.internals.managers", "BlockManager"): Manager,
    ("pandas._libs.internals", "_unpickle_block"): Block,
    ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"): Backed,
    ("pandas", "StringDtype"): StringDType,
    ("pandas.core.arrays.string_", "StringDtype"): StringDType,
    ("pandas.arrays", "StringArray"): StringArray,
    ("pandas.core.arrays.string_", "StringArray"): StringArray,
    (_BASE, "_new_Index"): Index,
    (_BASE, "Index"): Named,
    ("pandas", "Index"): Named,
    ("pandas", "RangeIndex"): Named,
    (_RANGE, "RangeIndex"): Named,
    ("pandas.core.indexes.numeric", "Int64Index"): Named,
    ("pandas", "Categorical"): Categorical,
    ("pandas.core.arrays.categorical", "Categorical"): Categorical,
    ("pandas", "CategoricalDtype"): CategoricalDType,
    ("pandas.core.dtypes.dtypes", "CategoricalDtype"): CategoricalDType,
}
_NUMBERS = {
    "integer": (
        "Integer",
        ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    ),
    "floating": ("Floating", ("Float32", "Float64")),
    "boolean": ("Boolean", ("Boolean",)),
}
for _module, (_array, _types) in _NUMBERS.items():
    for _home in ("pandas.arrays", f"pandas.core.arrays.{_module}"):
        _STAND_INS[_home, f"{_array}Array"] = Masked
    for _home in ("pandas", f"pandas.core.arrays.{_module}"):
        _STAND_INS.update({(_home, f"{_type}Dtype"): NumberDType for _type in _types})
for _module in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_module}.multiarray", "_reconstruct"] = Array
    _STAND_INS[f"{_module}.multiarray", "scalar"] = Scalar
    _STAND_INS[f"{_module}.numeric", "_frombuffer"] = BufferArray


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            if "arrow" in module.lower() or "Arrow" in name:
                raise TableError(
                    f"has strings stored by pyarrow ({module}.{name}); "
                    "save the table with columns of object dtype"
                )
            raise TableError(f"names {module}.{name}, which no table needs; it was not loaded")
        return stand_in

    def persistent_load(self, pid: Any) -> NoReturn:
        raise TableError(f"refers to {pid!r}, which lies outside the file")
