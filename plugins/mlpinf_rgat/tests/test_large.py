"""A graph larger than the machine's memory opens: its files are mapped, and nothing is loaded."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from mlpinf_core.errors import IntegrityError
from mlpinf_rgat import igbh
from mlpinf_rgat.graph import Graph
from mlpinf_rgat.relations import NODE_TYPES
from mlpinf_rgat.store import FeatureStore, csc_tensors

if TYPE_CHECKING:
    from pathlib import Path

LARGE = 300 * 10**9 // 4096 * 4096


def sparse(path: Path, size: int, header: bytes = b"") -> None:
    """A file that has a length and takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(header)
        try:
            file.truncate(len(header) + size)
        except OSError as error:
            pytest.skip(f"this file system has no sparse files of that length: {error}")


def header_of(dtype: Any, shape: tuple[int, ...]) -> bytes:
    import io

    header = io.BytesIO()
    fields = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


@pytest.mark.parametrize("header", [b"", header_of(np.float32, (LARGE // 4096, 1024))])
def test_features_beyond_the_memory_open(header: bytes, tmp_path: Path) -> None:
    sparse(tmp_path / "paper/node_feat.npy", LARGE, header)
    array = igbh.open_features(tmp_path, "paper", LARGE // 4096)
    assert array[-1, -1] == 0
    assert not array.flags.writeable


def test_a_prepared_graph_beyond_the_memory_opens_as_tensors(graph: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(graph.folder, folder)
    about = json.loads((folder / "graph.json").read_bytes())
    about |= {"width": LARGE // 2 // about["nodes"]["paper"], "features": "float16", "raw": None}
    (folder / "graph.json").write_text(json.dumps(about))
    for node_type in NODE_TYPES:
        shape = (about["nodes"][node_type], about["width"])
        size = 2 * shape[0] * shape[1]
        sparse(folder / f"{node_type}.features.npy", size, header_of(np.float16, shape))
    large = Graph.open(folder)
    cpu = torch.device("cpu")
    FeatureStore(large, cpu, cpu, torch.float32)
    assert len(csc_tensors(large, cpu)) == 11
    assert not large.features["paper"].flags.writeable


def test_what_cannot_be_mapped_is_refused_and_not_loaded(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(path: Path, mmap_mode: str | None = None, **_: Any) -> Any:
        asked.append(mmap_mode)
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(IntegrityError, match=r"cannot be mapped: .*Cannot allocate memory"):
        Graph.open(graph.folder)
    assert asked == ["r"]


def test_an_empty_array_opens(graph: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(graph.folder, folder)
    offsets = np.load(folder / "venue.indptr.npy")
    np.save(folder / "venue.indptr.npy", np.zeros_like(offsets))
    np.save(folder / "venue.indices.npy", np.empty(0, np.int32))
    opened = Graph.open(folder)
    assert 0 in [len(csc.indices) for csc in opened.relations]
    assert 0 in [len(csc.indices) for csc in csc_tensors(opened, torch.device("cpu"))]
