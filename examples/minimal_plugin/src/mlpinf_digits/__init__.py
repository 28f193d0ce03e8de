"""Which digit is in the picture? A whole benchmark: data set, backend, five hooks, rules.

What is heavier than NumPy belongs inside the hooks: every `mlpinf` command imports this module.
"""

import attrs
import numpy as np

import mlpinf_core as mlpinf
from mlpinf_core import hookimpl

# Fifteen bits a digit: five rows of three pixels, an octal figure a row.
FONT = (0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71111, 0o75757, 0o75717)


@attrs.frozen
class Settings:  # the table [benchmark]: `mlpinf run digits --set benchmark.noise=0.2`
    noise: float = mlpinf.setting(0.3, "Standard deviation of the noise on pixels of 0 to 1.")


@attrs.frozen(eq=False)
class Pictures:  # the samples: float32 [n, 60] and int64 [n]
    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def load(self, indices):
        pass  # all are in memory

    unload = load


def draw(count, noise, seed):
    """Random digits, 10 x 6 pixels each; the same for everybody."""
    random = np.random.default_rng(seed)
    bits = np.array([[glyph >> bit & 1 for bit in range(14, -1, -1)] for glyph in FONT])
    glyphs = np.kron(bits.reshape(10, 5, 3), np.ones((1, 2, 2))).reshape(10, 60)
    labels = random.integers(10, size=count)
    pixels = glyphs[labels] + noise * random.standard_normal((count, 60))
    return Pictures(pixels.astype(np.float32), labels)


@attrs.frozen(eq=False)
class Neighbour:  # the backend: a picture is what the known picture nearest to it is
    samples: Pictures
    known: Pictures

    def load(self):
        pass  # where an engine is loaded, untimed

    def warm_up(self):
        self.infer(np.arange(8))

    def infer(self, indices):  # int64 [n] to int64 [n, 1]
        differences = self.samples.pixels[indices, np.newaxis] - self.known.pixels
        nearest = np.square(differences).sum(axis=2).argmin(axis=1)
        return mlpinf.Outputs(self.known.labels[nearest, np.newaxis])

    def close(self):
        pass  # where it is freed, also after a failure


@hookimpl
def benchmarks():
    tiny = mlpinf.VariantSpec(summary="500 noisy pictures", backend="neighbour")
    limit = mlpinf.LatencyLimits(latency_ms=100)
    rules = mlpinf.BenchmarkRules(  # MLPerf has none for it
        loadgen_name="digits",
        dataset_size=500,
        performance_sample_count=500,
        accuracy={"99": {"top1": mlpinf.Limit(lower=0.99 * 99.2)}},  # 99 % of the reference
        latency={mlpinf.Scenario.SERVER: limit, mlpinf.Scenario.INTERACTIVE: limit},
    )
    variants = {mlpinf.Variant.TINY: tiny}
    more = {"settings": Settings, "rules": rules, "response_dtype": "int64"}
    return [mlpinf.Benchmark("digits", summary="which digit is it", variants=variants, **more)]


@hookimpl
def backends():
    return [mlpinf.BackendInfo("neighbour", benchmarks=("digits",), summary="NumPy")]


@hookimpl
def dataset(run):  # the raw data; most benchmarks `run.fetch` a file
    return draw(500, run.config.benchmark.noise, seed=1)


@hookimpl
def preprocess(run, dataset):  # the samples as the backend takes them; written once
    inputs = {"noise": run.config.benchmark.noise}  # all that decides what is written

    def write(directory):
        np.savez(directory / "pictures.npz", pixels=dataset.pixels, labels=dataset.labels)

    artifact = run.store.build("preprocessed_data", "digits", inputs, write)
    with np.load(artifact.path / "pictures.npz") as file:
        return Pictures(file["pixels"], file["labels"])


@hookimpl
def build_backend(run, samples):  # what computes; it is loaded later
    return Neighbour(samples, draw(1000, run.config.benchmark.noise, seed=2))


@hookimpl
def make_sut(run, backend):  # between LoadGen and the backend: queries become batches
    return mlpinf.BatchingSut(run.responder, backend.infer, run.config.sut)


@hookimpl
def check_accuracy(samples, log):  # LoadGen's log to the metrics that the rules limit
    answers = log.as_arrays("int64")
    if any(len(answer) != 1 for answer in answers):
        raise mlpinf.AccuracyError("an answer is not one number", where=str(log.path))
    right = np.concatenate(answers) == samples.labels[log.qsl_indices]
    return {"top1": 100 * right.mean()}
