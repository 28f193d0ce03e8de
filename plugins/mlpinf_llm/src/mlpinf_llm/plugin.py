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
    from mlpinf_core.protocols import Backend, Sut
    from mlpinf_core.servers import ServeOptions, ServerSpec
    from mlpinf_llm.samples import TokenSamples
    from mlpinf_llm.tables import Table


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """llama2-70b, llama3.1-8b and its edge form, llama3.1-405b, deepseek-r1."""
    return declared.all_benchmarks()


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """CTranslate2 in process, and servers that speak the OpenAI API."""
    return declared.all_backends()


@hookimpl
def dataset(run: Run) -> Table:
    """The data file of the variant, read."""
    from mlpinf_core.errors import IntegrityError
    from mlpinf_llm import tables, tiny

    benchmark = tiny.BENCHMARKS[declared.data_name(run.benchmark.name)]
    try:
        return tables.read_table(tiny.data_path(benchmark.file))
    except tables.TableError as error:
        raise IntegrityError(str(error), remedy="install mlpinf-llm again") from error


@hookimpl
def preprocess(run: Run, dataset: Table) -> TokenSamples:
    """The prompts' ids, in the data file's order."""
    from mlpinf_core.hashing import sha256_of
    from mlpinf_llm import samples

    return samples.preprocessed(run, dataset, sha256_of(dataset.path))


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
def check_accuracy(run: Run, samples: TokenSamples, log: AccuracyLog) -> Mapping[str, float]:
    """ROUGE, exact match and lengths against the data file's references."""
    from mlpinf_llm import accuracy

    return accuracy.score(run, samples, log)
