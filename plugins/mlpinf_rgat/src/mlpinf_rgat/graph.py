"""The prepared graph: CSC for each relation, features, and the papers that are asked for.

A folder of NumPy files and ``graph.json``. Everything large is memory-mapped read-only, so that
processes on one machine share it, and nothing is read before it is used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import IntegrityError
from mlpinf_rgat import igbh
from mlpinf_rgat.csc import indices_name, indptr_name
from mlpinf_rgat.features import features_name
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET, Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DESCRIPTION: Final = "graph.json"
VALIDATION: Final = "validation.npy"
LABELS: Final = "labels.npy"
FORMAT: Final = 2
_KINDS: Final = ("float32", "float16", "float8_e4m3")
_CHECKED: Final = 1 << 24


@attrs.frozen
class Description:
    """What ``graph.json`` says.

    Attributes:
        nodes: by type.
        classes: of papers.
        width: features of a node.
        features: ``float32``, ``float16`` or ``float8_e4m3``.
        scales: what features are multiplied with, by node type.
        labelled: papers that the split was made of.
        validation_share: the share of them that is asked for.
        raw: where float32 features are: the raw data set's folder; None for converted ones.
    """

    nodes: dict[str, int]
    classes: int
    width: int
    features: str
    scales: dict[str, float]
    labelled: int
    validation_share: float
    raw: str | None = None
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write it beside the arrays."""
        text = json.dumps(attrs.asdict(self), indent=1)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Read it.

        Raises:
            IntegrityError: it is missing or of another format.
        """
        path = folder / DESCRIPTION
        try:
            found = _described(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise IntegrityError(
                f"the prepared graph cannot be used: {error}",
                where=str(path),
                remedy="remove that folder; it is prepared again",
            ) from error
        return found

    def check(self) -> None:
        """Check that every field means something.

        Raises:
            ValueError: one does not.
        """
        counts = (*_of_types("nodes", self.nodes), self.classes, self.width, self.labelled)
        if not all(type(count) is int and count > 0 for count in counts):
            raise ValueError("nodes, classes, width and labelled must be positive numbers")
        shares = (*_of_types("scales", self.scales), self.validation_share)
        if not all(type(share) in (int, float) and share > 0 for share in shares):
            raise ValueError("scales and validation_share must be positive numbers")
        if self.features not in _KINDS:
            raise ValueError(f"features are {self.features!r}, and not of {', '.join(_KINDS)}")
        if (self.features == "float32") != isinstance(self.raw, str):
            raise ValueError("raw must name a folder for float32 features, and for no others")


def _described(fields: Any) -> Description:
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}, the one of this version")
    found = Description(**fields)
    found.check()
    return found


def _of_types(field: str, found: Any) -> Iterable[Any]:
    if not isinstance(found, dict) or set(found) != set(NODE_TYPES):
        raise ValueError(f"{field} must name {', '.join(NODE_TYPES)}")
    return found.values()


@attrs.frozen(eq=False)
class Csc:
    """Who sends to each node.

    Attributes:
        indptr: int64 [destinations + 1].
        indices: int32 [edges], the sources of each destination, ascending.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]


@attrs.frozen(eq=False)
class Graph:
    """A prepared graph, memory-mapped.

    Attributes:
        folder: where it is.
        description: its sizes.
        relations: CSC, in the order of :data:`RELATIONS`.
        features: by node type [N, width]: float32, float16, or uint8 that are e4m3's bits.
        validation: int64 [n], the papers that are asked for.
        labels: int64 [n], theirs.
    """

    folder: Path
    description: Description
    relations: tuple[Csc, ...]
    features: dict[str, npt.NDArray[Any]]
    validation: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path, raw: Path | None = None) -> Graph:
        """Map the files of a prepared graph, and check them against each other.

        Args:
            folder: the prepared graph.
            raw: where float32 features are now; where they were when it was prepared by default.

        Raises:
            IntegrityError: a file is missing or does not fit.
            PrerequisiteError: float32 features are not where they should be.
        """
        description = Description.read(folder)
        if description.raw is not None:
            root = igbh.features_root(raw or Path(description.raw))
            description = attrs.evolve(description, raw=str(root))
        relations = tuple(_open_csc(folder, relation, description) for relation in RELATIONS)
        features = {t: _open_features(folder, t, description) for t in NODE_TYPES}
        validation = _load(folder / VALIDATION, np.int64)
        labels = _load(folder / LABELS, np.int64, shape=validation.shape)
        # Small, and wanted as arrays of their own.
        validation, labels = np.array(validation), np.array(labels)
        return cls(folder, description, relations, features, validation, labels)

    def check(self) -> None:
        """Read all offsets and sources, and check that they lead somewhere.

        Raises:
            IntegrityError: offsets descend, or a source, a sample or a label does not exist.
        """
        nodes = self.description.nodes
        for relation, csc in zip(RELATIONS, self.relations, strict=True):
            name = indptr_name(relation)
            if csc.indptr[0] != 0 or any(_descents(csc.indptr)):
                raise _unfit(self.folder / name, "has offsets that do not ascend from 0")
            name = indices_name(relation)
            _check_below(self.folder / name, csc.indices, nodes[relation.source])
        _check_below(self.folder / VALIDATION, self.validation, nodes[TARGET])
        _check_below(self.folder / LABELS, self.labels, self.description.classes)

    @property
    def edge_count(self) -> int:
        """Edges of all eleven relations."""
        return sum(len(csc.indices) for csc in self.relations)


def _descents(offsets: npt.NDArray[np.int64]) -> Iterator[bool]:
    """For one part after the other, whether an offset in it is less than the one before it."""
    for start in range(0, len(offsets) - 1, _CHECKED):
        yield bool((np.diff(offsets[start : start + _CHECKED + 1]) < 0).any())


def _check_below(path: Path, numbers: npt.NDArray[Any], count: int) -> None:
    for start in range(0, len(numbers), _CHECKED):
        part = numbers[start : start + _CHECKED]
        low, high = int(part.min()), int(part.max())
        if low < 0 or high >= count:
            wrong = low if low < 0 else high
            raise _unfit(path, f"has the number {wrong}, and there are {count:,}")


def _open_csc(folder: Path, relation: Relation, description: Description) -> Csc:
    count = description.nodes[relation.destination]
    indptr = _load(folder / indptr_name(relation), np.int64, shape=(count + 1,))
    total = int(indptr[-1])
    return Csc(indptr, _load(folder / indices_name(relation), np.int32, shape=(total,)))


def _open_features(folder: Path, node_type: str, description: Description) -> npt.NDArray[Any]:
    shape = (description.nodes[node_type], description.width)
    if description.raw is not None:
        array = igbh.open_features(Path(description.raw), node_type, shape[0])
        if array.shape != shape:
            raise _unfit(Path(description.raw) / node_type, f"has shape {list(array.shape)}")
        return array
    dtype = np.dtype(np.float16 if description.features == "float16" else np.uint8)
    return _load(folder / features_name(node_type), dtype, shape=shape)


def _load(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...] | None = None
) -> npt.NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _unfit(path, f"cannot be mapped: {error}") from error
    if array.dtype != dtype or (shape is not None and array.shape != shape):
        raise _unfit(path, f"is {array.dtype} {list(array.shape)}")
    found: npt.NDArray[Any] = array
    return found


def _unfit(path: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"{path.name} of the prepared graph {what}",
        where=str(path),
        remedy="remove that folder; it is prepared again",
    )
