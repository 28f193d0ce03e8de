"""What the UNet is fed to find its scales: its inputs while calibration captions are denoised.

The loop runs PyTorch's modules in float32, a caption at a time; of some of its steps the UNet's
inputs are handed on.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import torch

from mlpinf_core.hashing import digest
from mlpinf_sdxl import calibration, captions, checkpoint, denoising, exporting
from mlpinf_sdxl.data import TOKENIZERS
from mlpinf_sdxl.denoising import Denoiser
from mlpinf_sdxl.samples import CaptionSamples
from mlpinf_sdxl.schedule import Schedule
from mlpinf_sdxl.tokens import ClipTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from mlpinf_core.context import Run
    from mlpinf_core.hashing import JSON
    from mlpinf_sdxl.denoising import Text
    from mlpinf_sdxl.tensorrt_settings import TensorRtSettings

    Feed = Mapping[str, npt.NDArray[np.float32]]
    Announce = Callable[[str, int, int], None]

_MODULES: Final = (checkpoint.UNET, checkpoint.CLIP1, checkpoint.CLIP2)
_EXPORTERS: Final = ("diffusers", "onnxscript", "torch")
"""The packages that decide what the UNet's graph looks like."""


@attrs.frozen(eq=False)
class Calibration:
    """What the scales come from.

    Attributes:
        samples: the calibration captions, with the negative prompt, latents and pipeline.
        steps: of the denoising loop that are measured, ascending.
        schedule: of all steps.
        guidance: how far to lead away from the negative prompt.
        weights: hashes of the modules that the loop runs.
    """

    samples: CaptionSamples
    steps: tuple[int, ...]
    schedule: Schedule
    guidance: float
    weights: Mapping[str, str]

    @property
    def pipeline(self) -> Path:
        """The folder of the weights."""
        if self.samples.pipeline is None:
            raise RuntimeError("there are no weights to calibrate")
        return self.samples.pipeline

    def inputs(self) -> dict[str, JSON]:
        """Plain values that decide the scales."""
        given = self.samples
        return {
            "captions": captions.digest(given.captions),
            "samples": len(given),
            "steps": list(self.steps),
            "denoising_steps": len(self.schedule),
            "guidance": self.guidance,
            "tokens": digest([given.first.tolist(), given.second.tolist()]),
            "latents": digest(given.latents.tolist()),
            "weights": dict(self.weights),
            "export": exporting.VERSION,
            "packages": {name: _version(name) for name in _EXPORTERS},
        }


def chosen(
    run: Run, samples: CaptionSamples, schedule: Schedule, weights: Mapping[str, str]
) -> Calibration | None:
    """The calibration of a run; None where its UNet is not quantised.

    Args:
        run: whose settings say so.
        samples: of the benchmark.
        schedule: of the denoising steps.
        weights: hash of each module.

    Raises:
        PrerequisiteError: the calibration captions are missing.
        IntegrityError: they are not the reference's.
    """
    settings: TensorRtSettings = run.config.backend
    if settings.unet_quantization == "none":
        return None
    texts = calibration.read(run)[: settings.calibration_samples or None]
    count = min(settings.calibration_steps or len(schedule), len(schedule))
    middle = (len(schedule) - 1) / 2
    spread = np.linspace(0, 2 * middle, count) if count > 1 else np.array([middle])
    return Calibration(
        samples=_tokenised(texts, samples),
        steps=tuple(int(step) for step in spread),
        schedule=schedule,
        guidance=run.config.benchmark.guidance,
        weights={kind: weights[kind] for kind in _MODULES},
    )


def _version(package: str) -> str:
    """Without what a build of it is for, ``+cpu``: all of them make the same graph."""
    return importlib.metadata.version(package).partition("+")[0]


def _tokenised(texts: tuple[str, ...], samples: CaptionSamples) -> CaptionSamples:
    """Other captions of the same pipeline, the same negative prompt after them."""
    if samples.pipeline is None:
        raise RuntimeError("there are no weights to calibrate")
    rows = [
        np.concatenate([ClipTokenizer.of_folder(samples.pipeline / name).rows(texts), ids[-1:]])
        for name, ids in zip(TOKENIZERS, (samples.first, samples.second), strict=True)
    ]
    return attrs.evolve(samples, captions=texts, first=rows[0], second=rows[1])


def export(how: Calibration, folder: Path) -> tuple[Path, Any]:
    """The UNet's graph in float32, and the UNet."""
    unet = checkpoint.load(checkpoint.UNET, how.pipeline, torch.float32, torch.device("cpu"))
    what = next(one for one in exporting.EXPORTS if one.module == checkpoint.UNET)
    given = how.samples
    trailing = exporting.shapes(what, unet, given.latents.shape[-1], given.first.shape[-1])
    path = folder / "unet.onnx"
    exporting.write(what, unet, trailing, path, torch.float32)
    return path, unet


def feeds(how: Calibration, unet: Any, announce: Announce) -> Iterator[Feed]:
    """The UNet's inputs at the chosen steps of each caption, [negative, positive].

    Args:
        how: to calibrate.
        unet: in float32; moves to a CUDA device where there is one.
        announce: told how many captions are done.
    """
    given, count = how.samples, len(how.samples)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clip1, clip2 = (
        checkpoint.load(kind, how.pipeline, torch.float32, device)
        for kind in (checkpoint.CLIP1, checkpoint.CLIP2)
    )
    seen = _Seen(unet.to(device))

    def encoded(row: int) -> Text:
        first, second = (
            torch.from_numpy(ids[row : row + 1]).to(device) for ids in (given.first, given.second)
        )
        return denoising.encode(clip1, clip2, first, second, torch.float32)

    with torch.inference_mode():
        negative = encoded(count)
        denoiser = Denoiser(
            seen,
            how.schedule,
            torch.from_numpy(given.latents).to(device),
            negative.after(negative),
            guidance=how.guidance,
            dtype=torch.float32,
            size=given.image_size,
        )
    for row in range(count):
        announce("calibrating unet", row, count)
        seen.feeds.clear()
        with torch.inference_mode():
            denoiser(encoded(row).after(negative))
        for step in how.steps:
            yield seen.feeds[step]
    announce("calibrating unet", count, count)


class _Seen:
    """A UNet that keeps what it was given since it was last cleared: one caption's inputs."""

    def __init__(self, unet: Any) -> None:
        self._unet = unet
        self.feeds: list[Feed] = []

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        added_cond_kwargs: Mapping[str, Tensor],
        return_dict: bool,
    ) -> Any:
        given = {
            "sample": sample,
            "timestep": timestep,
            "states": encoder_hidden_states,
            "pooled": added_cond_kwargs["text_embeds"],
            "time_ids": added_cond_kwargs["time_ids"],
        }
        self.feeds.append({name: _copy(value) for name, value in given.items()})
        return self._unet(
            sample,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            added_cond_kwargs=added_cond_kwargs,
            return_dict=return_dict,
        )


def _copy(value: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = value.float().cpu().numpy().copy()
    return found
