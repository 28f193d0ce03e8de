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
    from mlpinf_core.protocols import Backend, NotGraded, Sut
    from mlpinf_core.servers import ServeOptions, ServerSpec
    from mlpinf_llm.dataset import DataFile
    from mlpinf_llm.samples import TokenSamples


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """llama2-70b, llama3.1-8b and its edge form, llama3.1-405b, deepseek-r1."""
    return declared.all_benchmarks()


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """Engines in process, servers over HTTP and gRPC, and a simulator."""
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
def build_backend(run: Run, samples: TokenSamples) -> Backend:
    """The backend that was chosen; its engine is converted once from the model."""
    from mlpinf_llm import backends as known

    return known.make(run, samples)


@hookimpl
def make_sut(run: Run, backend: Backend, samples: TokenSamples) -> Sut:
    """Batches in a queue, or requests on their way; first tokens where LoadGen asks for them."""
    from mlpinf_llm import backends as known

    return known.sut_of(run, backend, samples)


@hookimpl
def servers(run: Run, options: ServeOptions) -> Sequence[ServerSpec]:
    """trtllm-serve, vLLM, SGLang, or the small embedded server."""
    from mlpinf_llm import serving

    return serving.specs(run, options)


@hookimpl
def check_accuracy(
    run: Run, samples: TokenSamples, log: AccuracyLog
) -> Mapping[str, float | NotGraded]:
    """ROUGE, exact match and lengths against the data file's references."""
    from mlpinf_llm import accuracy

    return accuracy.score(run, samples, log)
