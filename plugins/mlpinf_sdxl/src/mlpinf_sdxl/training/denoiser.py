"""Trains the UNet: from a noisy latent and a caption to the noise.

Images are drawn and encoded once, in advance; so are all captions. Each step adds noise to a batch
of latents and asks for it back. One caption in ten is replaced by the negative prompt, so that
guidance has something to lead away from.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import torch
from torch import Tensor

from mlpinf_sdxl import tiny_model
from mlpinf_sdxl.training import text
from mlpinf_sdxl.training.common import Average, Progress, Schedule, pixels, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import AutoencoderKL

    from mlpinf_sdxl.tokens import ClipTokenizer
    from mlpinf_sdxl.training.scenes import Scene

log = logging.getLogger(__name__)

_TIME_IDS: Final = (128.0, 128.0, 0.0, 0.0, 128.0, 128.0)
_DROPPED: Final = 0.1
_GAMMA: Final = 5.0
"""Cap of the signal-to-noise ratio in the loss's weights."""


@attrs.frozen(eq=False)
class Lesson:
    """Latents of images, what their captions say, and the negative prompt, last."""

    latents: Tensor
    captions: Tensor
    states: Tensor
    pooled: Tensor


@torch.no_grad()
def lesson(
    among: Sequence[Scene],
    count: int,
    vae: AutoencoderKL,
    encoders: text.Encoders,
    tokenizers: tuple[ClipTokenizer, ClipTokenizer],
    negative: str,
) -> Lesson:
    """Draw and encode images; encode every caption once."""
    rng = np.random.default_rng(3)
    chosen = rng.integers(len(among), size=count)
    vae.to(memory_format=torch.channels_last)
    latents = [
        vae.encode(pixels([among[index] for index in part], rng)).latent_dist.mean
        for part in np.array_split(chosen, max(1, count // 32))
    ]
    prompts = [*(scene.caption for scene in among), negative]
    states, pooled = [], []
    for start in range(0, len(prompts), 256):
        rows = [torch.from_numpy(one.rows(prompts[start : start + 256])) for one in tokenizers]
        state, pool = text.encode(encoders, *rows)
        states.append(state)
        pooled.append(pool)
    log.info("%d images encoded", count)
    return Lesson(
        torch.cat(latents), torch.from_numpy(chosen), torch.cat(states), torch.cat(pooled)
    )


def train(lesson: Lesson, batch: int, steps: int, out: Path, peak: float = 2e-3) -> None:
    """Train it, and write the average of its weights, with the latents' spread, now and then."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(4)
    generator = torch.Generator().manual_seed(4)
    model = UNet2DConditionModel(**tiny_model.UNET).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule, progress = Schedule(optimiser, steps, peak), Progress("denoiser", steps)
    average = Average(model, 0.998)
    scale = 1 / float(lesson.latents.std())
    kept = _kept()
    times = torch.tensor([_TIME_IDS]).expand(batch, -1)
    for step in range(steps):
        schedule(step)
        chosen = torch.randint(len(lesson.latents), (batch,), generator=generator)
        clean = lesson.latents[chosen] * scale
        captions = lesson.captions[chosen].clone()
        captions[torch.rand(batch, generator=generator) < _DROPPED] = len(lesson.states) - 1
        when = torch.randint(len(kept), (batch,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        signal = kept[when].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        found = model(
            noisy.contiguous(memory_format=torch.channels_last),
            when,
            lesson.states[captions],
            added_cond_kwargs={"text_embeds": lesson.pooled[captions], "time_ids": times},
            return_dict=False,
        )[0]
        loss = ((found - noise).square().mean((1, 2, 3)) * _weights(kept[when])).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.add(model)
        if progress(step, float(loss.detach())):
            state: dict[str, Any] = {"unet": average.state, "scale": scale}
            save(state, out)


def _kept() -> Tensor:
    """Share of the signal's power that each of the 1000 time steps leaves, as SDXL's schedule."""
    numbers = tiny_model.SCHEDULER
    betas = (
        torch.linspace(
            numbers["beta_start"] ** 0.5, numbers["beta_end"] ** 0.5, numbers["num_train_timesteps"]
        )
        ** 2
    )
    return torch.cumprod(1 - betas, 0)


def _weights(kept: Tensor) -> Tensor:
    ratio = kept / (1 - kept)
    return ratio.clamp(max=_GAMMA) / ratio
