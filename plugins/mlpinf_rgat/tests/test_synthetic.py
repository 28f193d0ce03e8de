"""The synthetic graph: the same from a seed, of any size, and one in which neighbours matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest

from mlpinf_rgat import igbh
from mlpinf_rgat.relations import EDGE_FILES, NODE_TYPES
from mlpinf_rgat.synthetic import SyntheticGraph

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_rgat.igbh import RawGraph


def written(made: SyntheticGraph, folder: Path) -> igbh.RawGraph:
    folder.mkdir()
    made.write(folder)
    return igbh.open_raw(folder, classes=made.classes, nodes=made.nodes)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, raw_folder: Path) -> None:
    again = SyntheticGraph(papers=1500)
    written(again, tmp_path / "again")
    for path in sorted(raw_folder.rglob("*.npy")):
        assert (tmp_path / "again" / path.relative_to(raw_folder)).read_bytes() == path.read_bytes()


def test_another_seed_writes_another_graph(tmp_path: Path, raw: RawGraph) -> None:
    other = written(SyntheticGraph(papers=1500, seed=2), tmp_path / "other")
    assert not np.array_equal(other.features["paper"], raw.features["paper"])
    assert not np.array_equal(other.labels, raw.labels)


@pytest.mark.parametrize("papers", [100, 333, 40_000])
def test_a_graph_of_any_size_is_a_whole_graph(papers: int, tmp_path: Path) -> None:
    raw = written(SyntheticGraph(papers=papers, width=4), tmp_path / "graph")
    assert raw.nodes["paper"] == papers
    for edge in EDGE_FILES:
        edges = raw.edges[edge.folder]
        assert len(edges) > 0
        assert edges.min() >= 0
        assert (edges.max(axis=0) < [raw.nodes[edge.source], raw.nodes[edge.destination]]).all()


def test_a_label_is_the_true_class_but_for_the_noise(tmp_path: Path) -> None:
    noisy = SyntheticGraph(papers=20_000, width=2, label_noise=0.3)
    clean = attrs.evolve(noisy, label_noise=0.0)
    labels = [written(g, tmp_path / f"{g.label_noise}").labels for g in (noisy, clean)]
    assert np.mean(labels[0] == labels[1]) == pytest.approx(noisy.best_accuracy, abs=0.01)
    assert len(np.unique(labels[1])) == 320


def test_neighbours_mostly_share_the_class(raw: RawGraph) -> None:
    labels, edges = np.asarray(raw.labels), raw.edges["paper__cites__paper"]
    same = np.mean(labels[edges[:, 0]] == labels[edges[:, 1]])
    assert 0.5 < same < 0.7  # 0.7 are aligned, and 0.92 of two labels each are true


def test_centres_do_not_depend_on_the_size_so_weights_fit_every_size(tmp_path: Path) -> None:
    means = []
    for papers in (30_000, 60_000):
        raw = written(
            SyntheticGraph(papers=papers, classes=4, label_noise=0), tmp_path / f"{papers}"
        )
        for node_type in NODE_TYPES[:1]:
            labels = np.asarray(raw.labels)
            means.append([raw.features[node_type][labels == c].mean(axis=0) for c in range(4)])
    assert np.abs(np.array(means[0]) - np.array(means[1])).max() < 0.08


def test_every_number_of_classes_gets_the_labels_of_the_19_too(raw_folder: Path) -> None:
    labels = np.load(raw_folder / "paper/node_label_2K.npy")
    assert np.array_equal(np.load(raw_folder / "paper/node_label_19.npy"), labels % 19)
    assert labels.max() > 255  # nothing that fits in a byte
