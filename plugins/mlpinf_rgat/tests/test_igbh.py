"""A graph that is not what it should be is one clear error, before anything is run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_rgat import igbh, layout
from mlpinf_rgat.relations import EDGE_FILES, NODE_TYPES, RELATIONS, into
from mlpinf_rgat.synthetic import SyntheticGraph

CITES = "paper__cites__paper/edge_index.npy"


@pytest.fixture
def folder(raw_folder: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(raw_folder, tmp_path / "graph"))


def opened(folder: Path, **more: Any) -> igbh.RawGraph:
    return igbh.open_raw(folder, classes=320, **more)


def test_a_graph_in_igbhs_layout_opens_with_its_sizes(folder: Path, made: SyntheticGraph) -> None:
    raw = opened(folder, nodes=made.nodes)
    assert raw.nodes == made.nodes
    assert raw.width == 64
    assert raw.edge_count == sum(len(np.load(folder / layout.edge_part(e))) for e in EDGE_FILES)


@pytest.mark.parametrize("inside", ["full/processed", "processed"])
def test_the_folders_that_the_official_script_makes_are_looked_in(
    inside: str, raw_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(raw_folder, tmp_path / inside)
    assert opened(tmp_path).folder == tmp_path / inside


def test_all_missing_parts_are_named_at_once(folder: Path) -> None:
    (folder / CITES).unlink()
    (folder / "fos/node_feat.npy").unlink()
    with pytest.raises(PrerequisiteError, match="lacks 2 of 13 parts") as caught:
        opened(folder)
    assert "fos/node_feat.npy" in str(caught.value)
    assert CITES in str(caught.value)
    assert "benchmark.data_path" in str(caught.value.remedy)


def test_bare_memory_maps_without_a_header_are_read_as_igbh_full_has_them(tmp_path: Path) -> None:
    small = SyntheticGraph(papers=120, classes=20, width=1024)
    small.write(tmp_path)
    wanted = opened(tmp_path)
    features, labels = wanted.features["paper"].copy(), wanted.labels.copy()
    features.tofile(tmp_path / "paper/node_feat.npy")
    labels.astype(np.float32).tofile(tmp_path / "paper/node_label_2K.npy")
    raw = opened(tmp_path)
    assert np.array_equal(raw.features["paper"], features)
    assert np.array_equal(raw.labels, labels)


def rewrite(path: Path, change: Any) -> None:
    np.save(path, change(np.load(path)))


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (CITES, lambda a: a.T, r"is int64 \[2, \d+\], not int64 \[edges, 2\]"),
        (CITES, lambda a: a.astype(np.float64), r"is float64 \[\d+, 2\], not int64"),
        ("fos/node_feat.npy", lambda a: a.astype(np.float16), "is float16 .*, not float32"),
        ("fos/node_feat.npy", lambda a: a[:, 0], "not float32 .nodes, features"),
        ("fos/node_feat.npy", lambda a: a[:, :60], "has 60 features a node, and papers have 64"),
        ("fos/node_feat.npy", lambda a: a[:70], "has 70 nodes, and there are 160"),
        ("paper/node_label_2K.npy", lambda a: a[:-1], "has 1,499 labels for 1,500 papers"),
        ("paper/node_label_2K.npy", lambda a: a.astype(str), "not numbers .papers."),
    ],
)
def test_a_part_of_the_wrong_shape_or_dtype_is_refused(
    part: str, change: Any, message: str, folder: Path, made: SyntheticGraph
) -> None:
    rewrite(folder / part, change)
    with pytest.raises(IntegrityError, match=message) as caught:
        opened(folder, nodes=made.nodes)
    assert str(folder / part) == caught.value.where
    assert "fetch that part again" in str(caught.value.remedy)


def test_a_part_that_is_cut_off_is_refused(folder: Path) -> None:
    path = folder / "author/node_feat.npy"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(IntegrityError, match="cannot be mapped, it may be cut off"):
        opened(folder)


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("author/node_feat.npy", b"x" * 4097, "has no header and 4097 bytes, not a multiple of"),
        ("author/node_feat.npy", b"", "has no header and 0 bytes"),
        ("paper/node_label_2K.npy", b"x" * 16, r"has no header and 16 bytes, not 6000 \(float32"),
        (CITES, b"PK\x03\x04 an archive", "is not a NumPy file"),
    ],
)
def test_a_part_that_is_another_file_is_refused(
    part: str, content: bytes, message: str, folder: Path
) -> None:
    (folder / part).write_bytes(content)
    with pytest.raises(IntegrityError, match=message):
        opened(folder)


def test_there_are_eleven_relations_and_every_type_receives() -> None:
    assert len(RELATIONS) == len({relation.name for relation in RELATIONS}) == 11
    assert sum(relation.reverse for relation in RELATIONS) == 5
    assert [relation.name for relation in RELATIONS if relation.symmetric] == ["cites"]
    assert sorted(number for t in NODE_TYPES for number in into(t)) == list(range(11))
    assert all(into(node_type) for node_type in NODE_TYPES)
