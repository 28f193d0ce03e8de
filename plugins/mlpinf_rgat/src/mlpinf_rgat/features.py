"""Node features in the form that a run reads: float16, or FP8 (e4m3) with a scale for each type.

Float32 features are used where they lie, and not copied.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlpinf_core.errors import IntegrityError
from mlpinf_rgat.csc import read_rows
from mlpinf_rgat.growing import GrowingArray

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

STORED: Final[Mapping[str, np.dtype[Any]]] = {
    "float16": np.dtype(np.float16),
    "float8_e4m3": np.dtype(np.uint8),
}
"""What is written, by the name of the setting; FP8 numbers are stored as their bits."""

E4M3_MOST: Final = 448.0
"""The largest number of e4m3."""

_MOST_ROWS: Final = 1 << 18
_ROW_COST: Final = 4
"""A chunk is in memory as read, rescaled and converted; times, with some to spare."""

_LOOKED_AT: Final = 4096
_HEADROOM: Final = 2.0


def features_name(node_type: str) -> str:
    """The file of a node type's features."""
    return f"{node_type}.features.npy"


def convert(
    features: npt.NDArray[np.float32],
    node_type: str,
    kind: str,
    folder: Path,
    *,
    memory: int,
    advanced: Callable[[int], object] = lambda _: None,
) -> float:
    """Write a node type's features converted, or what is still missing of them.

    Args:
        features: float32 [N, width].
        node_type: whose.
        kind: of :data:`STORED`.
        folder: where the file goes.
        memory: bytes that may be used.
        advanced: told how many nodes were converted since it was last told.

    Returns:
        The scale: what is stored is the feature times it. 1 for float16.

    Raises:
        IntegrityError: a feature is not a number, or beyond float16.
    """
    scale = 1.0 if kind == "float16" else scale_of(features)
    array = GrowingArray(folder / features_name(node_type), STORED[kind], features.shape)
    if array.complete:
        return scale
    rows = max(1, min(_MOST_ROWS, memory // (_ROW_COST * 4 * features.shape[1])))
    with array:
        for start in range(array.rows, len(features), rows):
            chunk = read_rows(features, start, min(start + rows, len(features)))
            array.append(_converted(chunk, kind, scale, node_type, start))
            advanced(len(chunk))
        array.finish()
    return scale


def scale_of(features: npt.NDArray[np.float32]) -> float:
    """The power of two that brings the largest feature near the end of e4m3's range.

    It is judged by 4,096 nodes spread evenly, with a factor 2 to spare; what lies beyond all the
    same becomes the largest number. The exponents of e4m3 reach from 2^-9 to 448, and features
    below its smallest normal number lose precision, so they are moved up as far as they go.
    """
    step = max(1, len(features) // _LOOKED_AT)
    largest = float(np.abs(features[::step][: _LOOKED_AT + 1]).max())
    if not largest > 0 or not np.isfinite(largest):
        return 1.0
    return float(2.0 ** np.floor(np.log2(E4M3_MOST / (_HEADROOM * largest))))


def _converted(
    chunk: npt.NDArray[np.float32], kind: str, scale: float, node_type: str, start: int
) -> npt.NDArray[Any]:
    import torch

    values = torch.from_numpy(np.ascontiguousarray(chunk))
    low, high = (float(bound) for bound in torch.aminmax(values))  # not a number where one is none
    largest = max(-low, high)
    if not math.isfinite(low + high):
        row = int(np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0])
        raise IntegrityError(
            f"a feature of {node_type} {start + row} is {_first_unusable(chunk[row])}",
            where=f"{node_type}/node_feat.npy, row {start + row}",
            remedy="fetch that part again",
        )
    if kind == "float8_e4m3":
        limited = (values * scale).clamp_(-E4M3_MOST, E4M3_MOST)
        bits: npt.NDArray[np.uint8] = limited.to(torch.float8_e4m3fn).view(torch.uint8).numpy()
        return bits
    if largest > float(np.finfo(np.float16).max):
        raise IntegrityError(
            f"a feature of {node_type} is {largest:g}, beyond float16",
            where=f"{node_type}/node_feat.npy, rows {start} to {start + len(chunk) - 1}",
            remedy="keep float32: set benchmark.features to float32",
        )
    halves: npt.NDArray[np.float16] = values.to(torch.float16).numpy()
    return halves


def _first_unusable(row: npt.NDArray[np.float32]) -> float:
    return float(row[~np.isfinite(row)][0])
