"""A benchmark whose timed answers differ from its accuracy run's, and runs of it to audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlpinf_core
from mlpinf_core.audits.auditor import Audits, audit
from mlpinf_core.audits.counterparts import AuditRequest, find_counterparts
from mlpinf_core.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

STEADY: dict[str, Any] = {
    # A rate far below what any machine does, and a limit that a busy one keeps.
    "loadgen": {"min_duration": 1, "target_qps": 700, "target_latency_ms": 5000}
}

DRIFTING = '''
"""Answers a sample with its index and a number that is another one in each process."""

import os

import numpy as np

from mlpinf_core import (
    BenchmarkRules, Benchmark, BackendInfo, Limit, Outputs, Variant, VariantSpec, hookimpl,
)
from mlpinf_core.builtin.null import IndexSamples
from mlpinf_core.rules.model import LatencyLimits
from mlpinf_core.suts.inline import InlineSut
from mlpinf_core.vocabulary import Scenario


class Backend:
    def __init__(self, worse):
        self.worse = worse

    def load(self):
        pass

    warm_up = close = load

    def infer(self, indices):
        answers = np.where(indices % self.worse == 1, -1, indices) if self.worse else indices
        return Outputs(np.stack([answers, np.full(len(indices), os.getpid())], axis=1))


@hookimpl
def benchmarks():
    return [Benchmark(
        name="drifting",
        summary="answers that are the same in what counts",
        variants={Variant.TINY: VariantSpec(summary="numbers", backend="drift")},
        rules=BenchmarkRules(
            loadgen_name="drifting", dataset_size=100, performance_sample_count=100,
            accuracy={"99": {"right": Limit(lower=99.0)}},
            latency={Scenario.SERVER: LatencyLimits(latency_ms=5000)},
            audits=("TEST01",), audit_margins={"right": 1},
            audit_settings={"TEST01": {"*": {"accuracy_log_sampling_target": 200}}},
        ),
        response_dtype="int64",
    )]


@hookimpl
def backends():
    return [BackendInfo("drift", benchmarks=("drifting",), summary="drifts")]


@hookimpl
def dataset(run):
    return 100


@hookimpl
def preprocess(dataset):
    return IndexSamples(dataset)


@hookimpl
def build_backend(run):
    return Backend(WORSE if (run.directory / "audit.config").exists() else 0)


@hookimpl
def make_sut(run, backend):
    return InlineSut(run.responder, backend.infer, max_batch_size=16)


@hookimpl
def check_accuracy(log):
    first = log.first_entries()
    answers = log.as_arrays("int64")
    right = [answers[entry][0] == log.qsl_indices[entry] for entry in first]
    return {"right": 100.0 * float(np.mean(right))}
'''


def drifting(worse: int) -> str:
    """The plugin; of an audit's answers one in ``worse`` is wrong, and none where that is 0."""
    return DRIFTING.replace("WORSE", str(worse))


def made(output: Path, benchmark: str = "null", **options: Any) -> mlpinf_core.Results:
    """A valid performance run and an accuracy run that passed."""
    results = mlpinf_core.run(
        benchmark, scenarios="Server", settings=STEADY, output=output, **options
    )
    assert results.ok, [run.verdict for run in results.runs]
    return results


def audited(output: Path, benchmark: str = "null", tests: tuple[str, ...] | None = None) -> Audits:
    """The audits of what has been run."""
    plugins = Plugins.from_environment()
    request = AuditRequest((benchmark,), against=output, output=output, tests=tests)
    return audit(find_counterparts(request, plugins), plugins, output)
