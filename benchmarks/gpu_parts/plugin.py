"""The full-size models with random weights as benchmarks, so that the harness can run them.

``throughout.py`` registers this module as an mlpinf plugin while it measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core import hookimpl, setting
from mlpinf_core.benchmark import BackendInfo, Benchmark, VariantSpec
from mlpinf_core.rules.model import BenchmarkRules
from mlpinf_core.vocabulary import Variant
from mlpinf_rgat.benchmarks import RgatSettings
from mlpinf_rgat.benchmarks import TorchSettings as RgatTorchSettings
from mlpinf_whisper.torch_settings import TorchSettings as WhisperTorchSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.context import Run

RGAT, WHISPER = "random-rgat", "random-whisper"


@attrs.frozen
class RgatRandom(RgatSettings):
    """How large the graph is."""

    papers: int = setting(32_000_000, "Papers.")
    width: int = setting(1024, "Features of a node.")


@attrs.frozen
class WhisperRandom:
    """How large the model is, and how much is said."""

    toy: bool = setting(False, "A model of a few thousand weights.")
    clips: int = setting(1633, "Clips.")
    mean_tokens: float = setting(63.4, "Tokens of a text, with its end.")
    max_output_tokens: int = setting(200, "Most tokens of a text.")


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """Both."""
    return [_benchmark(RGAT, RgatRandom, 788_379), _benchmark(WHISPER, WhisperRandom, 1633)]


def _benchmark(name: str, settings: type[Any], samples: int) -> Benchmark:
    rules = BenchmarkRules(
        loadgen_name=name, dataset_size=samples, performance_sample_count=samples
    )
    spec = VariantSpec(summary="random weights", backend=name)
    return Benchmark(
        name, summary="random weights of the true size", variants={Variant.FULL: spec},
        settings=settings, rules=rules, response_dtype="int64",
    )  # fmt: skip


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """The plugins' own."""
    return [
        BackendInfo(RGAT, (RGAT,), "PyTorch", RgatTorchSettings),
        BackendInfo(WHISPER, (WHISPER,), "PyTorch", WhisperTorchSettings),
    ]


@hookimpl
def dataset(run: Run) -> str:
    """There is none."""
    return run.workload.benchmark


@hookimpl
def preprocess(run: Run, dataset: str) -> Any:
    """Clips of noise, or papers."""
    if dataset == RGAT:
        from gpu_parts import random_rgat

        return random_rgat.samples()
    from gpu_parts import random_whisper

    return random_whisper.clips(run.config.benchmark.clips)


@hookimpl
def build_backend(run: Run, samples: Any) -> Any:
    """The plugins' backends, on random weights."""
    benchmark, settings = run.config.benchmark, run.config.backend
    if run.workload.benchmark == RGAT:
        from gpu_parts import random_rgat

        from mlpinf_rgat.sharing import Share

        share = Share.of(settings, run.workload.scenario, run.workload.variant)
        return random_rgat.RandomRgat(
            benchmark.papers, benchmark, settings, share, benchmark.width
        )
    from gpu_parts import whisper

    return whisper.backend(
        samples, settings, run.config.sut.max_batch_size, benchmark.mean_tokens, toy=benchmark.toy
    )


@hookimpl
def make_sut(run: Run, backend: Any, samples: Any) -> Any:
    """The plugins' own."""
    if run.workload.benchmark == RGAT:
        from mlpinf_rgat.plugin import make_sut as graph_sut

        return graph_sut(run, backend)
    from mlpinf_whisper.plugin import make_sut as speech_sut

    return speech_sut(run, backend, samples)


@hookimpl
def check_accuracy() -> dict[str, float]:
    """Random weights know nothing."""
    return {}
