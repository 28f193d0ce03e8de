"""A synthetic graph with IGBH's node types and relations, in IGBH's file layout, from a seed.

Every paper has a true class. Its neighbours mostly belong to it: papers of its class, authors,
fields, journals and conferences whose group it falls into. Features are the class's centre under so
much noise that a node alone says little, and its neighbourhood a lot. A share of the labels is
replaced by random classes, which bounds what any model can score.

Centres and groups depend on the seed and the number of classes alone, so a model that was trained
on one graph works on any other, of any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_rgat.layout import edge_part, feature_part
from mlpinf_rgat.relations import EDGE_FILES, NODE_TYPES, TARGET

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.hashing import JSON

FORMAT: Final = 1
"""Rises when the same parameters make another graph."""

_CHUNK: Final = 1 << 18
_ROUND: Final = 20
"""Draws of the largest number of edges that a paper gets of one relation."""


@attrs.frozen
class Affinity:
    """How a relation is drawn.

    Attributes:
        edges: mean edges of a source node; below 1 it is the share of nodes that have one.
        aligned: the share that leads into the source's own class.
    """

    edges: float
    aligned: float


AFFINITIES: Final = {
    "cites": Affinity(3.0, 0.7),
    "written_by": Affinity(2.0, 0.7),
    "affiliated_to": Affinity(1.0, 0.6),
    "topic": Affinity(2.0, 0.6),
    "published": Affinity(0.6, 0.5),
    "venue": Affinity(0.3, 0.5),
}


@attrs.frozen
class Kind:
    """A node type that is about several classes at once, and there are few of.

    Attributes:
        groups: of classes; the same in a graph of any size, or a model would fit one size only.
        papers: for each node.
    """

    groups: int
    papers: int


KINDS: Final = {
    "institute": Kind(80, 50),
    "fos": Kind(160, 20),
    "journal": Kind(40, 100),
    "conference": Kind(20, 400),
}


@attrs.frozen
class SyntheticGraph:
    """What decides a synthetic graph.

    Attributes:
        papers: papers; the other types follow from it.
        classes: classes of papers.
        width: features of a node.
        seed: of everything.
        instance: another graph of the same classes: training takes others than the benchmark.
        signal: length of a class's centre where the noise of each feature has deviation 1.
        label_noise: share of the labels that are replaced by a random class.
    """

    papers: int
    classes: int = 320
    width: int = 64
    seed: int = 1
    instance: int = 0
    signal: float = 3.0
    label_noise: float = 0.08

    @property
    def nodes(self) -> dict[str, int]:
        """Nodes by type."""
        return {
            "paper": self.papers,
            "author": self.papers,
            **{t: max(self._groups(t), self.papers // kind.papers) for t, kind in KINDS.items()},
        }

    @property
    def best_accuracy(self) -> float:
        """The share of labels that the true class explains: no model is expected to score more."""
        return 1.0 - self.label_noise + self.label_noise / self.classes

    def to_dict(self) -> dict[str, JSON]:
        """Plain values, for an artifact's inputs."""
        return {**attrs.asdict(self), "generator": FORMAT, "affinities": _affinities()}

    def write(self, folder: Path) -> None:
        """Generate the graph into a folder, in IGBH's layout.

        Args:
            folder: exists and is empty.
        """
        classes = {t: self._classes(t) for t in NODE_TYPES}
        centres = self._centres()
        for node_type in NODE_TYPES:
            (folder / node_type).mkdir()
            self._write_features(folder, node_type, classes[node_type], centres)
        self._write_labels(folder, classes[TARGET])
        for edge in EDGE_FILES:
            (folder / edge.folder).mkdir()
            drawn = self._edges(edge.name, classes[edge.source], classes[edge.destination])
            np.save(folder / edge_part(edge), drawn)

    # -- parts -----------------------------------------------------------------------------------

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.instance, *stream])

    def _groups(self, node_type: str) -> int:
        """Into how many groups of classes the nodes of a type fall: class modulo so many."""
        return min(self.classes, KINDS[node_type].groups) if node_type in KINDS else self.classes

    def _classes(self, node_type: str) -> npt.NDArray[np.int64]:
        """The class, or group of classes, of each node."""
        stream = self._random(1, NODE_TYPES.index(node_type))
        return stream.integers(0, self._groups(node_type), self.nodes[node_type])

    def _centres(self) -> npt.NDArray[np.float32]:
        """float32 [classes, width], each of length ``signal``."""
        stream = np.random.default_rng([self.seed, 2])
        centres = stream.standard_normal((self.classes, self.width)).astype(np.float32)
        centres *= self.signal / np.linalg.norm(centres, axis=1, keepdims=True)
        return centres

    def _write_features(
        self,
        folder: Path,
        node_type: str,
        classes: npt.NDArray[np.int64],
        centres: npt.NDArray[np.float32],
    ) -> None:
        groups = self._groups(node_type)
        # A group of several classes has the sum of their centres, so that its length stays telling.
        group_centres = np.zeros((groups, self.width), dtype=np.float32)
        np.add.at(group_centres, np.arange(self.classes) % groups, centres)
        path = folder / feature_part(node_type)
        shape = (len(classes), self.width)
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for number, start in enumerate(range(0, len(classes), _CHUNK)):
            rows = slice(start, start + _CHUNK)
            stream = self._random(3, NODE_TYPES.index(node_type), number)
            count = len(classes[rows])
            noise = stream.standard_normal((count, self.width), dtype=np.float32)
            out[rows] = noise + group_centres[classes[rows]]
        out.flush()

    def _write_labels(self, folder: Path, classes: npt.NDArray[np.int64]) -> None:
        stream = self._random(4)
        replaced = stream.random(len(classes)) < self.label_noise
        labels = np.where(replaced, stream.integers(0, self.classes, len(classes)), classes)
        np.save(folder / TARGET / "node_label_2K.npy", labels.astype(np.float32))
        np.save(folder / TARGET / "node_label_19.npy", (labels % 19).astype(np.float32))

    def _edges(
        self,
        name: str,
        source_classes: npt.NDArray[np.int64],
        destination_classes: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """int64 [E, 2], by ascending source."""
        affinity = AFFINITIES[name]
        stream = self._random(5, list(AFFINITIES).index(name))
        if affinity.edges < 1:
            counts = (stream.random(len(source_classes)) < affinity.edges).astype(np.int64)
        else:
            counts = 1 + stream.poisson(affinity.edges - 1, len(source_classes)).clip(0, _ROUND)
        sources = np.repeat(np.arange(len(source_classes)), counts)
        found = stream.integers(0, len(destination_classes), len(sources))
        order = np.argsort(destination_classes, kind="stable")
        groups = self._groups(next(f.destination for f in EDGE_FILES if f.name == name))
        sizes = np.bincount(destination_classes, minlength=groups)
        starts = np.cumsum(sizes) - sizes
        wanted = source_classes[sources] % groups
        aligned = (stream.random(len(sources)) < affinity.aligned) & (sizes[wanted] > 0)
        group = wanted[aligned]
        member = (stream.random(len(group)) * sizes[group]).astype(np.int64)
        found[aligned] = order[starts[group] + member]
        return np.stack([sources, found], axis=1)


def _affinities() -> dict[str, Any]:
    return {name: list(attrs.astuple(affinity)) for name, affinity in AFFINITIES.items()}
