"""Captions as the backends take them: tokenised for both encoders, with the fixed latents."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt


@attrs.frozen(eq=False)
class CaptionSamples:
    """A data set of captions.

    Attributes:
        captions: what the images are to show.
        first: int64 [captions + 1, tokens], ids of the first tokenizer; the last row is the
            negative prompt.
        second: the same of the second tokenizer.
        latents: float32 [1, 4, height, width], what every image starts from.
        pipeline: the folder of the pipeline that the tokenizers belong to; None where the weights
            are random.
    """

    captions: tuple[str, ...]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    latents: npt.NDArray[np.float32]
    pipeline: Path | None

    def __len__(self) -> int:
        """The number of captions."""
        return len(self.captions)

    @property
    def image_size(self) -> int:
        """Width and height of an image in pixels."""
        return 8 * int(self.latents.shape[-1])

    def load(self, indices: npt.NDArray[np.int64]) -> None:
        """Captions are in memory always."""

    def unload(self, indices: npt.NDArray[np.int64]) -> None:
        """Nothing was loaded."""
