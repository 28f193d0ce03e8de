"""The core's own plugin: the ``null`` benchmark, which measures the harness itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark, VariantSpec
from mlpinf_core.config.schema import setting
from mlpinf_core.errors import AccuracyError
from mlpinf_core.hookspecs import hookimpl
from mlpinf_core.rules.model import BenchmarkRules, LatencyLimits, Limit
from mlpinf_core.systems.registry import shipped_directory
from mlpinf_core.vocabulary import Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlpinf_core.builtin.null import IndexSamples, NullBackend
    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.suts.inline import InlineSut


@attrs.frozen
class NullSettings:
    """Settings of the ``null`` benchmark."""

    samples: int = setting(
        1024, "Size of the data set.", unit="samples", validator=attrs.validators.ge(1)
    )


_NULL = Benchmark(
    name="null",
    summary="answers at once: measures the harness itself",
    settings=NullSettings,
    variants={
        Variant.FULL: VariantSpec(
            summary="no model; a sample is its own index",
            backend="echo",
            # At millions of samples a second, 600 s of Offline would not fit into any memory.
            defaults={"sut": {"max_batch_size": 65536}, "loadgen": {"min_duration": 10}},
        )
    },
    rules=BenchmarkRules(
        loadgen_name="null",
        dataset_size=1024,
        performance_sample_count=1024,
        accuracy={"99": {"exact": Limit(lower=100.0)}},
        latency={Scenario.SERVER: LatencyLimits(latency_ms=10)},
        audits=("TEST01", "TEST04"),
        audit_margins={"exact": 1},
        audit_settings={"TEST01": {"*": {"accuracy_log_sampling_target": 128}}},
    ),
    response_dtype="int64",
)


@hookimpl
def systems() -> Sequence[Path]:
    """The systems that the core knows."""
    return [shipped_directory()]


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """The ``null`` benchmark."""
    return [_NULL]


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """The backend that returns each sample's index."""
    return [BackendInfo("echo", benchmarks=("null",), summary="returns each sample's index")]


@hookimpl
def dataset(run: Run) -> int:
    """As many samples as the settings say."""
    settings: NullSettings = run.config.benchmark
    return settings.samples


@hookimpl
def preprocess(dataset: int) -> IndexSamples:
    """Nothing to do: a sample is its index."""
    from mlpinf_core.builtin.null import IndexSamples

    return IndexSamples(dataset)


@hookimpl
def build_backend() -> NullBackend:
    """The backend that computes nothing."""
    from mlpinf_core.builtin.null import NullBackend

    return NullBackend()


@hookimpl
def make_sut(run: Run, backend: NullBackend) -> InlineSut:
    """In LoadGen's own thread: there is nothing to wait for."""
    from mlpinf_core.suts.inline import InlineSut

    return InlineSut(run.responder, backend.infer, max_batch_size=run.config.sut.max_batch_size)


@hookimpl
def check_accuracy(log: AccuracyLog) -> Mapping[str, float]:
    """The share of samples that were answered with their own index."""
    import numpy as np

    answers = log.as_arrays(np.dtype(np.int64))
    wrong = next((entry for entry, answer in enumerate(answers) if answer.size != 1), None)
    if wrong is not None:
        raise AccuracyError(
            f"the answer to sample {log.qsl_indices[wrong]} has {answers[wrong].size} numbers "
            "instead of one",
            where=str(log.path),
        )
    return {"exact": 100.0 * float(np.mean(np.concatenate(answers) == log.qsl_indices))}
