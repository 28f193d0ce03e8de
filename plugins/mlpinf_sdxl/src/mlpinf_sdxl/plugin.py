"""The hooks of the text to image benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.hookspecs import hookimpl
from mlpinf_sdxl import benchmarks as declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.benchmark import BackendInfo, Benchmark
    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import NotGraded, Sut
    from mlpinf_sdxl.data import DataSet, RandomData
    from mlpinf_sdxl.samples import CaptionSamples
    from mlpinf_sdxl.torch_backend import TorchBackend


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """Stable Diffusion XL."""
    return [declared.benchmark()]


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """PyTorch and TensorRT."""
    return declared.all_backends()


@hookimpl
def dataset(run: Run) -> DataSet | RandomData:
    """The captions, and the latents that every image starts from."""
    from mlpinf_sdxl import data

    return data.dataset(run)


@hookimpl
def preprocess(run: Run, dataset: DataSet | RandomData) -> CaptionSamples:
    """The captions, tokenised for both encoders."""
    from mlpinf_sdxl import data

    return data.preprocessed(run, dataset)


@hookimpl
def build_backend(run: Run, samples: CaptionSamples) -> TorchBackend | None:
    """The backend that was chosen."""
    from mlpinf_sdxl import building

    if run.config.run.backend == declared.TORCH:
        return building.torch_backend(run, samples)
    if run.config.run.backend == declared.TENSORRT:
        return building.tensorrt_backend(run, samples)
    return None  # another distribution's backend is its own hook's business


@hookimpl
def make_sut(run: Run, backend: TorchBackend) -> Sut:
    """Text, denoising, decoding and copying out of consecutive batches at the same time."""
    from mlpinf_sdxl import building

    return building.make_sut(run, backend)


@hookimpl
def check_accuracy(
    run: Run, samples: CaptionSamples, log: AccuracyLog
) -> Mapping[str, float | NotGraded]:
    """Prompt adherence and drift of the tiny variant; CLIP score and FID of the full one."""
    from mlpinf_sdxl import accuracy

    return accuracy.score(run, samples, log)
