"""Stand-ins for what a pickled DataFrame is made of.

Each remembers what pandas or NumPy would have been told. NumPy's own classes aren't used: a crafted
dtype state can make them read memory that isn't theirs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

#: Kinds of NumPy numbers: signed, unsigned, floating, bool.
NUMBER_KINDS = "iufb"


class TableError(ValueError):
    """A data set file that cannot be read as a table."""


class Part:
    """A stand-in. Each has its own __setstate__: without one, a pickle could set attributes."""

    def __setstate__(self, state: Any) -> None:
        raise TableError(f"has a state for {type(self).__name__}, which has none")


class Slice(Part):
    """Python's slice."""

    def __init__(self, *bounds: Any) -> None:
        self.bounds = bounds


class Named(Part):
    """A class that only ever appears as an argument: ndarray, Index, RangeIndex."""


class DType(Part):
    """numpy.dtype: a type string, and the byte order from its state."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not code or code[0] not in NUMBER_KINDS + "O":
            raise TableError(f"has a column of type {code!r}; numbers and objects can be read")
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise TableError("has a damaged dtype")
        self.order = state[1]

    @property
    def is_object(self) -> bool:
        """Whether it is NumPy's type of arbitrary objects."""
        return self.code[0] == "O"

    def real(self) -> np.dtype[Any]:
        """NumPy's own dtype, of numbers only."""
        if self.is_object:
            raise TableError("has objects where numbers belong")
        return np.dtype(self.order + self.code)


class Array(Part):
    """numpy.ndarray, from _reconstruct and its state."""

    value: npt.NDArray[Any] | list[Any]

    def __init__(self, *_: Any) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.value = []

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, raw = state
        self._fill(_shape(shape), only(dtype, DType), "F" if fortran else "C", raw)

    def _fill(self, shape: tuple[int, ...], dtype: DType, order: str, raw: Any) -> None:
        self.shape = shape
        if not dtype.is_object:
            # A copy, in the machine's byte order, that owns its memory.
            flat = np.frombuffer(bytes(only(raw, bytes | bytearray | str, "latin1")), dtype.real())
            native = flat.astype(dtype.real().newbyteorder("="))
            self.value = native.reshape(shape, order="F" if order == "F" else "C")
            return
        items = list(only(raw, list))
        if len(items) != math.prod(shape) or len(shape) > 2:
            raise TableError(f"has {len(items)} objects for shape {shape}")
        if len(shape) == 2:
            rows, width = shape
            self.value = (
                [items[row::rows] for row in range(rows)]
                if order == "F"
                else [items[row * width : (row + 1) * width] for row in range(rows)]
            )
        else:
            self.value = items

    def rows(self) -> list[list[Any] | npt.NDArray[Any]]:
        """The rows of a two-dimensional block; a one-dimensional array is one row."""
        return list(self.value) if len(self.shape) == 2 else [self.value]


class BufferArray(Array):
    """numpy's _frombuffer, which protocol 5 uses."""

    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any) -> None:
        super().__init__()
        self._fill(_shape(shape), only(dtype, DType), order, raw)


class Scalar(Part):
    """A NumPy scalar inside a column of objects."""

    def __init__(self, dtype: Any, raw: Any) -> None:
        real = only(dtype, DType).real()
        self.value = np.frombuffer(bytes(only(raw, bytes | str, "latin1")), real)[0].item()


class Extension(Part):
    """One of pandas' own arrays; they are in :mod:`mlpinf_llm.pickle_arrays`."""

    def cells(self) -> list[Any]:
        """The values; None where there is none."""
        raise NotImplementedError


class Block(Part):
    """Columns of one type: values, and which columns of the table they are."""

    def __init__(self, values: Any, placement: Any, *_: Any) -> None:
        self.values, self.placement = values, placement

    def rows(self) -> list[list[Any] | npt.NDArray[Any]]:
        """The columns' values."""
        values = self.values
        if isinstance(values, Extension):
            return [values.cells()]
        array: Array = only(values, Array)
        return array.rows()

    def places(self, count: int) -> list[int]:
        """Which of the table's `count` columns the rows are."""
        if isinstance(self.placement, Slice):
            return list(range(*slice(*self.placement.bounds).indices(count)))
        return [int(place) for place in only(self.placement, Array).value]


class Index(Part):
    """Labels: of columns, or of rows (which are dropped)."""

    def __init__(self, _class: Any, state: Any) -> None:
        self.state = only(state, dict)

    def values(self) -> list[Any]:
        """The labels."""
        data = self.state.get("data")
        return data.cells() if isinstance(data, Extension) else listed(only(data, Array))

    def labels(self) -> list[str]:
        """The labels, which must be text."""
        return [only(label, str) for label in self.values()]


class Manager(Part):
    """pandas' BlockManager: (blocks, axes) as arguments, or before 1.3 as a state."""

    def __init__(self, blocks: Any = (), axes: Any = (), *_: Any) -> None:
        self.blocks: Sequence[Any] = blocks
        self.axes: Sequence[Any] = axes

    def __setstate__(self, state: Any) -> None:
        layout = only(only(state, tuple)[-1], dict)["0.14.1"]
        self.axes = layout["axes"]
        self.blocks = [Block(each["values"], each["mgr_locs"]) for each in layout["blocks"]]


class Frame(Part):
    """The DataFrame."""

    def __init__(self, *_: Any) -> None:
        self.manager: Manager | None = None

    def __setstate__(self, state: Any) -> None:
        fields = only(state, dict)
        self.manager = only(fields.get("_mgr", fields.get("_data")), Manager)

    def columns(self) -> dict[str, list[Any] | npt.NDArray[Any]]:
        """The columns by name, in the table's order."""
        manager = only(self.manager, Manager)
        if not manager.axes:
            raise TableError("has no columns")
        names = only(manager.axes[0], Index).labels()
        if len(set(names)) != len(names):
            raise TableError("has two columns of one name")
        found: dict[int, list[Any] | npt.NDArray[Any]] = {}
        for block in manager.blocks:
            rows, places = only(block, Block).rows(), block.places(len(names))
            if len(rows) != len(places):
                raise TableError(f"has a block of {len(rows)} columns for {len(places)} places")
            found.update(zip(places, rows, strict=True))
        if sorted(found) != list(range(len(names))):
            raise TableError("lacks the values of some columns")
        return {name: _plain(found[place]) for place, name in enumerate(names)}


def listed(array: Array) -> list[Any]:
    """The values of a one-dimensional array."""
    if len(array.shape) != 1:
        raise TableError(f"has an array of shape {array.shape} in an unexpected place")
    return list(array.value) if isinstance(array.value, list) else array.value.tolist()


def _plain(column: list[Any] | npt.NDArray[Any]) -> list[Any] | npt.NDArray[Any]:
    """A column without stand-ins in its cells."""
    if isinstance(column, np.ndarray):
        return column
    return [_cell(value) for value in column]


def _cell(value: Any) -> Any:
    if isinstance(value, Array):
        return _plain(value.value)
    if isinstance(value, Scalar):
        return value.value
    if isinstance(value, list | tuple):
        return [_cell(each) for each in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TableError(f"has a {type(value).__name__} in a cell")


def only(value: Any, kind: Any, encoding: str | None = None) -> Any:
    """`value` if it is of `kind`, else a TableError; text is encoded where `encoding` is given."""
    if not isinstance(value, kind):
        raise TableError(f"has a {type(value).__name__} in an unexpected place")
    # Protocol 2 has no bytes: NumPy's buffers come as text in latin-1.
    return value.encode(encoding) if encoding and isinstance(value, str) else value


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(only(value, tuple))
    if any(not isinstance(length, int) or length < 0 for length in shape):
        raise TableError(f"has an array of shape {shape}")
    return shape


class Encoded(Part):
    """_codecs.encode, by which protocol 2 writes bytes."""

    def __new__(cls, text: Any, encoding: Any) -> Any:
        """The bytes."""
        if encoding != "latin1":
            raise TableError(f"has bytes in encoding {encoding!r}")
        return only(text, str).encode("latin1")
