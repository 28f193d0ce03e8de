"""Backend and SUT of a run, as its configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.machine import usable_processors
from mlpinf_core.vocabulary import Variant
from mlpinf_sdxl.schedule import Schedule

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import Sut
    from mlpinf_sdxl.samples import CaptionSamples
    from mlpinf_sdxl.tensorrt_backend import TensorRtBackend
    from mlpinf_sdxl.tensorrt_settings import TensorRtSettings
    from mlpinf_sdxl.torch_backend import TorchBackend
    from mlpinf_sdxl.torch_settings import TorchSettings

_VAE_BATCH = 2
"""Images decoded at a time. Each of the full variant's takes gigabytes for a moment; more of the
tiny one's than two no longer fit the caches of a core, and take longer each."""


def torch_backend(run: Run, samples: CaptionSamples) -> TorchBackend:
    """The ``torch`` backend of a run.

    Raises:
        PrerequisiteError: a CUDA device is asked for, and there is none.
        ConfigurationError: the device does not compute in the type that is asked for, or FP8 not
            beside it.
        IntegrityError: the pipeline's schedule is not the benchmark's.
    """
    import torch

    from mlpinf_sdxl.torch_backend import Precision, TorchBackend

    settings: TorchSettings = run.config.backend
    device = _device(settings.device)
    replicas, threads = _split(run, device)
    batch = run.config.sut.max_batch_size
    return TorchBackend(
        samples=samples,
        schedule=_schedule(run, samples.pipeline),
        guidance=run.config.benchmark.guidance,
        settings=settings,
        device=torch.device(device),
        precision=Precision(*_types(settings, device)),
        max_batch_size=batch,
        vae_batch_size=settings.vae_batch_size or min(batch, _VAE_BATCH),
        replicas=replicas,
        threads=threads,
    )


def tensorrt_backend(run: Run, samples: CaptionSamples) -> TensorRtBackend:
    """The ``tensorrt`` backend of a run; its engines are found, or built now.

    Raises:
        PrerequisiteError: TensorRT, a GPU or the calibration captions are missing.
        BackendError: an engine cannot be built.
        IntegrityError: the pipeline's schedule is not the benchmark's, or the calibration captions
            are not the reference's.
    """
    import torch

    from mlpinf_sdxl import engines
    from mlpinf_sdxl.tensorrt_backend import TensorRtBackend
    from mlpinf_sdxl.torch_backend import Precision

    settings: TensorRtSettings = run.config.backend
    flavour = engines.flavour_of(run)
    batch = run.config.sut.max_batch_size
    schedule = _schedule(run, samples.pipeline)
    return TensorRtBackend(
        samples=samples,
        schedule=schedule,
        guidance=run.config.benchmark.guidance,
        settings=settings,
        device=torch.device("cuda"),
        precision=Precision(settings.dtype, settings.vae_dtype),
        max_batch_size=batch,
        vae_batch_size=min(settings.vae_batch_size, batch),
        flavour=flavour,
        files=engines.all_engines(run, samples, flavour, schedule),
    )


def make_sut(run: Run, backend: TorchBackend) -> Sut:
    """Where queries follow each other, the stages of consecutive batches overlap."""
    from mlpinf_core.suts.inline import InlineSut
    from mlpinf_core.suts.pipeline import PipelineSut, Stage

    settings = run.config.sut
    if run.workload.scenario.is_stream:  # one query at a time: there is nothing to overlap it with
        return InlineSut(run.responder, backend.infer, max_batch_size=settings.max_batch_size)
    stages = [
        Stage("text", backend.encode),
        Stage("denoise", backend.denoise, workers=backend.replicas),
        Stage("decode", backend.decode),
        Stage("copy", backend.outputs),
    ]
    return PipelineSut(run.responder, stages, settings)


def _schedule(run: Run, pipeline: Path | None) -> Schedule:
    from mlpinf_sdxl.checkpoint import read_json

    steps = run.config.benchmark.steps
    if pipeline is None:
        return Schedule.euler(steps)
    path = pipeline / "scheduler" / "scheduler_config.json"
    return Schedule.of_config(read_json(path), steps, str(path))


def _types(settings: TorchSettings, device: str) -> tuple[str, str]:
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    vae = settings.vae_dtype
    if vae == "auto":
        vae = "float32" if dtype == "float16" else dtype
    for name, chosen in (("dtype", dtype), ("vae_dtype", vae)):
        if device == "cpu" and chosen == "float16":
            raise ConfigurationError(
                "the torch backend does not compute in float16 on a CPU",
                where=f"backend.{name}",
                remedy="set it to auto, float32 or bfloat16",
            )
    if settings.fp8 and dtype != "bfloat16":
        raise ConfigurationError(
            f"FP8's products are summed up in bfloat16, and the UNet computes in {dtype}",
            where="backend.fp8",
            remedy="set backend.dtype to bfloat16, or leave backend.fp8 out",
        )
    return dtype, vae


def _split(run: Run, device: str) -> tuple[int, int]:
    """Batches that are denoised at the same time, and threads for each.

    The tiny model's products are so small that threads wait for each other longer than they
    compute: a batch a core is faster than one on all, and one thread is enough for a single image.
    """
    settings: TorchSettings = run.config.backend
    cores = usable_processors()
    tiny = run.workload.variant is Variant.TINY
    alone = run.workload.scenario.is_stream or device == "cuda" or not tiny
    replicas = settings.replicas or (1 if alone else cores)
    return replicas, settings.threads or (1 if tiny else max(1, cores // replicas))


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise PrerequisiteError(
        "PyTorch finds no CUDA device",
        where="backend.device",
        remedy="check the driver and that PyTorch was built for CUDA, or set backend.device to cpu",
    )
