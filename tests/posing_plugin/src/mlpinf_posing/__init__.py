"""Benchmarks that pose as those of the rounds, so that a tree can be made of every one of them.

They have the size of the round's data sets and answer at once; what they answer means nothing, and
``check_accuracy`` says what the round wants to hear. Nothing of it may ever be submitted: it is
there to test what comes after a run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark, VariantSpec
from mlpinf_core.config.schema import setting
from mlpinf_core.hookspecs import hookimpl
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.vocabulary import Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import Samples, Sut

_MEASUREMENTS = {
    "input_data_types": "int32",
    "starting_weights_filename": "none",
    "weight_data_types": "none",
    "weight_transformations": "none",
}


_END = 2_000_000
"""No answer has such a token, and so none goes on after it."""


@attrs.frozen
class PosingSettings:
    """Settings of every one."""

    batch_ms: float = setting(0.0, "How long a batch takes.", unit="ms")


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """Every benchmark of every round, in both variants."""
    names = dict.fromkeys(name for round_ in ROUNDS for name in load_round(round_).benchmarks)
    variant = VariantSpec(
        summary="no model",
        backend="posing",
        defaults={"sut": {"max_batch_size": 1024, "max_wait_ms": 0}},
        eos_token_id=_END,
        measurements=_MEASUREMENTS,
    )
    return [
        Benchmark(
            name=name,
            summary="poses",
            settings=PosingSettings,
            variants={Variant.FULL: variant, Variant.TINY: variant},
            response_dtype="int32",
        )
        for name in names
    ]


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """The one for all."""
    names = tuple(benchmark.name for benchmark in benchmarks())
    return [BackendInfo("posing", benchmarks=names, summary="answers at once")]


@hookimpl
def dataset(run: Run) -> int:
    """As many samples as the round's data set has."""
    return run.rules.dataset_size


@hookimpl
def preprocess(dataset: int) -> Samples:
    """Samples that are their own indices."""
    from mlpinf_core.builtin.null import IndexSamples

    return IndexSamples(dataset)


@hookimpl
def build_backend(run: Run) -> PosingBackend:
    """Answers at once, or after a while."""
    return PosingBackend(run)


@hookimpl
def make_sut(run: Run, backend: PosingBackend) -> Sut:
    """First tokens where LoadGen wants them."""
    from mlpinf_core.suts.inline import InlineSut
    from mlpinf_core.suts.streaming import StreamingSut
    from mlpinf_core.vocabulary import Scenario

    if backend.tokens and run.workload.scenario is not Scenario.OFFLINE:
        return StreamingSut(run.responder, backend.stream, run.config.sut)
    size = run.config.sut.max_batch_size
    return InlineSut(run.responder, backend.infer, max_batch_size=size)


@hookimpl
def check_accuracy(run: Run) -> Mapping[str, float]:
    """What the round wants to hear."""
    limits = run.rules.accuracy[run.workload.accuracy_target]
    return {
        metric: (limit.lower + limit.upper) / 2
        if limit.lower is not None and limit.upper is not None
        else 1.001 * (limit.lower or 0.0)
        for metric, limit in limits.items()
    }


class PosingBackend:
    """Answers a sample with its index and a second number."""

    def __init__(self, run: Run) -> None:
        self.tokens = run.rules.token_latencies
        self._seconds = run.config.benchmark.batch_ms / 1000

    def load(self) -> None: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...

    def infer(self, indices: Any) -> Any:
        import numpy as np

        from mlpinf_core.protocols import Outputs

        if self._seconds:
            time.sleep(self._seconds)
        data = np.stack([indices, indices], axis=1).astype(np.int32)
        counts = np.full(len(indices), 2, dtype=np.int64) if self.tokens else None
        return Outputs(data, counts)

    def stream(self, stream: Any) -> Any:
        import numpy as np

        stream.first_token(np.arange(len(stream.indices)), stream.indices.astype(np.int32))
        return self.infer(stream.indices)
