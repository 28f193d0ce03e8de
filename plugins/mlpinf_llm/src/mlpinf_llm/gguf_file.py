"""Read a GGUF file: its metadata, and its tensors one at a time as float32.

The `gguf` package's own reader takes a NumPy view of every string of the vocabulary, which costs
about twice as long as dequantising a small model; and it reports a damaged file as whatever NumPy
happens to raise. So the header is read here, and `gguf` does the dequantising.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_MAX_DIMENSIONS = 4


class GgufError(ValueError):
    """A GGUF file that is damaged, or holds a model that cannot be converted."""


@attrs.frozen(slots=True)
class TensorInfo:
    """Where one tensor lies in the file.

    `shape` is in NumPy's order (slowest dimension first), `kind` is ggml's type number and
    `start` the absolute offset in bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


@attrs.frozen(slots=True)
class GgufFile:
    """The header of a GGUF file, and access to its tensors."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Read the header of `path`.

        Raises GgufError when it isn't a whole GGUF file, and OSError when it cannot be read.
        """
        import numpy as np

        if path.stat().st_size == 0:
            raise GgufError(f"{path} is not a GGUF file: it is empty")
        data = np.memmap(path, dtype=np.uint8, mode="r")
        cursor = _Cursor(data, path)
        if cursor.take(len(_MAGIC)) != _MAGIC:
            raise GgufError(f"{path} is not a GGUF file: it does not begin with 'GGUF'")
        version = cursor.scalar("I")
        if version not in _VERSIONS:
            raise GgufError(f"{path} has GGUF version {version}; versions 2 and 3 can be read")
        tensor_count, pair_count = cursor.scalar("Q"), cursor.scalar("Q")
        metadata: dict[str, Any] = {}
        for _ in range(pair_count):
            key = cursor.string()
            metadata[key] = cursor.value(cursor.scalar("I"))
        found = [cursor.tensor() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise GgufError(f"{path} has alignment {alignment!r}, which is not a positive number")
        base = -(-cursor.position // alignment) * alignment
        tensors = {t.name: attrs.evolve(t, start=base + t.start) for t in found}
        opened = cls(path, metadata, tensors)
        # The last tensor of a truncated download is missing although its description is there.
        for info in tensors.values():
            if info.start + opened.stored_bytes(info) > data.size:
                raise GgufError(
                    f"{path} is truncated: tensor {info.name} ends at byte "
                    f"{info.start + opened.stored_bytes(info)}, the file has {data.size} bytes"
                )
        return opened

    def stored_bytes(self, info: TensorInfo) -> int:
        """Bytes that the tensor takes in the file. Raises GgufError for an unknown type."""
        import gguf

        try:
            block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(info.kind)]
        except (ValueError, KeyError):
            raise GgufError(f"{self.path}: {info.name} has unknown type {info.kind}") from None
        count = 1
        for length in info.shape:
            count *= length
        if not info.shape or info.shape[-1] % block:
            raise GgufError(
                f"{self.path}: {info.name} has shape {info.shape}, whose rows are not "
                f"made of blocks of {block}"
            )
        return count // block * size

    def float32(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Dequantise the tensor `name`.

        Returns a new C-contiguous float32 array of `shape`. Raises GgufError when the tensor is
        missing, has another shape or is of a type that `gguf` cannot dequantise.
        """
        import gguf
        import numpy as np

        info = self.tensors.get(name)
        if info is None:
            raise GgufError(f"{self.path} has no tensor {name}")
        if info.shape != shape:
            raise GgufError(f"{self.path}: {name} has shape {info.shape}, expected {shape}")
        kind = gguf.GGMLQuantizationType(info.kind)
        raw = np.memmap(
            self.path, dtype=np.uint8, mode="r", offset=info.start, shape=self.stored_bytes(info)
        )
        if kind == gguf.GGMLQuantizationType.F32:
            return np.array(raw.view("<f4").reshape(shape), dtype=np.float32)
        try:
            rows = raw.reshape(*shape[:-1], -1)
            if kind == gguf.GGMLQuantizationType.F16:
                rows = raw.view("<f2").reshape(shape)
            values = gguf.quants.dequantize(np.asarray(rows), kind)
        except NotImplementedError:
            raise GgufError(f"{self.path}: {name} is {kind.name}, which has no reader") from None
        return np.ascontiguousarray(values, dtype=np.float32).reshape(shape)


class _Cursor:
    """Reads forward through the header; every read beyond the end is a GgufError."""

    def __init__(self, data: npt.NDArray[np.uint8], path: Path) -> None:
        self._data = data
        self._path = path
        self.position = 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise GgufError(
                f"{self._path} is truncated: its header needs byte {end}, "
                f"the file has {len(self._data)} bytes"
            )
        piece = self._data[self.position : end].tobytes()
        self.position = end
        return piece

    def scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        # llama.cpp writes bytes that aren't UTF-8 into some vocabularies; they must not be fatal.
        return self.take(self.scalar("Q")).decode("utf-8", errors="surrogateescape")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            element, count = self.scalar("I"), self.scalar("Q")
            if element in _SCALARS:
                code = f"<{count}{_SCALARS[element]}"
                if count > len(self._data):
                    raise GgufError(f"{self._path} is damaged: an array of {count} values")
                return list(struct.unpack(code, self.take(struct.calcsize(code))))
            if element != _STRING:
                raise GgufError(f"{self._path} is damaged: an array of type {element}")
            return [self.string() for _ in range(count)]
        if kind not in _SCALARS:
            raise GgufError(f"{self._path} is damaged: a value of type {kind}")
        return self.scalar(_SCALARS[kind])

    def tensor(self) -> TensorInfo:
        name, rank = self.string(), self.scalar("I")
        if rank > _MAX_DIMENSIONS:
            raise GgufError(f"{self._path} is damaged: {name} has {rank} dimensions")
        dimensions = [self.scalar("Q") for _ in range(rank)]
        kind, offset = self.scalar("I"), self.scalar("Q")
        return TensorInfo(name, tuple(reversed(dimensions)), kind, offset)
