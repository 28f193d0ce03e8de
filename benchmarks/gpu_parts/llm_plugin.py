"""The language models with random weights as benchmarks, so that the harness can run them.

``throughout.py`` registers this module as an mlpinf plugin while it measures. It is one of its own
so that vLLM's environment need not have what the other models need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core import hookimpl, setting
from mlpinf_core.benchmark import BackendInfo, Benchmark, VariantSpec
from mlpinf_core.rules import load_round
from mlpinf_core.vocabulary import Scenario, Variant
from mlpinf_llm.vllm.settings import VllmSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.context import Run

MODELS = ("llama3.1-8b", "llama2-70b")
BACKEND = "random-vllm"
_PREFIX = "random-"


def benchmark(model: str) -> str:
    """The name under which the harness runs a model."""
    return _PREFIX + model


@attrs.frozen
class LlmRandom:
    """How large the model is, and how many prompts there are."""

    toy: bool = setting(False, "A model of a few thousand weights, and short texts.")
    prompts: int = setting(1024, "Prompts.")


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """All of them."""
    return [_benchmark(model) for model in MODELS]


def _benchmark(model: str) -> Benchmark:
    """With LoadGen's settings and the latency limits of the round whose results are published."""
    rules = attrs.evolve(load_round("v5.1").benchmark(model), offline_min_samples=1)
    spec = VariantSpec(summary="random weights", backend=BACKEND)
    return Benchmark(
        benchmark(model), summary="random weights of the true size",
        variants={Variant.FULL: spec}, settings=LlmRandom, rules=rules, response_dtype="int32",
    )  # fmt: skip


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """The plugin's own."""
    names = tuple(benchmark(model) for model in MODELS)
    return [BackendInfo(BACKEND, names, "vLLM, weights made up", VllmSettings)]


@hookimpl
def dataset(run: Run) -> str:
    """There is none."""
    return run.workload.benchmark


@hookimpl
def preprocess(run: Run, dataset: str) -> Any:
    """Random ids."""
    from gpu_parts import llm_shapes, random_llm

    settings = run.config.benchmark
    shape = llm_shapes.shape(dataset.removeprefix(_PREFIX), toy=settings.toy)
    return random_llm.samples(shape, settings.prompts)


@hookimpl
def build_backend(run: Run, samples: Any) -> Any:
    """The plugin's engine behind its own loop; what it serves is a folder without weights."""
    from gpu_parts import llm_shapes, random_llm
    from mlpinf_llm.engine_backend import EngineBackend

    model, settings = run.workload.benchmark.removeprefix(_PREFIX), run.config.backend
    shape = llm_shapes.shape(model, toy=run.config.benchmark.toy)
    shape = attrs.evolve(shape, settings=settings)
    ask = random_llm.asked(model, shape, stream=run.workload.scenario is not Scenario.OFFLINE)
    return EngineBackend(
        title="vLLM", where=str(settings.checkpoint),
        make=lambda: random_llm.RandomService(shape, settings.checkpoint, ask, samples),
        samples=samples, ask=ask, room=shape.room, remedy="its last words are in child.log",
        events=run.events,
    )  # fmt: skip


@hookimpl
def make_sut(run: Run, backend: Any, samples: Any) -> Any:
    """The plugin's own."""
    from mlpinf_llm.backends import sut_of

    return sut_of(run, backend, samples)


@hookimpl
def check_accuracy() -> dict[str, float]:
    """Random weights know nothing."""
    return {}
