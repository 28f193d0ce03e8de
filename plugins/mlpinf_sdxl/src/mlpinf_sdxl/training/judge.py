"""Trains the scorer on drawn scenes, apart from the pipeline that it is to judge.

Each batch holds scenes together with their near misses, which differ in one attribute, so that the
scorer learns to tell a large red circle from a small one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from mlpinf_sdxl import tiny_model
from mlpinf_sdxl.scorer import Scorer
from mlpinf_sdxl.training.common import Average, Progress, Schedule, pixels, save, some
from mlpinf_sdxl.training.scenes import altered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from mlpinf_sdxl.tokens import ClipTokenizer
    from mlpinf_sdxl.training.scenes import Scene

_SCENES: Final = 12
"""Scenes of a batch; each comes with its seven near misses."""


def train(among: Sequence[Scene], tokenizer: ClipTokenizer, steps: int, out: Path) -> None:
    """Train it, and write its weights."""
    torch.manual_seed(5)
    rng = np.random.default_rng(5)
    known = {scene.caption for scene in among}
    model = Scorer(tiny_model.VOCABULARY, tiny_model.TOKENS)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0, weight_decay=1e-3)
    schedule, progress = Schedule(optimiser, steps, 2e-3), Progress("scorer", steps)
    average = Average(model, 0.99)
    for step in range(steps):
        schedule(step)
        chosen = {
            scene.caption: scene
            for one in some(among, _SCENES, rng)
            for scene in (one, *altered(one))
            if scene.caption in known
        }
        images = model.images(_disturbed(pixels(list(chosen.values()), rng), rng))
        captions = model.captions(torch.from_numpy(tokenizer.rows(list(chosen))))
        likeness = images @ captions.T * model.scale.exp()
        wanted = torch.arange(len(chosen))
        loss = functional.cross_entropy(likeness, wanted)
        loss = (loss + functional.cross_entropy(likeness.T, wanted)) / 2
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        average.add(model)
        if progress(step, float(loss.detach())):
            save(average.state, out)


def _disturbed(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Images moved by a few pixels, with noise: generated ones are not as clean as drawn ones."""
    down, right = rng.integers(-4, 5, size=2)
    moved = torch.roll(images, (int(down), int(right)), (2, 3))
    strength = float(rng.uniform(0, 0.2))
    coarse = functional.interpolate(torch.randn(len(images), 3, 32, 32), scale_factor=4)
    return (moved + strength * coarse).clamp(-1, 1)
