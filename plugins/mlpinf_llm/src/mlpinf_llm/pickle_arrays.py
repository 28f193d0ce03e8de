"""Stand-ins for pandas' own arrays: strings, categories, and numbers that may be missing."""

from __future__ import annotations

from typing import Any

from mlpinf_llm.pickle_parts import Array, Extension, Index, Part, TableError, listed, only


class StringDType(Part):
    """pandas' type of strings; only the one that keeps Python strings can be read."""

    def __init__(self, storage: Any = "python", *_: Any) -> None:
        if storage not in ("python", None):
            raise TableError(
                f"has strings stored by {storage}; save the table with columns of object dtype"
            )

    def __setstate__(self, state: Any) -> None:
        pass


class StringArray(Extension):
    """pandas' array of strings; its state is (dtype, array) or, before 2.1, the other way."""

    def __init__(self, *_: Any) -> None:
        self.array: Array | None = None

    def __setstate__(self, state: Any) -> None:
        parts = list(state.values()) if isinstance(state, dict) else list(state)
        arrays = [part for part in parts if isinstance(part, Array)]
        self.array = only(arrays[0] if arrays else None, Array)

    def cells(self) -> list[Any]:
        """The strings."""
        return listed(only(self.array, Array))


class CategoricalDType(Part):
    """pandas' type of categories."""

    def __init__(self, *_: Any) -> None:
        self.categories: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        self.categories = only(only(state, dict).get("categories"), Index).values()


class Categorical(Extension):
    """pandas' array of categories; its state is a tuple of the codes and the type, or a dict."""

    def __init__(self, *_: Any) -> None:
        self.codes: list[Any] = []
        self.categories: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        parts = list(state.values()) if isinstance(state, dict) else list(only(state, tuple))
        arrays = [part for part in parts if isinstance(part, Array)]
        types = [part for part in parts if isinstance(part, CategoricalDType)]
        if len(arrays) != 1 or len(types) != 1:
            raise TableError("has damaged categories")
        self.codes, self.categories = listed(arrays[0]), types[0].categories

    def cells(self) -> list[Any]:
        """The values; None where there is none."""
        if any(not isinstance(c, int) or c >= len(self.categories) for c in self.codes):
            raise TableError("has damaged categories")
        return [self.categories[code] if code >= 0 else None for code in self.codes]


class NumberDType(Part):
    """pandas' types of numbers that may be missing; the array says which numbers they are."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class Masked(Extension):
    """pandas' arrays of numbers that may be missing: IntegerArray, FloatingArray, BooleanArray."""

    def __init__(self, *_: Any) -> None:
        self.data: list[Any] = []
        self.missing: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        fields = only(state, dict)
        self.data = listed(only(fields.get("_data"), Array))
        self.missing = listed(only(fields.get("_mask"), Array))

    def cells(self) -> list[Any]:
        """The values; None where there is none."""
        if len(self.data) != len(self.missing):
            raise TableError("has a damaged column of numbers")
        pairs = zip(self.data, self.missing, strict=True)
        return [None if missing else value for value, missing in pairs]


class Backed(Part):
    """pandas' __pyx_unpickle_NDArrayBacked: makes the array, whose state then comes by itself."""

    def __new__(cls, kind: Any, *_: Any) -> Any:
        """An empty StringArray."""
        if kind not in (StringArray, Categorical):
            raise TableError("has an array of an unknown kind")
        return kind()
