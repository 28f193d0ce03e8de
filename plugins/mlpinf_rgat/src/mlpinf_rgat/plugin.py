"""The hooks of the graph benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.hookspecs import hookimpl
from mlpinf_rgat import benchmarks as declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlpinf_core.benchmark import BackendInfo, Benchmark
    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import Sut
    from mlpinf_rgat.data import DataSet
    from mlpinf_rgat.pooled import PooledBackend
    from mlpinf_rgat.samples import RgatSamples
    from mlpinf_rgat.torch_backend import TorchBackend


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """R-GAT."""
    return declared.all_benchmarks()


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """PyTorch."""
    return declared.all_backends()


@hookimpl
def dataset(run: Run) -> DataSet | Path:
    """The graph in IGBH's layout: found, or generated; or a prepared one."""
    from mlpinf_rgat import data

    return data.find(run)


@hookimpl
def preprocess(run: Run, dataset: DataSet | Path) -> RgatSamples:
    """CSC, features and the validation set, made once."""
    from mlpinf_rgat import data

    return data.prepared(run, dataset)


@hookimpl
def build_backend(run: Run, samples: RgatSamples) -> TorchBackend | PooledBackend:
    """The backend; there is no engine to build."""
    from mlpinf_rgat import building

    return building.build(run, samples)


@hookimpl
def make_sut(run: Run, backend: TorchBackend | PooledBackend) -> Sut:
    """Batches in a queue, several on their way at a time, in this process or in several."""
    from mlpinf_rgat import building

    return building.make_sut(run, backend)


@hookimpl
def check_accuracy(samples: RgatSamples, log: AccuracyLog) -> Mapping[str, float]:
    """Top-1 against the papers' labels."""
    from mlpinf_rgat import accuracy

    return accuracy.score(samples, log)
