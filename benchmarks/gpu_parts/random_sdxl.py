"""The image plugin's backend with random weights of Stable Diffusion XL, on random prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from mlpinf_sdxl import checkpoint
from mlpinf_sdxl.samples import CaptionSamples
from mlpinf_sdxl.schedule import Schedule
from mlpinf_sdxl.torch_backend import Precision, TorchBackend

if TYPE_CHECKING:
    from mlpinf_core.protocols import Outputs
    from mlpinf_sdxl.torch_settings import TorchSettings

CAPTIONS = 5000
TOKENS = 77
STEPS = 20
GUIDANCE = 8.0
_END = 49_407
TOY_UNET: dict[str, Any] = {
    "block_out_channels": (32, 64, 64), "attention_head_dim": (1, 1, 1), "norm_num_groups": 8,
    "transformer_layers_per_block": (1, 1, 1),
}  # fmt: skip
TOY_VAE: dict[str, Any] = {"block_out_channels": (16, 16, 16, 16), "norm_num_groups": 8}
TOY_CLIP: dict[str, Any] = {"num_hidden_layers": 2}


class RandomSdxl(TorchBackend):
    """Batches are full but for the last one, so that one recorded size is enough."""

    toy: bool = False

    def _sizes(self) -> list[int]:
        return [self.max_batch_size]

    def _module(self, kind: str, dtype: torch.dtype) -> Any:
        from mlpinf_sdxl import torch_backend

        more: dict[str, Any] = {}
        if self.toy:
            more = {checkpoint.UNET: TOY_UNET, checkpoint.VAE: TOY_VAE}.get(kind, TOY_CLIP)
        return checkpoint.random(kind, torch_backend._FULL[kind] | more, dtype, self.device)

    def outputs(self, handed: Any) -> Outputs:
        """As always, except that random weights may well draw nothing but black."""
        pictures = handed.value
        shown = attrs.evolve(pictures, black=torch.zeros_like(pictures.black))
        return super().outputs(attrs.evolve(handed, value=shown))


def captions(count: int = CAPTIONS, *, latent: int = 128) -> CaptionSamples:
    """Random words; the last row is the negative prompt."""
    random = np.random.default_rng(2)
    ids = random.integers(1000, 40_000, (count + 1, TOKENS))
    ids[:, 0], ids[:, 20:] = 49_406, _END
    latents = random.standard_normal((1, 4, latent, latent)).astype(np.float32)
    return CaptionSamples(("",) * count, ids, ids, latents, None)


def backend(
    samples: CaptionSamples, settings: TorchSettings, batch: int, *, toy: bool
) -> RandomSdxl:
    """Not loaded yet."""
    dtype = "float32" if toy else "bfloat16"
    made = RandomSdxl(
        samples=samples, schedule=Schedule.euler(STEPS), guidance=GUIDANCE, settings=settings,
        device=torch.device("cpu" if toy else "cuda"), precision=Precision(dtype, dtype),
        max_batch_size=batch, vae_batch_size=settings.vae_batch_size or 2,
    )  # fmt: skip
    made.toy = toy
    return made
