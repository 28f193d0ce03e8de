"""Scoring the tiny variant: do its images show what the captions say, and are they the reference's?

*Adherence* is the share of images that the scorer finds closer to their own captions than to each
of seven near misses, which differ in one word each; chance is one in eight. *Drift* is how far the
images are from those of the same pipeline in float32, both reduced to 32 pixels a side. Its mean
hides a few wrong images, such as those of two captions that changed places, and so *worst drift* is
that of the image that is farthest away.

A submission has to give a *CLIP score* and an *FID*. Here they are worked out as the full variant's
are, but with this scorer in place of CLIP and of Inception, so that they compare with nothing else:
100 times the cosine between image and caption, and the Fréchet distance between the vectors of the
images' small copies and of the reference's. Neither is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mlpinf_sdxl import tiny
from mlpinf_sdxl.fidelity import CLIP_SCORE, FID_SCORE, frechet_distance
from mlpinf_sdxl.scorer import Scorer
from mlpinf_sdxl.tokens import ClipTokenizer
from mlpinf_sdxl.training import scenes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

REDUCED: Final = 32
"""Width and height of the reference's small copies, in pixels."""
_TIMES: Final = 4
"""An image is so much larger."""


def score(
    pictures: Iterable[tuple[int, npt.NDArray[np.uint8]]], captions: Sequence[str]
) -> Mapping[str, float]:
    """All five: ``ADHERENCE`` in per cent, the drifts in 255ths of the brightness.

    Args:
        pictures: samples and their images.
        captions: of the whole data set.
    """
    reference = np.load(tiny.reference())
    judge = Judge.load()
    shown, distances, likeness, vectors, references = [], [], [], [], []
    for sample, image in pictures:
        small = reduced(image)
        shown.append(judge.shows(image, captions[sample]))
        distances.append(np.abs(small - reference[sample]).mean())
        likeness.append(judge.likeness(image, [captions[sample]])[0])
        vectors.append(judge.vector(_enlarged(small.round().astype(np.uint8))))
        references.append(judge.vector(_enlarged(reference[sample])))
    return {
        "ADHERENCE": 100 * float(np.mean(shown)),
        "DRIFT": float(np.mean(distances)),
        "WORST_DRIFT": float(np.max(distances)),
        CLIP_SCORE: 100 * float(np.mean(likeness)),
        # Of equal images the distance is what rounding leaves, on either side of nothing.
        FID_SCORE: round(abs(frechet_distance(*_normal(references), *_normal(vectors))), 6),
    }


def reduced(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """An image's small copy, float32 [32, 32, 3]: means of its parts."""
    part = image.shape[0] // REDUCED
    parts = image.reshape(REDUCED, part, REDUCED, part, 3)
    small: npt.NDArray[np.float32] = parts.mean((1, 3), dtype=np.float32)
    return small


def _enlarged(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A small copy as large as what the scorer looks at."""
    enlarged: npt.NDArray[np.uint8] = small.repeat(_TIMES, 0).repeat(_TIMES, 1)
    return enlarged


def _normal(
    vectors: Sequence[npt.NDArray[np.float32]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and covariance; of one vector, none."""
    rows = np.stack(vectors).astype(np.float64)
    return rows.mean(0), np.cov(rows, rowvar=False, bias=True)


class Judge:
    """The scorer, with its tokenizer."""

    def __init__(self, scorer: Scorer, tokenizer: ClipTokenizer) -> None:
        self._scorer, self._tokenizer = scorer, tokenizer

    @classmethod
    def load(cls, weights: Path | None = None) -> Judge:
        """The scorer that ships with the package, or another's weights."""
        from safetensors.torch import load_file

        from mlpinf_sdxl import tiny_model

        scorer = Scorer(tiny_model.VOCABULARY, tiny_model.TOKENS)
        state = load_file(weights or tiny.scorer())
        scorer.load_state_dict({name: value.float() for name, value in state.items()})
        tokenizer = ClipTokenizer.of_folder(tiny.pipeline() / "tokenizer")
        return cls(scorer.eval(), tokenizer)

    def shows(self, image: npt.NDArray[np.uint8], caption: str) -> bool:
        """Whether an image shows a caption rather than any of its near misses.

        Args:
            image: uint8 [128, 128, 3].
            caption: of a scene.
        """
        misses = [scene.caption for scene in scenes.altered(scenes.parse(caption))]
        return int(self.likeness(image, [caption, *misses]).argmax()) == 0

    def likeness(
        self, image: npt.NDArray[np.uint8], captions: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Cosine between an image, uint8 [128, 128, 3], and each of n captions: float32 [n]."""
        import torch

        rows = torch.from_numpy(self._tokenizer.rows(captions))
        with torch.inference_mode():
            said: npt.NDArray[np.float32] = self._scorer.captions(rows).numpy()
        return said @ self.vector(image)

    def vector(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """An image's vector, float32 [64] of length 1; the image is uint8 [128, 128, 3]."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
            found: npt.NDArray[np.float32] = self._scorer.images(pixels)[0].numpy()
        return found
