"""From a run's settings to its backend, and to its system under test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.suts.batching import BatchingSut
from mlpinf_core.suts.processes import ProcessSut
from mlpinf_core.vocabulary import Variant
from mlpinf_rgat import tiny
from mlpinf_rgat.layout import CHECKPOINT
from mlpinf_rgat.pooled import PooledBackend
from mlpinf_rgat.sharing import Share
from mlpinf_rgat.torch_backend import TorchBackend

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import Sut
    from mlpinf_rgat.benchmarks import RgatSettings, TorchSettings
    from mlpinf_rgat.samples import RgatSamples


def build(run: Run, samples: RgatSamples) -> TorchBackend | PooledBackend:
    """The backend of a run: in this process for one device, and in one each for several.

    Raises:
        PrerequisiteError: the checkpoint is missing.
    """
    weights = checkpoint_path(run)
    settings: TorchSettings = run.config.backend
    benchmark = run.config.benchmark
    cpus = run.config.sut.worker_cpus
    share = Share.of(settings, run.workload.scenario, run.workload.variant, cpus)
    batch = run.config.sut.max_batch_size
    if settings.devices == 1:
        return TorchBackend(samples.graph, weights, benchmark, settings, share, batch=batch)
    return PooledBackend(samples.graph, weights, benchmark, settings, share, cpus, batch=batch)


def make_sut(run: Run, backend: TorchBackend | PooledBackend) -> Sut:
    """Batches in a queue, several on their way at a time."""
    settings = run.config.sut
    if run.workload.scenario.is_stream:
        settings = attrs.evolve(settings, max_wait_ms=0)  # nothing comes before this is answered
    if isinstance(backend, PooledBackend):
        return ProcessSut(run.responder, backend.pool, settings)
    settings = attrs.evolve(settings, workers=max(settings.workers, backend.replicas))
    return BatchingSut(run.responder, backend.infer, settings)


def checkpoint_path(run: Run) -> Path:
    """Where the weights are.

    Raises:
        PrerequisiteError: they are missing; says how to get them.
    """
    settings: RgatSettings = run.config.benchmark
    if settings.model_path is None and run.workload.variant is Variant.TINY:
        return tiny.weights()
    path = settings.model_path or run.scratch.models / CHECKPOINT
    if not path.is_file():
        raise PrerequisiteError(
            f"the checkpoint {path.name} is missing",
            where=str(path),
            remedy="get it from MLCommons (the README of mlpinf-rgat says how) and put it there, "
            "or set benchmark.model_path",
        )
    return path
