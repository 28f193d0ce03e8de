"""From lists of edges to CSC, in a memory budget: who sends to each node, relation by relation.

Two passes over the file. The first counts the edges of each destination, and so finds where each
one's sources begin. The second takes ranges of destinations, as many at a time as the budget holds
edges of, packs each edge into one integer (destination, then source), sorts those and writes the
sources. Writes are sequential, and the result is the same whatever the budget: a destination's
sources ascend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.scratch import readable
from mlpinf_rgat.growing import GrowingArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlpinf_rgat.relations import Relation

_MOST_CHUNK: Final = 1 << 22
"""Edges read at a time, where the budget allows."""

_CHUNK_BYTES: Final = 96
"""Memory for an edge of a chunk: as read, its two columns, both directions, masks and keys."""

_SORT_BYTES: Final = 12
"""Memory for an edge that is sorted: its key, and its source as it is written."""


def indptr_name(relation: Relation) -> str:
    """The file of offsets, int64 [destinations + 1]."""
    return f"{relation.name}.indptr.npy"


def indices_name(relation: Relation) -> str:
    """The file of sources, int32 [edges]."""
    return f"{relation.name}.indices.npy"


def build_csc(
    relation: Relation,
    edges: npt.NDArray[Any],
    nodes: dict[str, int],
    folder: Path,
    *,
    memory: int,
    advanced: Callable[[int], object] = lambda _: None,
) -> None:
    """Write a relation's CSC files, or what is still missing of them.

    ``cites`` becomes symmetric, with exactly one loop at each node (source: the reference, which
    removes and adds loops after mirroring). Repeated edges stay repeated.

    Args:
        relation: which.
        edges: int [E, 2], of its file: source, destination.
        nodes: by type.
        folder: where the two files go.
        memory: bytes that may be used.
        advanced: told how many edges of the file were read since it was last told.

    Raises:
        IntegrityError: an edge leads to a node that does not exist.
        PrerequisiteError: the budget does not even hold the offsets.
    """
    destinations = nodes[relation.destination]
    offsets_path = folder / indptr_name(relation)
    room = memory - 3 * 8 * destinations
    chunk = min(_MOST_CHUNK, room // 2 // _CHUNK_BYTES)
    if chunk < 1024:
        need = 3 * 8 * destinations + 2 * 1024 * _CHUNK_BYTES
        raise PrerequisiteError(
            f"preprocessing {relation.name} needs {readable(need)} of memory, and "
            f"{readable(memory)} are allowed",
            remedy="allow more with benchmark.memory",
        )
    if not offsets_path.exists():
        _write_offsets(relation, edges, nodes, offsets_path, chunk, advanced)
    offsets: npt.NDArray[np.int64] = np.load(offsets_path, mmap_mode="r")
    total = int(offsets[-1])
    array = GrowingArray(folder / indices_name(relation), np.int32, (total,))
    if array.complete:
        return
    most = max(1, (room - chunk * _CHUNK_BYTES) // _SORT_BYTES)
    with array:
        first = int(np.searchsorted(offsets, array.rows, side="right")) - 1
        for low, high in _ranges(offsets, first, most):
            array.append(_sorted_sources(relation, edges, nodes, offsets, low, high, chunk))
            advanced(len(edges) * (high - low) // max(1, destinations))
        array.finish()


def _write_offsets(
    relation: Relation,
    edges: npt.NDArray[Any],
    nodes: dict[str, int],
    path: Path,
    chunk: int,
    advanced: Callable[[int], object],
) -> None:
    count = nodes[relation.destination]
    offsets = np.zeros(count + 1, dtype=np.int64)
    counts = offsets[1:]
    for destination, _ in _directed(relation, edges, nodes, chunk, check=True):
        low, high = int(destination.min(initial=count)), int(destination.max(initial=-1)) + 1
        if high > low:
            counts[low:high] += np.bincount(destination - low, minlength=high - low)
        advanced(len(destination))
    if relation.symmetric:
        counts += 1
    np.cumsum(counts, out=counts)
    array = GrowingArray(path, np.int64, offsets.shape)
    with array:
        array.append(offsets[array.rows :])
        array.finish()


def _ranges(offsets: npt.NDArray[np.int64], first: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of destinations with at most ``most`` edges each, or a single one with more."""
    last = len(offsets) - 1
    low = first
    while low < last:
        high = int(np.searchsorted(offsets, int(offsets[low]) + most, side="right")) - 1
        high = min(max(high, low + 1), last)
        yield low, high
        low = high


def _sorted_sources(
    relation: Relation,
    edges: npt.NDArray[Any],
    nodes: dict[str, int],
    offsets: npt.NDArray[np.int64],
    low: int,
    high: int,
    chunk: int,
) -> npt.NDArray[np.int32]:
    """The sources of the destinations in [low, high), each one's ascending."""
    bits = int(nodes[relation.source]).bit_length()
    whole = low == 0 and high == len(offsets) - 1
    keys = np.empty(int(offsets[high] - offsets[low]), dtype=np.int64)
    filled = 0
    for destination, source in _directed(relation, edges, nodes, chunk):
        if not whole:
            inside = (destination >= low) & (destination < high)
            destination, source = destination[inside], source[inside]  # noqa: PLW2901
        part = keys[filled : filled + len(destination)]
        np.subtract(destination, low, out=part)
        part <<= bits
        part |= source
        filled += len(part)
    if relation.symmetric:
        loops = np.arange(low, high, dtype=np.int64)
        keys[filled:] = ((loops - low) << bits) | loops
        filled += len(loops)
    if filled != len(keys):
        raise IntegrityError(
            f"the edges of {relation.file.folder} changed while they were read",
            remedy="let nothing write to the graph while it is prepared",
        )
    keys.sort()
    keys &= (1 << bits) - 1
    return keys.astype(np.int32)


def _directed(
    relation: Relation,
    edges: npt.NDArray[Any],
    nodes: dict[str, int],
    chunk: int,
    *,
    check: bool = False,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Destinations and sources of the relation, a chunk of the file at a time; loops left out."""
    file = relation.file
    for start in range(0, len(edges), chunk):
        rows = read_rows(edges, start, min(start + chunk, len(edges)))
        source = rows[:, 0].astype(np.int64)
        destination = rows[:, 1].astype(np.int64)
        if check:
            _check(file.folder, source, start, 0, file.source, nodes)
            _check(file.folder, destination, start, 1, file.destination, nodes)
        if relation.symmetric:
            loop = source == destination
            if loop.any():
                source, destination = source[~loop], destination[~loop]
            yield np.concatenate([destination, source]), np.concatenate([source, destination])
        elif relation.reverse:
            yield source, destination
        else:
            yield destination, source


def read_rows(array: npt.NDArray[Any], start: int, stop: int) -> npt.NDArray[Any]:
    """Rows of an array; of a memory map by reading, so that mapped pages do not pile up."""
    if isinstance(array, np.memmap) and array.flags.c_contiguous and array.filename is not None:
        width = int(np.prod(array.shape[1:], dtype=np.int64))
        offset = int(array.offset) + start * width * array.itemsize
        flat = np.fromfile(array.filename, array.dtype, (stop - start) * width, offset=offset)
        return flat.reshape(-1, *array.shape[1:])
    return array[start:stop]


def _check(
    folder: str,
    ids: npt.NDArray[np.int64],
    start: int,
    column: int,
    node_type: str,
    nodes: dict[str, int],
) -> None:
    count = nodes[node_type]
    if not len(ids) or int(ids.view(np.uint64).max()) < count:  # negative ones are huge then
        return
    row = int(np.flatnonzero((ids < 0) | (ids >= count))[0])
    raise IntegrityError(
        f"an edge of {folder} leads to {node_type} {ids[row]}, and there are {count:,} of them",
        where=f"{folder}/edge_index.npy, row {start + row}, column {column}",
        remedy="fetch that part again; it is damaged, or belongs to another graph",
    )
