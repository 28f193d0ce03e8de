"""Opening IGBH's parts, each one checked against the others.

Features are float32 [N, width], edges int64 [E, 2], labels [papers]. In IGBH-full the features of
papers and authors and the labels are bare memory maps under the same names: float32 without a
header. Nothing is read here beyond headers. Parts are memory-mapped read-only: Linux counts a map
that could be written to against the memory there is, and refuses one of a terabyte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_rgat.layout import FULL_WIDTH, edge_part, feature_part, label_part, parts
from mlpinf_rgat.relations import EDGE_FILES, NODE_TYPES, TARGET, EdgeFile

_MAGIC: Final = b"\x93NUMPY"
_REMEDY: Final = "fetch that part again, or set benchmark.data_path to a complete copy"


@attrs.frozen(eq=False)
class RawGraph:
    """A data set in IGBH's layout, its parts memory-mapped and checked against each other.

    Attributes:
        folder: where its parts are.
        features: by node type, float32 [N, width].
        edges: by relation's folder, int64 or int32 [E, 2]: source, destination.
        labels: [papers], of any number type; unlabelled papers may hold anything.
    """

    folder: Path
    features: dict[str, npt.NDArray[np.float32]]
    edges: dict[str, npt.NDArray[Any]]
    labels: npt.NDArray[Any]

    @property
    def nodes(self) -> dict[str, int]:
        """Nodes by type."""
        return {node_type: len(self.features[node_type]) for node_type in NODE_TYPES}

    @property
    def width(self) -> int:
        """Features of a node."""
        return int(self.features[TARGET].shape[1])

    @property
    def edge_count(self) -> int:
        """Edges in the files, before any is reversed."""
        return sum(len(edges) for edges in self.edges.values())


def open_raw(folder: Path, *, classes: int, nodes: dict[str, int] | None = None) -> RawGraph:
    """Open every part.

    Args:
        folder: the data set; ``<folder>/full/processed`` and ``<folder>/processed`` are looked in
            too, as the official script makes them.
        classes: chooses the label file.
        nodes: how many there must be of each type; None takes what the files say.

    Raises:
        PrerequisiteError: parts are missing; names all of them.
        IntegrityError: a part has the wrong size, shape or dtype.
    """
    root = _root(folder, parts(classes))
    wanted = nodes or {}
    features = {t: _features(root, t, wanted.get(t)) for t in NODE_TYPES}
    widths = {t: int(array.shape[1]) for t, array in features.items()}
    for node_type, width in widths.items():
        if width != widths[TARGET]:
            raise _wrong(
                root / feature_part(node_type),
                f"has {width} features a node, and papers have {widths[TARGET]}",
            )
    edges = {edge.folder: _edges(root, edge) for edge in EDGE_FILES}
    labels = _labels(root, classes, len(features[TARGET]))
    return RawGraph(root, features, edges, labels)


def open_features(root: Path, node_type: str, count: int | None = None) -> npt.NDArray[np.float32]:
    """A node type's features, float32 [N, width], memory-mapped read-only.

    Args:
        root: the folder with the parts in it.
        node_type: whose.
        count: how many nodes there must be.

    Raises:
        IntegrityError: the part is not what it should be.
    """
    return _features(root, node_type, count)


def part_states(raw: RawGraph, classes: int) -> dict[str, list[int]]:
    """Size in bytes and time of change in ns of each part: hashing terabytes would take hours.

    Raises:
        IntegrityError: a part cannot be read.
    """
    found = {}
    for part in parts(classes):
        try:
            status = (raw.folder / part).stat()
        except OSError as error:
            raise IntegrityError(
                f"{part} cannot be read: {error.strerror}", where=str(raw.folder / part)
            ) from error
        found[part] = [status.st_size, status.st_mtime_ns]
    return found


def features_root(folder: Path) -> Path:
    """Where all features are, in or below a data set's folder.

    Raises:
        PrerequisiteError: features are missing; names all of them.
    """
    return _root(folder, tuple(feature_part(node_type) for node_type in NODE_TYPES))


def _root(folder: Path, needed: tuple[str, ...]) -> Path:
    places = (folder, folder / "full" / "processed", folder / "processed")
    found = max(places, key=lambda place: sum((place / part).is_file() for part in needed))
    missing = [part for part in needed if not (found / part).is_file()]
    if missing:
        raise PrerequisiteError(
            f"the graph lacks {len(missing)} of {len(needed)} parts: {', '.join(missing)}",
            where=str(found),
            remedy="fetch the missing parts (`python -m mlpinf_rgat.fetch`), or set "
            "benchmark.data_path to a complete copy",
        )
    return found


def _features(root: Path, node_type: str, count: int | None) -> npt.NDArray[np.float32]:
    path = root / feature_part(node_type)
    if not _has_header(path):
        row = 4 * FULL_WIDTH
        size = path.stat().st_size
        if size == 0 or size % row:
            raise _wrong(
                path, f"has no header and {size} bytes, not a multiple of {row} (1024 float32)"
            )
        array: npt.NDArray[Any] = np.memmap(path, np.float32, "r", shape=(size // row, FULL_WIDTH))
    else:
        array = _mapped(path)
        if array.ndim != 2 or array.dtype != np.float32 or not array.size:
            raise _wrong(path, f"is {_say(array)}, not float32 [nodes, features]")
    if count is not None and len(array) != count:
        raise _wrong(path, f"has {len(array):,} nodes, and there are {count:,}")
    return array


def _edges(root: Path, edge: EdgeFile) -> npt.NDArray[Any]:
    path = root / edge_part(edge)
    array = _mapped(path)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype not in (np.int64, np.int32):
        raise _wrong(path, f"is {_say(array)}, not int64 [edges, 2]")
    return array


def _labels(root: Path, classes: int, papers: int) -> npt.NDArray[Any]:
    path = root / label_part(classes)
    if _has_header(path):
        array = _mapped(path)
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise _wrong(path, f"is {_say(array)}, not numbers [papers]")
    elif path.stat().st_size == 4 * papers:
        array = np.memmap(path, np.float32, "r")
    else:
        raise _wrong(
            path, f"has no header and {path.stat().st_size} bytes, not {4 * papers} (float32)"
        )
    if len(array) != papers:
        raise _wrong(path, f"has {len(array):,} labels for {papers:,} papers")
    return array


def _has_header(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _mapped(path: Path) -> npt.NDArray[Any]:
    if not _has_header(path):
        raise _wrong(path, "is not a NumPy file")
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:  # cut off, or a header that makes no sense
        raise _wrong(path, f"cannot be mapped, it may be cut off: {error}") from error
    return array


def _say(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _wrong(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"{path.parent.name}/{path.name} {what}", where=str(path), remedy=_REMEDY)
