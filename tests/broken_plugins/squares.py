"""A plugin that keeps every rule: sample i is answered with i and its square.

Each broken plugin takes everything from here, and breaks one thing.
"""

from __future__ import annotations

import attrs
import numpy as np

from mlpinf_core import (
    AccuracyError,
    BackendInfo,
    Benchmark,
    BenchmarkRules,
    Limit,
    Outputs,
    Query,
    Variant,
    VariantSpec,
    hookimpl,
    setting,
)


@attrs.frozen
class Settings:
    samples: int = setting(40, "Size of the data set.", unit="samples")


TINY = VariantSpec(summary="numbers", backend="multiply", defaults={"sut": {"max_batch_size": 16}})

BENCHMARK = Benchmark(
    name="squares",
    summary="squares of small numbers",
    variants={Variant.TINY: TINY},
    settings=Settings,
    rules=BenchmarkRules(
        loadgen_name="squares",
        dataset_size=40,
        performance_sample_count=40,
        accuracy={"99": {"right": Limit(lower=99.0)}},
    ),
    response_dtype="int64",
)


class Numbers:
    """The samples."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def load(self, indices):
        pass

    def unload(self, indices):
        pass


class Multiply:
    """The backend."""

    def __init__(self, samples):
        self.samples = samples
        self.loaded = False

    def load(self):
        self.loaded = True

    def warm_up(self):
        self.infer(np.arange(2))

    def infer(self, indices):
        values = self.samples.values[indices]
        return Outputs(np.stack([values, values**2], axis=1))

    def close(self):
        self.loaded = False


class Sut:
    """Answers in LoadGen's thread, batch by batch."""

    def __init__(self, run, backend):
        self.responder = run.responder
        self.backend = backend
        self.batch_size = run.config.sut.max_batch_size

    def issue(self, query):
        for start in range(0, len(query), self.batch_size):
            part = slice(start, start + self.batch_size)
            self.answer(Query(query.slots[part], query.indices[part]))

    def answer(self, batch):
        try:
            outputs = self.backend.infer(batch.indices)
        except Exception as error:
            self.responder.fail(batch.slots, error)
        else:
            self.responder.complete(batch.slots, outputs)

    def flush(self):
        pass

    def close(self):
        pass


@hookimpl
def benchmarks():
    return [BENCHMARK]


@hookimpl
def backends():
    return [BackendInfo("multiply", benchmarks=("squares",), summary="NumPy")]


@hookimpl
def dataset(run):
    def write(directory):
        np.save(directory / "values.npy", np.arange(run.config.benchmark.samples))

    inputs = {"samples": run.config.benchmark.samples}
    artifact = run.store.build("preprocessed_data", "squares", inputs, write)
    return np.load(artifact.path / "values.npy")


@hookimpl
def preprocess(dataset):
    return Numbers(dataset)


@hookimpl
def build_backend(samples):
    return Multiply(samples)


@hookimpl
def make_sut(run, backend):
    return Sut(run, backend)


@hookimpl
def check_accuracy(samples, log):
    answers = log.as_arrays(np.int64)
    if any(answer.shape != (2,) for answer in answers):
        raise AccuracyError("an answer is not two numbers")
    values = samples.values[log.qsl_indices]
    right = np.stack(answers) == np.stack([values, values**2], axis=1)
    return {"right": 100 * right.all(axis=1).mean()}
