"""The tiny variant's scorer: how well an image shows what a caption says.

A small dual encoder, trained apart from the pipeline on drawn scenes: an image and its caption get
unit vectors that lie close together.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

WIDTH: Final = 64
"""Numbers in a vector."""


class Scorer(nn.Module):
    """The two encoders."""

    def __init__(self, vocabulary: int, tokens: int) -> None:
        """Make it with random weights.

        Args:
            vocabulary: token ids there are.
            tokens: tokens of a caption.
        """
        super().__init__()
        widths = (3, 16, 32, 48, 64)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        # 64 pixels a side have become 4: where something is stays known.
        self.eye = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * widths[-1], WIDTH))
        self.words = nn.Embedding(vocabulary, 24)
        self.reader = nn.Sequential(
            nn.Linear(24 * tokens, 192),
            nn.SiLU(),
            nn.Linear(192, 192),
            nn.SiLU(),
            nn.Linear(192, WIDTH),
        )
        self.scale = nn.Parameter(torch.tensor(2.5))

    def images(self, pixels: Tensor) -> Tensor:
        """Vectors of images.

        Args:
            pixels: [n, 3, 128, 128] between -1 and 1.

        Returns:
            [n, 64], of length 1.
        """
        return functional.normalize(self.eye(functional.avg_pool2d(pixels, 2)), dim=-1)

    def captions(self, ids: Tensor) -> Tensor:
        """Vectors of tokenised captions, [n, tokens] to [n, 64] of length 1."""
        return functional.normalize(self.reader(self.words(ids).flatten(1)), dim=-1)
