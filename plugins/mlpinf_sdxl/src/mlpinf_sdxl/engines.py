"""The four engines of a pipeline: what each is built from and for, and where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.hashing import HashMemory, digest
from mlpinf_core.tensorrt import flavour as flavours
from mlpinf_core.tensorrt.memory import capability
from mlpinf_core.tensorrt.spec import EngineSpec, Range
from mlpinf_core.tensorrt.store import EngineFile, built
from mlpinf_sdxl import checkpoint, exporting

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_core.hashing import JSON
    from mlpinf_core.tensorrt.flavour import Flavour
    from mlpinf_sdxl.exporting import Export
    from mlpinf_sdxl.samples import CaptionSamples
    from mlpinf_sdxl.tensorrt_settings import TensorRtSettings

_SHARE: Final = {"clip1": 0.05, "clip2": 0.15, "unet": 0.65, "vae": 0.15}
"""Of the time that building all of them takes, about; measured with the tiny pipeline."""


def all_engines(run: Run, samples: CaptionSamples, flavour: Flavour) -> dict[str, EngineFile]:
    """Every engine of a run by its name: found, or built now.

    Raises:
        ConfigurationError: the weights are random, or there is no such target.
        PrerequisiteError: a file of the pipeline is missing, or there is no GPU to build for.
        BackendError: TensorRT refuses.
    """
    if samples.pipeline is None:
        raise ConfigurationError(
            "engines are built from a checkpoint",
            where="benchmark.random_weights",
            remedy="leave it out, or use the backend torch",
        )
    settings: TensorRtSettings = run.config.backend
    target = target_of(settings.target, flavour)
    progress = _Progress(run)
    found = {}
    for export in exporting.EXPORTS:
        found[export.engine] = _engine(run, samples, flavour, export, target, progress)
        progress.done(export.engine, found[export.engine].seconds)
    return found


def target_of(wanted: str, flavour: Flavour) -> str:
    """The compute capability that a run's engines are built for.

    Args:
        wanted: the setting; empty is the GPU that is there.
        flavour: of TensorRT.

    Raises:
        ConfigurationError: another GPU is asked for, and the flavour builds for this one only.
        PrerequisiteError: there is no GPU, and it has to be asked.
    """
    if wanted and flavour.ahead_of_time:
        return wanted
    here = capability()
    if wanted not in ("", here):
        raise ConfigurationError(
            f"{flavour.name} builds for the GPU that is there, which has compute capability "
            f"{here}, and not for {wanted}",
            where="backend.target",
            remedy="leave backend.target out, or set backend.flavour to tensorrt_rtx",
        )
    return here


def flavour_of(run: Run) -> Flavour:
    """The TensorRT that the settings ask for.

    Raises:
        PrerequisiteError: it is not installed.
    """
    return flavours.load(run.config.backend.flavour)


class _Progress:
    """Says what is being built, and about how long the rest takes."""

    def __init__(self, run: Run) -> None:
        self._events = run.events
        self._seconds: dict[str, float] = {}

    def __call__(self, sentence: str, done: int, total: int) -> None:
        left = self._left()
        about = f", about {left:.0f} s left after the engines so far" if left else ""
        if total:
            self._events.step(f"{sentence}{about}", done, total)
        else:
            self._events.step(f"{sentence}{about}")

    def done(self, engine: str, seconds: float) -> None:
        """Take in how long an engine took."""
        self._seconds[engine] = seconds

    def _left(self) -> float:
        share = sum(_SHARE[name] for name in self._seconds)
        return sum(self._seconds.values()) / share * (1 - share) if share else 0.0


def _engine(
    run: Run,
    samples: CaptionSamples,
    flavour: Flavour,
    export: Export,
    target: str,
    progress: _Progress,
) -> EngineFile:
    settings: TensorRtSettings = run.config.backend
    folder = _pipeline(samples)
    dtype = settings.vae_dtype if export.module == checkpoint.VAE else settings.dtype
    module = checkpoint.empty(
        export.module, checkpoint.read_json(folder / export.module / checkpoint.CONFIG)
    )
    trailing = exporting.shapes(export, module, samples.latents.shape[-1], samples.first.shape[-1])

    def write(directory: Path) -> Path:
        whole: Any = checkpoint.load(
            export.module, folder, getattr(torch, dtype), torch.device("cpu")
        )
        path = directory / f"{export.engine}.onnx"
        exporting.write(export, whole, trailing, path, getattr(torch, dtype))
        return path

    spec = EngineSpec(
        export.engine,
        profile(export, trailing, run.config.sut.max_batch_size, settings.vae_batch_size),
        target=target if flavour.ahead_of_time else None,
        precision=dtype,
        level=settings.level,
        flags=settings.builder_flags,
    )
    source: dict[str, JSON] = {**_hashes(run, folder, export), "export": exporting.VERSION}
    return built(run.store, flavour, spec, source, write, progress, target=target)


def profile(
    export: Export, trailing: dict[str, tuple[int, ...]], batch: int, decoded: int
) -> dict[str, Range]:
    """The shapes of each input.

    Args:
        export: which engine.
        trailing: shapes after the batch.
        batch: prompts at a time; the UNet sees each twice, and the negative prompt comes alone.
        decoded: images decoded at a time.
    """
    most = {"unet": 2 * batch, "vae": min(decoded, batch)}.get(export.engine, batch)
    return {
        name: Range.fixed(shape) if name in export.fixed else Range.batches(most, shape)
        for name, shape in trailing.items()
    }


def _pipeline(samples: CaptionSamples) -> Path:
    if samples.pipeline is None:
        raise RuntimeError("there are no weights to build engines from")
    return samples.pipeline


def _hashes(run: Run, folder: Path, export: Export) -> dict[str, str]:
    module = folder / export.module
    memory = HashMemory(run.scratch.engines / ".sdxl.sha256.json")
    run.scratch.ensure(run.scratch.engines)
    files = [module / checkpoint.CONFIG, *checkpoint.weight_files(module)]
    return {"weights": digest([memory.sha256(file) for file in files])}
