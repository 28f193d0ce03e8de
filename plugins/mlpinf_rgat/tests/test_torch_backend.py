"""The backend by itself: precisions, threads, devices that are not there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from mlpinf_core.errors import BackendError
from mlpinf_rgat import checkpoint, igbh, prepare, tiny
from mlpinf_rgat.benchmarks import RgatSettings, TorchSettings
from mlpinf_rgat.graph import Graph
from mlpinf_rgat.model import Rgat
from mlpinf_rgat.sharing import Share
from mlpinf_rgat.torch_backend import TorchBackend

from .conftest import plan

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_rgat.synthetic import SyntheticGraph

ALL = np.arange(150, dtype=np.int64)
ONE = Share(replicas=1, threads=1)


def loaded(graph: Graph, **settings: Any) -> TorchBackend:
    backend = TorchBackend(graph, tiny.weights(), RgatSettings(), TorchSettings(**settings), ONE)
    backend.load()
    backend.warm_up()
    return backend


def classes(backend: TorchBackend, indices: np.ndarray[Any, Any] = ALL) -> np.ndarray[Any, Any]:
    outputs = backend.infer(indices)
    assert isinstance(outputs.data, np.ndarray)
    assert outputs.data.dtype == np.int64
    assert outputs.data.shape == (len(indices), 1)
    return outputs.data[:, 0]


@pytest.fixture(scope="module")
def answers(graph: Graph) -> np.ndarray[Any, Any]:
    return classes(loaded(graph))


def test_answers_are_classes_of_more_than_a_byte(answers: np.ndarray[Any, Any]) -> None:
    assert answers.max() > 255
    assert answers.min() >= 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precisions_answer_nearly_all_alike(
    precision: str, graph: Graph, answers: np.ndarray[Any, Any]
) -> None:
    assert np.mean(classes(loaded(graph, precision=precision)) == answers) > 0.94


@pytest.mark.parametrize("features", ["float16", "float8_e4m3"])
def test_converted_features_answer_nearly_all_alike(
    features: str, raw_folder: Path, made: SyntheticGraph, answers: np.ndarray[Any, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    raw = igbh.open_raw(raw_folder, classes=made.classes)
    prepare.prepare(raw, plan(made, features), tmp_path)
    found = classes(loaded(Graph.open(tmp_path)))
    assert np.mean(found == answers) > (0.99 if features == "float16" else 0.9)


def test_threads_that_share_a_backend_do_not_get_into_each_others_way(
    graph: Graph, answers: np.ndarray[Any, Any]
) -> None:
    backend = loaded(graph)
    parts = [ALL[start : start + 10] for start in range(0, len(ALL), 10)] * 4
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(lambda part: classes(backend, part), parts)))
    assert np.array_equal(found, np.tile(answers, 4))


def test_a_batch_that_is_computed_again_gets_the_same_answers(
    graph: Graph, answers: np.ndarray[Any, Any]
) -> None:
    assert np.array_equal(classes(loaded(graph)), answers)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_clear_error(graph: Graph) -> None:
    with pytest.raises(BackendError, match="there is no CUDA device 0") as caught:
        loaded(graph, device="cuda")
    assert "backend.device" in str(caught.value.where)


@pytest.mark.parametrize(
    ("width", "count", "layers", "message"),
    [
        (32, 320, 3, "features of 32, and the graph has 64"),
        (64, 19, 3, "19 classes, and the graph has 320"),
        (64, 320, 2, "2 layers, and neighbours are drawn in 3 hops"),
    ],
)
def test_a_checkpoint_of_another_graph_is_refused(
    width: int, count: int, layers: int, message: str, graph: Graph, tmp_path: Path
) -> None:
    checkpoint.save(Rgat(width, 8, count, layers=layers), tmp_path / "a.pt")
    backend = TorchBackend(graph, tmp_path / "a.pt", RgatSettings(), TorchSettings(), ONE)
    with pytest.raises(BackendError, match=message) as caught:
        backend.load()
    assert "benchmark.model_path" in str(caught.value.remedy)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graph_on", ["host", "device"])
@pytest.mark.parametrize("features_on", ["host", "device"])
def test_a_gpu_answers_as_the_cpu_does(
    graph_on: Any, features_on: Any, graph: Graph, answers: np.ndarray[Any, Any]
) -> None:
    backend = loaded(graph, device="cuda", graph_on=graph_on, features_on=features_on)
    assert np.mean(classes(backend) == answers) > 0.99
