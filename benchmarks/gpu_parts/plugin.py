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
from mlpinf_sdxl.torch_settings import TorchSettings as SdxlTorchSettings
from mlpinf_whisper.torch_settings import TorchSettings as WhisperTorchSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.context import Run

RGAT, WHISPER, SDXL = "random-rgat", "random-whisper", "random-sdxl"


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


@attrs.frozen
class SdxlRandom:
    """How large the model is."""

    toy: bool = setting(False, "A model of few weights, and small images.")


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """All of them."""
    return [
        _benchmark(RGAT, RgatRandom, 788_379, "int64"),
        _benchmark(WHISPER, WhisperRandom, 1633, "int64"),
        _benchmark(SDXL, SdxlRandom, 5000, "uint8"),
    ]


def _benchmark(name: str, settings: type[Any], samples: int, dtype: str) -> Benchmark:
    rules = BenchmarkRules(
        loadgen_name=name, dataset_size=samples, performance_sample_count=samples
    )
    spec = VariantSpec(summary="random weights", backend=name)
    return Benchmark(
        name, summary="random weights of the true size", variants={Variant.FULL: spec},
        settings=settings, rules=rules, response_dtype=dtype,
    )  # fmt: skip


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """The plugins' own."""
    return [
        BackendInfo(RGAT, (RGAT,), "PyTorch", RgatTorchSettings),
        BackendInfo(WHISPER, (WHISPER,), "PyTorch", WhisperTorchSettings),
        BackendInfo(SDXL, (SDXL,), "PyTorch", SdxlTorchSettings),
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
    if dataset == SDXL:
        from gpu_parts import random_sdxl

        toy = run.config.benchmark.toy
        return random_sdxl.captions(5000, latent=16 if toy else 128)
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
        batch = run.config.sut.max_batch_size
        return random_rgat.RandomRgat(
            benchmark.papers, benchmark, settings, share, batch, benchmark.width
        )
    batch = run.config.sut.max_batch_size
    if run.workload.benchmark == SDXL:
        from gpu_parts import random_sdxl

        return random_sdxl.backend(samples, settings, batch, toy=benchmark.toy)
    from gpu_parts import whisper

    return whisper.backend(samples, settings, batch, benchmark.mean_tokens, toy=benchmark.toy)


@hookimpl
def make_sut(run: Run, backend: Any, samples: Any) -> Any:
    """The plugins' own."""
    if run.workload.benchmark == RGAT:
        from mlpinf_rgat.plugin import make_sut as graph_sut

        return graph_sut(run, backend)
    if run.workload.benchmark == SDXL:
        from mlpinf_sdxl.building import make_sut as image_sut

        return image_sut(run, backend)
    from mlpinf_whisper.plugin import make_sut as speech_sut

    return speech_sut(run, backend, samples)


@hookimpl
def check_accuracy() -> dict[str, float]:
    """Random weights know nothing."""
    return {}
