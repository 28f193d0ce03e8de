"""From a run's settings to its backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.vocabulary import Variant
from mlpinf_rgat import tiny
from mlpinf_rgat.torch_backend import TorchBackend

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_rgat.benchmarks import RgatSettings
    from mlpinf_rgat.samples import RgatSamples

CHECKPOINT = "RGAT.pt"


def build(run: Run, samples: RgatSamples) -> TorchBackend:
    """The backend of a run.

    Raises:
        PrerequisiteError: the checkpoint is missing.
    """
    weights = checkpoint_path(run)
    return TorchBackend(samples.graph, weights, run.config.benchmark, run.config.backend)


def checkpoint_path(run: Run) -> Path:
    """Where the weights are.

    Raises:
        PrerequisiteError: they are missing; says how to get them.
    """
    settings: RgatSettings = run.config.benchmark
    if settings.model_path is None and run.workload.variant is Variant.TINY:
        return tiny.weights()
    path = settings.model_path or run.scratch.models / "rgat" / CHECKPOINT
    if not path.is_file():
        raise PrerequisiteError(
            f"the checkpoint {CHECKPOINT} is missing",
            where=str(path),
            remedy="get it from MLCommons (the README of mlpinf-rgat says how) and put it there, "
            "or set benchmark.model_path",
        )
    return path
