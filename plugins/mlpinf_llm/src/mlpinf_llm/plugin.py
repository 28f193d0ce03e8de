"""The hooks of the language benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.hookspecs import hookimpl
from mlpinf_llm import benchmarks as declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.benchmark import BackendInfo, Benchmark
    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import NotGraded, Sut
    from mlpinf_llm.ct2 import CTranslate2Backend
    from mlpinf_llm.dataset import DataFile
    from mlpinf_llm.samples import TokenSamples


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """llama2-70b, llama3.1-8b and its edge form, llama3.1-405b, deepseek-r1."""
    return declared.all_benchmarks()


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """CTranslate2."""
    return declared.all_backends()


@hookimpl
def dataset(run: Run) -> DataFile:
    """The data set's file, official or tiny; read when it has to be."""
    from mlpinf_llm import locate

    return locate.data_file(run)


@hookimpl
def preprocess(run: Run, dataset: DataFile) -> TokenSamples:
    """The prompts' ids, in the data file's order, with what they are scored against."""
    from mlpinf_llm import samples

    return samples.preprocessed(run, dataset)


@hookimpl
def build_backend(run: Run, samples: TokenSamples) -> CTranslate2Backend:
    """The engine, converted once from the model."""
    from mlpinf_llm import ct2

    return ct2.make(run, samples)


@hookimpl
def make_sut(run: Run, backend: CTranslate2Backend, samples: TokenSamples) -> Sut:
    """Batches in a queue; first tokens are reported where LoadGen asks for them."""
    import attrs

    from mlpinf_core.suts.batching import BatchingSut
    from mlpinf_core.suts.ordering import longest_first
    from mlpinf_core.suts.streaming import StreamingSut
    from mlpinf_core.vocabulary import Scenario

    settings = run.config.sut
    settings = attrs.evolve(settings, workers=max(settings.workers, backend.replicas))
    if run.workload.scenario.is_stream:
        settings = attrs.evolve(settings, max_wait_ms=0)  # nothing comes before this is answered
    if run.workload.scenario is Scenario.OFFLINE:
        # CTranslate2 takes prompts of different lengths token by token from the end of the shortest
        # on, so batches of nearly one length are faster (measured: 1.7 times).
        order = longest_first(samples.lengths)
        return BatchingSut(run.responder, backend.infer, settings, order=order)
    return StreamingSut(run.responder, backend.answer, settings)


@hookimpl
def check_accuracy(
    run: Run, samples: TokenSamples, log: AccuracyLog
) -> Mapping[str, float | NotGraded]:
    """ROUGE, exact match and lengths against the data file's references."""
    from mlpinf_llm import accuracy

    return accuracy.score(run, samples, log)
