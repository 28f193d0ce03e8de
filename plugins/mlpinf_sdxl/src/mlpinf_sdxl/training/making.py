"""Images of all captions, made with a pipeline's folder, outside any run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mlpinf_sdxl import captions, checkpoint
from mlpinf_sdxl.benchmarks import NEGATIVE_PROMPT
from mlpinf_sdxl.samples import CaptionSamples
from mlpinf_sdxl.schedule import Schedule
from mlpinf_sdxl.tokens import ClipTokenizer
from mlpinf_sdxl.torch_backend import Precision, TorchBackend
from mlpinf_sdxl.torch_settings import TorchSettings

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_BATCH = 8


def backend(
    folder: Path, *, steps: int = 20, guidance: float = 8.0, dtype: str = "float32"
) -> TorchBackend:
    """The backend over the files of the tiny variant, on a CPU."""
    texts = captions.read(folder / "captions.tsv")
    pipeline = folder / "pipeline"
    first, second = (
        ClipTokenizer.of_folder(pipeline / name).rows([*texts, NEGATIVE_PROMPT])
        for name in ("tokenizer", "tokenizer_2")
    )
    config = checkpoint.read_json(pipeline / "scheduler" / "scheduler_config.json")
    return TorchBackend(
        samples=CaptionSamples(
            tuple(texts), first, second, np.load(folder / "latents.npy"), pipeline
        ),
        schedule=Schedule.of_config(config, steps, str(pipeline)),
        guidance=guidance,
        settings=TorchSettings(),
        device=torch.device("cpu"),
        precision=Precision(dtype, dtype),
        max_batch_size=_BATCH,
        vae_batch_size=_BATCH,
    )


def images(folder: Path, **how: float) -> npt.NDArray[np.uint8]:
    """Images of all captions, uint8 [n, 128, 128, 3]."""
    made = backend(folder, **how)  # type: ignore[arg-type]
    made.load()
    indices = np.arange(len(made.samples))
    parts = np.array_split(indices, max(1, len(indices) // _BATCH))
    return np.concatenate([np.asarray(made.infer(part).data) for part in parts])
