"""Trains the autoencoder: images of scenes to latents and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from mlpinf_sdxl import tiny_model
from mlpinf_sdxl.training.common import Average, Progress, Schedule, pixels, save, some

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import AutoencoderKL
    from torch import Tensor

    from mlpinf_sdxl.training.scenes import Scene

_CROP: Final = 64
_CROPPED: Final = 0.85
"""Share of the steps that see crops of images: four times as cheap as whole ones."""
_DIVERGENCE: Final = 3e-4
"""Weight of the latents' distance to a normal distribution, against that of the pixels."""


def train(scenes: Sequence[Scene], steps: int, out: Path) -> None:
    """Train it, and write its weights."""
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    model = AutoencoderKL(**tiny_model.VAE).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0, betas=(0.9, 0.98), weight_decay=1e-4)
    schedule, progress = Schedule(optimiser, steps, 3e-3), Progress("autoencoder", steps)
    average = Average(model, 0.99)
    for step in range(steps):
        schedule(step)
        images = _batch(scenes, rng, cropped=step < _CROPPED * steps)
        found = model.encode(images).latent_dist
        made = model.decode(found.sample(), return_dict=False)[0]
        wrong = functional.l1_loss(made, images) + 2 * functional.mse_loss(made, images)
        loss = wrong + _DIVERGENCE * found.kl().mean() / found.mean[0].numel()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.add(model)
        if progress(step, float(wrong.detach())):
            save(average.state, out)
    model.load_state_dict(average.state)
    standardise(model, pixels(some(scenes, 256, rng), rng))
    save(model.state_dict(), out)


@torch.no_grad()
def standardise(model: AutoencoderKL, images: Tensor) -> None:
    """Give each channel of the latents of these images a mean of 0 and a spread of 1.

    The convolutions of one pixel at the end of the encoder and at the start of the decoder take it
    in, so the images that come out stay as they are.
    """
    model.eval()
    parts = torch.split(images, 32)
    latents = torch.cat([model.encode(part).latent_dist.mean for part in parts])
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out_of = model.quant_conv, model.post_quant_conv
    count = len(mean)
    into.weight[:count] /= spread.view(-1, 1, 1, 1)
    into.bias[:count] = (into.bias[:count] - mean) / spread
    into.bias[count:] -= 2 * spread.log()
    out_of.bias += out_of.weight[..., 0, 0] @ mean
    out_of.weight *= spread.view(1, -1, 1, 1)


def _batch(scenes: Sequence[Scene], rng: np.random.Generator, *, cropped: bool) -> Tensor:
    if not cropped:
        images = pixels(some(scenes, 4, rng), rng)
    else:
        whole = pixels(some(scenes, 16, rng), rng)
        corners = rng.integers(0, whole.shape[-1] - _CROP + 1, size=(len(whole), 2))
        images = torch.stack(
            [
                image[:, top : top + _CROP, left : left + _CROP]
                for image, (top, left) in zip(whole, corners, strict=True)
            ]
        )
    return images.contiguous(memory_format=torch.channels_last)
