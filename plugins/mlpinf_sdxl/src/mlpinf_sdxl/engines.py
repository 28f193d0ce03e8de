"""The four engines of a pipeline: what each is built from and for, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import torch

from mlpinf_core.context import Run
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.hashing import HashMemory, digest
from mlpinf_core.tensorrt import flavour as flavours
from mlpinf_core.tensorrt.flavour import Flavour
from mlpinf_core.tensorrt.memory import capability
from mlpinf_core.tensorrt.spec import EngineSpec, Range
from mlpinf_core.tensorrt.store import EngineFile, built
from mlpinf_sdxl import checkpoint, exporting, feeding, quantising
from mlpinf_sdxl.feeding import Calibration
from mlpinf_sdxl.samples import CaptionSamples

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.hashing import JSON
    from mlpinf_sdxl.exporting import Export
    from mlpinf_sdxl.schedule import Schedule
    from mlpinf_sdxl.tensorrt_settings import TensorRtSettings

_SHARE: Final = {"clip1": 0.05, "clip2": 0.15, "unet": 0.65, "vae": 0.15}
"""Of the time that building all of them takes, about; measured with the tiny pipeline."""


def all_engines(
    run: Run, samples: CaptionSamples, flavour: Flavour, schedule: Schedule
) -> dict[str, EngineFile]:
    """Every engine of a run by its name: found, or built now.

    Raises:
        ConfigurationError: the weights are random, there is no such target, or it does not compute
            in FP8 and is to.
        PrerequisiteError: a file of the pipeline is missing, or the calibration captions, or there
            is no GPU to build for.
        IntegrityError: the calibration captions are not the reference's.
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
    if settings.unet_quantization == "fp8":
        _require_fp8(target)
    weights = {one.module: _hash(run, samples.pipeline, one.module) for one in exporting.EXPORTS}
    making = _Making(
        run,
        samples,
        flavour,
        target,
        weights,
        feeding.chosen(run, samples, schedule, weights),
        _Progress(run),
    )
    return {export.engine: making.engine(export) for export in exporting.EXPORTS}


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
        self.plain(f"{sentence}{about}", done, total)

    def plain(self, sentence: str, done: int, total: int) -> None:
        """The same of what no engine's time tells anything of."""
        if total:
            self._events.step(sentence, done, total)
        else:
            self._events.step(sentence)

    def done(self, engine: str, seconds: float) -> None:
        """Take in how long an engine took."""
        self._seconds[engine] = seconds

    def _left(self) -> float:
        share = sum(_SHARE[name] for name in self._seconds)
        return sum(self._seconds.values()) / share * (1 - share) if share else 0.0


@attrs.frozen(eq=False)
class _Making:
    """What the engines of a run have in common."""

    run: Run
    samples: CaptionSamples
    flavour: Flavour
    target: str
    weights: Mapping[str, str]
    calibration: Calibration | None
    progress: _Progress

    def engine(self, export: Export) -> EngineFile:
        """One of them: found, or built now."""
        settings: TensorRtSettings = self.run.config.backend
        calibration = self.calibration if export.module == checkpoint.UNET else None
        kind, layers = settings.unet_quantization, settings.unet_quantized_layers
        dtype = settings.vae_dtype if export.module == checkpoint.VAE else settings.dtype
        module = self._empty(export)
        trailing = self._shapes(export, module)
        source: dict[str, JSON] = {
            "weights": self.weights[export.module],
            "export": exporting.VERSION,
        }
        products = quantising.count(module, layers) if calibration is not None else 0
        if calibration is not None:
            source["dtype"] = dtype
            source["quantized_layers"] = layers
            source["quantized_products"] = products
            source["calibration"] = calibration.inputs()
        spec = EngineSpec(
            export.engine,
            profile(export, trailing, self.run.config.sut.max_batch_size, settings.vae_batch_size),
            target=self.target if self.flavour.ahead_of_time else None,
            precision=dtype if calibration is None or kind == "none" else kind,
            level=settings.level,
            flags=settings.builder_flags,
        )

        def write(directory: Path) -> Path:
            if calibration is None or kind == "none":
                return self._graph(export, trailing, dtype, directory)
            scales = quantising.measured(self.run.store, calibration, self.progress.plain)
            graph = self._graph(export, trailing, dtype, directory)
            return quantising.quantised(graph, scales, kind, layers, products)

        found = built(
            self.run.store, self.flavour, spec, source, write, self.progress, target=self.target
        )
        self.progress.done(export.engine, found.seconds)
        return found

    def _empty(self, export: Export) -> Any:
        config = checkpoint.read_json(self._folder / export.module / checkpoint.CONFIG)
        return checkpoint.empty(export.module, config)

    def _shapes(self, export: Export, module: Any) -> dict[str, tuple[int, ...]]:
        latents, ids = self.samples.latents, self.samples.first
        return exporting.shapes(export, module, latents.shape[-1], ids.shape[-1])

    def _graph(
        self, export: Export, trailing: dict[str, tuple[int, ...]], dtype: str, directory: Path
    ) -> Path:
        kind: torch.dtype = getattr(torch, dtype)
        whole: Any = checkpoint.load(export.module, self._folder, kind, torch.device("cpu"))
        path = directory / f"{export.engine}.onnx"
        exporting.write(export, whole, trailing, path, kind)
        return path

    @property
    def _folder(self) -> Path:
        if self.samples.pipeline is None:
            raise RuntimeError("there are no weights to build engines from")
        return self.samples.pipeline


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


_FP8: Final = (8, 9)
"""The first compute capability that computes in FP8."""


def _require_fp8(target: str) -> None:
    """Calibration takes long, and TensorRT would refuse after it."""
    parts = target.split(".")
    if all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < _FP8:
        raise ConfigurationError(
            f"a GPU of compute capability {target} does not compute in FP8",
            where="backend.unet_quantization",
            remedy="set it to int8 or none, or build for 8.9 or more",
        )


def _hash(run: Run, folder: Path, kind: str) -> str:
    module = folder / kind
    memory = HashMemory(run.scratch.engines / ".sdxl.sha256.json")
    run.scratch.ensure(run.scratch.engines)
    files = [module / checkpoint.CONFIG, *checkpoint.weight_files(module)]
    return digest([memory.sha256(file) for file in files])
