"""Read a CTranslate2 ``model.bin``: its variables as named arrays.

The package ``ctranslate2`` writes the file and runs it, and has no reader. The layout is the one
its ``ModelSpec`` writes (binary version 6): version, specification's name and revision, variables
(name, dimensions, type, bytes), and aliases of variables that are stored once and used twice.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.files import reading

_VERSION: Final = 6
_TYPES: Final = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_BFLOAT16: Final = 5
_MAX_DIMENSIONS: Final = 8


@attrs.frozen(eq=False)
class Ct2File:
    """A model file, its variables mapped into memory read-only.

    Attributes:
        path: the file.
        specification: the kind of model, such as ``WhisperSpec``.
        revision: of the specification.
        variables: by name; scalars have no dimensions.
        aliases: further names of variables.
    """

    path: Path
    specification: str
    revision: int
    variables: Mapping[str, npt.NDArray[Any]]
    aliases: Mapping[str, str]

    @classmethod
    def open(cls, path: Path) -> Ct2File:
        """Read all that is in the file.

        Raises:
            PrerequisiteError: there is no such file, or it cannot be read.
            IntegrityError: it is not a whole model file of this version.
        """
        with reading(path):
            if not path.is_file():
                raise PrerequisiteError("the CTranslate2 model is missing", where=str(path))
            if path.stat().st_size == 0:
                raise IntegrityError("the CTranslate2 model is empty", where=str(path))
            content = np.memmap(path, dtype=np.uint8, mode="r")
        cursor = _Cursor(content, path)
        version = cursor.number("I")
        if version != _VERSION:
            raise cursor.damaged(f"its binary version is {version}, and {_VERSION} can be read")
        specification, revision = cursor.string(), cursor.number("I")
        variables: dict[str, npt.NDArray[Any]] = {}
        for _ in range(cursor.number("I")):
            name = cursor.string()
            if name in variables:
                raise cursor.damaged(f"variable {name!r} is in it twice")
            variables[name] = cursor.array(name)
        aliases = {cursor.string(): cursor.string() for _ in range(cursor.number("I"))}
        for alias, name in aliases.items():
            if name not in variables or alias in variables:
                raise cursor.damaged(f"alias {alias!r} of {name!r} leads nowhere")
        if cursor.rest:
            raise cursor.damaged(f"{cursor.rest} bytes follow its end")
        return cls(path, specification, revision, variables, aliases)


class _Cursor:
    """Reads forward; whatever does not fit is one error that names the file."""

    def __init__(self, data: npt.NDArray[np.uint8], path: Path) -> None:
        self._data = data
        self._path = path
        self._position = 0

    @property
    def rest(self) -> int:
        return len(self._data) - self._position

    def damaged(self, how: str) -> IntegrityError:
        return IntegrityError(
            f"not a CTranslate2 model that can be read: {how}",
            where=str(self._path),
            remedy="fetch or convert the model again",
        )

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        if size > self.rest:
            raise self.damaged(
                f"it is truncated, byte {self._position + size} is needed "
                f"and it has {len(self._data)}"
            )
        piece = self._data[self._position : self._position + size]
        self._position += size
        return piece

    def number(self, code: str) -> int:
        code = "<" + code
        (value,) = struct.unpack(code, self.take(struct.calcsize(code)).tobytes())
        return int(value)

    def string(self) -> str:
        text = self.take(self.number("H")).tobytes()
        if not text.endswith(b"\0"):
            raise self.damaged(f"the name {text[:40]!r} does not end as names do")
        try:
            return text[:-1].decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"the name {text[:40]!r} is not UTF-8") from None

    def array(self, name: str) -> npt.NDArray[Any]:
        rank = self.number("B")
        if rank > _MAX_DIMENSIONS:
            raise self.damaged(f"{name!r} has {rank} dimensions")
        shape = tuple(self.number("I") for _ in range(rank))
        kind, size = self.number("B"), self.number("I")
        data = self.take(size)
        if kind == _BFLOAT16:
            # NumPy has no bfloat16: it is the upper half of a float32.
            items: npt.NDArray[Any] = _as(data, "<u2").astype("<u4") << 16
            items = items.view("<f4")
        elif kind in _TYPES:
            items = _as(data, _TYPES[kind])
        else:
            raise self.damaged(f"{name!r} has the unknown type {kind}")
        width = 2 if kind == _BFLOAT16 else items.itemsize
        # Python's own integers: a damaged shape can be larger than any int64.
        expected = width
        for length in shape:
            expected *= length
        if expected != size:
            raise self.damaged(f"{name!r} of shape {shape} has {size} bytes instead of {expected}")
        return items.reshape(shape)


def _as(data: npt.NDArray[np.uint8], code: str) -> npt.NDArray[Any]:
    """Bytes as numbers; a size that is not whole items is left for the check of the shape."""
    width = np.dtype(code).itemsize
    whole = len(data) // width * width
    return np.frombuffer(data[:whole], dtype=code)
