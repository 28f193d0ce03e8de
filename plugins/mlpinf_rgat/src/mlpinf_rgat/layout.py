"""IGBH's layout: its parts, how large those of the full graph are, and where they come from.

``<type>/node_feat.npy``, ``<edge>/edge_index.npy``, ``paper/node_label_19.npy`` and
``paper/node_label_2K.npy``. Sources: the reference implementation (``graph/R-GAT``) and the IGB
authors' data sets.
"""

from __future__ import annotations

from typing import Final

from mlpinf_core.benchmark import Source
from mlpinf_rgat.relations import EDGE_FILES, NODE_TYPES, TARGET, EdgeFile

IGBH_FOLDER: Final = "igbh"
"""The folder of the fetched graph, in the scratch space's ``data``."""

PROCESSED: Final = "full/processed"
"""Where the parts are in that folder, as the official scripts lay them out."""

LICENCE: Final = "ODC-By-1.0"

CHECKPOINT: Final = "rgat/RGAT.pt"
"""The official checkpoint, in the scratch space's ``models``."""

FULL_NODES: Final = {
    "paper": 269_346_174,
    "author": 277_220_883,
    "institute": 26_918,
    "fos": 712_960,
    "journal": 49_052,
    "conference": 4_547,
}
"""Nodes of IGBH-full by type."""

FULL_EDGES: Final = {
    "paper__cites__paper": 3_996_442_004,
    "paper__written_by__author": 716_761_549,
    "author__affiliated_to__institute": 48_521_486,
    "paper__topic__fos": 1_050_280_600,
}
"""Edges of IGBH-full by relation, 5,812,005,639 together; of the others nobody publishes them."""

FULL_CLASSES: Final = 2983
"""Classes of its papers that the rules ask for."""

FULL_WIDTH: Final = 1024
"""Features of a node of IGBH."""

LABELS: Final = {19: "node_label_19.npy", 2983: "node_label_2K.npy"}
"""Label file by number of classes, in IGBH."""

_PARAMETERS: Final = 13_115_303
_EDGE_BYTES: Final = 16
_DOWNLOADER: Final = (
    "bash <(curl -s https://raw.githubusercontent.com/mlcommons/r2-downloader/refs/heads/main/"
    "mlc-r2-downloader.sh) https://inference.mlcommons-storage.org/metadata/rgat-model.uri"
)


def feature_part(node_type: str) -> str:
    """The path of a node type's features, relative to the data set."""
    return f"{node_type}/node_feat.npy"


def edge_part(edge: EdgeFile) -> str:
    """The path of a relation's edges, relative to the data set."""
    return f"{edge.folder}/edge_index.npy"


def label_part(classes: int) -> str:
    """The path of the papers' labels; the 2K file where IGBH has none for ``classes``."""
    return f"{TARGET}/{LABELS.get(classes, LABELS[2983])}"


def parts(classes: int) -> tuple[str, ...]:
    """The paths of all parts that a run needs, relative to the data set."""
    return (
        *(feature_part(node_type) for node_type in NODE_TYPES),
        *(edge_part(edge) for edge in EDGE_FILES),
        label_part(classes),
    )


def known_size(part: str) -> int | None:
    """Bytes of a part's numbers, where the graph's sizes tell; None for edges."""
    sizes = {feature_part(t): 4 * FULL_WIDTH * FULL_NODES[t] for t in NODE_TYPES}
    sizes[label_part(FULL_CLASSES)] = 4 * FULL_NODES[TARGET]
    return sizes.get(part)


def sources() -> tuple[Source, ...]:
    """The checkpoint and the parts of the full graph; none has a published checksum."""
    checkpoint = Source(
        CHECKPOINT,
        "models",
        4 * _PARAMETERS,
        None,
        "MLCommons' terms",
        gated=f"MLCommons' downloader gets it: {_DOWNLOADER}",
        setting="benchmark.model_path",
        size_is_estimate=True,
    )
    return (checkpoint, *(_part(part) for part in parts(FULL_CLASSES)))


def _part(part: str) -> Source:
    return Source(
        f"{IGBH_FOLDER}/{PROCESSED}/{part}",
        "data",
        known_size(part) or _size_of_edges(part),
        None,
        LICENCE,
        gated="`python -m mlpinf_rgat.fetch` brings the graph from its publisher, and goes on "
        "where it stopped; a copy is named with benchmark.data_path",
        unless=("benchmark.data_path", "benchmark.graph_path"),
        size_is_estimate=True,
    )


def _size_of_edges(part: str) -> int:
    """Bytes; of journals and conferences at most, for a paper is in no more than one."""
    edges = FULL_EDGES.get(part.partition("/")[0], FULL_NODES[TARGET])
    return _EDGE_BYTES * edges
