"""Graphs for all tests: small synthetic ones, generated and prepared once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from mlpinf_rgat import igbh, prepare, split, tiny
from mlpinf_rgat.graph import Graph

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_rgat.igbh import RawGraph
    from mlpinf_rgat.sampler import CscTensors
    from mlpinf_rgat.synthetic import SyntheticGraph

PAPERS = 1500
MEMORY = 50_000_000


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other take minutes where other tests run beside these."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made() -> SyntheticGraph:
    """Small, with the tiny variant's classes and features, so that its weights fit."""
    return attrs.evolve(tiny.GRAPH, papers=PAPERS)


@pytest.fixture(scope="session")
def raw_folder(made: SyntheticGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    made.write(folder)
    return folder


@pytest.fixture
def raw(raw_folder: Path, made: SyntheticGraph) -> RawGraph:
    return igbh.open_raw(raw_folder, classes=made.classes)


def plan(made: SyntheticGraph, features: str = "float32", memory: int = MEMORY) -> prepare.Plan:
    return prepare.Plan(made.classes, features, split.Split(made.papers, 0.1), memory)


@pytest.fixture(scope="session")
def graph(
    raw_folder: Path, made: SyntheticGraph, tmp_path_factory: pytest.TempPathFactory
) -> Graph:
    folder = tmp_path_factory.mktemp("prepared")
    prepare.prepare(igbh.open_raw(raw_folder, classes=made.classes), plan(made), folder)
    return Graph.open(folder)


@pytest.fixture(scope="session")
def csc(graph: Graph) -> list[CscTensors]:
    import torch

    from mlpinf_rgat.store import csc_tensors

    return csc_tensors(graph, torch.device("cpu"))


@pytest.fixture
def kernels_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that were imported to be interpreted run as such, where there is no device."""
    import torch

    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
