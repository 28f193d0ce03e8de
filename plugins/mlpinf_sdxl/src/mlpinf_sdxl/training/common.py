"""What the stages of the training share."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import torch

from mlpinf_sdxl.training import scenes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor, nn

    from mlpinf_sdxl.training.scenes import Scene

log = logging.getLogger(__name__)


def pixels(drawn: Sequence[Scene], rng: np.random.Generator) -> Tensor:
    """Drawn scenes as [n, 3, 128, 128] between -1 and 1, channels last in memory."""
    return normalised(scenes.draw(drawn, rng))


def normalised(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """Images [n, h, w, 3] as a tensor [n, 3, h, w] between -1 and 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def some(among: Sequence[Scene], count: int, rng: np.random.Generator) -> list[Scene]:
    """Scenes drawn by lot."""
    return [among[index] for index in rng.integers(len(among), size=count)]


class Schedule:
    """A learning rate that rises for a moment and then falls along half a cosine."""

    def __init__(self, optimiser: torch.optim.Optimizer, steps: int, peak: float) -> None:
        self._optimiser, self._steps, self._peak = optimiser, steps, peak

    def __call__(self, step: int) -> None:
        """Set the rate of a step."""
        rise = min(1.0, (step + 1) / 100)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self._steps)))
        for group in self._optimiser.param_groups:
            group["lr"] = self._peak * rise * (0.02 + 0.98 * fall)


class Average:
    """The exponential moving average of a module's weights."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.state = {name: value.clone() for name, value in module.state_dict().items()}
        self._seen = 0

    @torch.no_grad()
    def add(self, module: nn.Module) -> None:
        """Take the weights as they are now into the average."""
        self._seen += 1
        decay = min(self._decay, (1 + self._seen) / (10 + self._seen))
        for name, value in module.state_dict().items():
            self.state[name].lerp_(value, 1 - decay)


class Progress:
    """Says how the training goes, and when it is time to save."""

    def __init__(self, what: str, steps: int, every: int = 100) -> None:
        self._what, self._steps, self._every = what, steps, every
        self._sum = 0.0
        self._started = time.monotonic()

    def __call__(self, step: int, loss: float) -> bool:
        """Take a step's loss; whether to save now."""
        self._sum += loss
        if (step + 1) % self._every:
            return step + 1 == self._steps
        spent = time.monotonic() - self._started
        log.info(
            "%s: step %d of %d, loss %.4f, %.0f s",
            *(self._what, step + 1, self._steps, self._sum / self._every, spent),
        )
        self._sum = 0.0
        return True


def save(module_state: dict[str, Tensor], path: Path) -> None:
    """Write weights, so that a reader never sees half a file."""
    half = path.with_suffix(".part")
    torch.save(module_state, half)
    half.replace(path)
