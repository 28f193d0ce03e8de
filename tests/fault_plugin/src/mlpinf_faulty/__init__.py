"""A benchmark that goes wrong as it is told to.

``benchmark.fault`` names what happens: see :data:`mlpinf_faulty.faults.FAULTS`. Without a fault it
answers each sample with its index.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark, VariantSpec
from mlpinf_core.config.schema import setting
from mlpinf_core.hookspecs import hookimpl
from mlpinf_core.rules.model import BenchmarkRules, LatencyLimits, Limit
from mlpinf_core.vocabulary import Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import Samples, Sut
    from mlpinf_faulty.faults import FaultyBackend


@attrs.frozen
class FaultySettings:
    """Settings of the ``faulty`` benchmark."""

    fault: str = setting("", "What goes wrong.")
    at_batch: int = setting(1, "The batch that it goes wrong at, counted from 1.")
    sut: str = setting("inline", "inline, batching, streaming or own.")


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """The ``faulty`` benchmark."""
    full = VariantSpec(
        summary="answers each sample with its index",
        backend="faulty",
        defaults={
            "loadgen": {"min_duration": 0, "target_qps": 5000, "performance_sample_count": 64},
            "sut": {"max_batch_size": 8, "max_wait_ms": 1},
        },
    )
    return [
        Benchmark(
            name="faulty",
            summary="goes wrong as it is told to",
            settings=FaultySettings,
            variants={Variant.FULL: full},
            rules=BenchmarkRules(
                loadgen_name="faulty",
                dataset_size=64,
                performance_sample_count=64,
                accuracy={"99": {"exact": Limit(lower=100.0)}},
                latency={Scenario.SERVER: LatencyLimits(latency_ms=1000)},
            ),
            response_dtype="int64",
        )
    ]


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """The one that goes wrong."""
    return [BackendInfo("faulty", benchmarks=("faulty",), summary="goes wrong")]


@hookimpl
def dataset(run: Run) -> int:
    """Nothing but a number, unless this is where the fault is."""
    from mlpinf_faulty.faults import happen

    happen(run, "dataset")
    return 64


@hookimpl
def preprocess(run: Run, dataset: int) -> Samples:
    """Samples that are their own indices."""
    from mlpinf_core.builtin.null import IndexSamples

    return IndexSamples(dataset)


@hookimpl
def build_backend(run: Run) -> FaultyBackend:
    """A backend that knows when to fail."""
    from mlpinf_faulty.faults import FaultyBackend

    return FaultyBackend(run)


@hookimpl
def make_sut(run: Run, backend: FaultyBackend) -> Sut:
    """The building block that the settings choose."""
    from mlpinf_core.suts.batching import BatchingSut
    from mlpinf_core.suts.inline import InlineSut
    from mlpinf_core.suts.streaming import StreamingSut
    from mlpinf_faulty.faults import OwnSut, happen

    happen(run, "make_sut")
    settings, sut = run.config.benchmark, run.config.sut
    if settings.sut == "batching":
        return BatchingSut(run.responder, backend.infer, sut)
    if settings.sut == "streaming":
        return StreamingSut(run.responder, lambda stream: backend.infer(stream.indices), sut)
    if settings.sut == "own":
        return OwnSut(run, backend)
    return InlineSut(run.responder, backend.infer, max_batch_size=sut.max_batch_size)


@hookimpl
def check_accuracy(run: Run, log: AccuracyLog) -> Mapping[str, float]:
    """The share of samples that were answered with their own index."""
    import numpy as np

    from mlpinf_faulty.faults import happen

    happen(run, "check_accuracy")
    answers: Any = np.array([array[0] for array in log.as_arrays(np.dtype(np.int64))])
    return {"exact": 100.0 * float(np.mean(answers == log.qsl_indices))}


@hookimpl
def run_started(run: Mapping[str, Any]) -> None:
    """Fail here when the environment says so: settings do not reach the parent's hooks."""
    if os.environ.get("MLPINF_FAULTY") == "run_started":
        raise ValueError("as told, in run_started")
