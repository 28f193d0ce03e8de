"""Scoring the full variant: CLIP score and FID, as the reference works them out.

CLIP score is 100 times the mean cosine between an image and its caption, by CLIP ViT-B/32. FID is
the Frechet distance between the Inception features of the images and the statistics of COCO's own
images. What they need comes with the extra ``score``; the weights and the statistics lie in one
folder and are known by their hashes, so nothing is fetched while a run is scored.
"""

from __future__ import annotations

import hashlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.hashing import sha256_of
from mlpinf_core.protocols import NotGraded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from mlpinf_sdxl.answers import Answers

CLIP_SCORE: Final = "CLIP_SCORE"
FID_SCORE: Final = "FID_SCORE"
_MODULES: Final = ("open_clip", "torch_fidelity")
_EXTRA: Final = "mlpinf-sdxl[score]"
_BATCH: Final = 16
_SIDE: Final = 299
_WIDTH: Final = 2048
"""Numbers of an image's Inception features."""
_NO_WEIGHTS: Final = ("input_resolution", "context_length", "vocab_size")
"""Sizes that CLIP's archive holds beside its weights."""


@attrs.frozen
class ScoringFile:
    """A file that scoring needs.

    Attributes:
        name: in the folder.
        digest: its sha256, or the beginning of it that its publisher put into its name; for the
            statistics the object name that the reference's repository gives it.
        source: where it comes from.
    """

    name: str
    digest: str
    source: str

    def check(self, folder: Path) -> Path:
        """Its path, its content checked.

        Raises:
            PrerequisiteError: it is not there.
            IntegrityError: it is another file.
        """
        path = folder / self.name
        if not path.is_file():
            raise PrerequisiteError(
                f"a file that scoring needs is missing: {self.name}",
                where=str(path),
                remedy=f"put it there; it comes from {self.source}",
            )
        found = _object_name(path) if len(self.digest) == _OBJECT_NAME else sha256_of(path)
        if not found.startswith(self.digest):
            raise IntegrityError(
                f"{self.name} is another file: its hash begins with {found[:16]}, and the right "
                f"one's with {self.digest[:16]}",
                where=str(path),
                remedy=f"take it from {self.source}",
            )
        return path


_OBJECT_NAME: Final = 40
"""Digits of the name that git gives a file's content."""

STATISTICS: Final = ScoringFile(
    "val2014.npz",
    "806479d0693a33110526b6689aa26baddd995c7b",
    "text_to_image/tools of the reference's repository",
)
INCEPTION: Final = ScoringFile(
    "pt_inception-2015-12-05-6726825d.pth",
    "6726825d",
    "the releases of pytorch-fid on GitHub",
)
CLIP: Final = ScoringFile(
    "ViT-B-32.pt",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "OpenAI's release of CLIP",
)

FILES: Final = (STATISTICS, INCEPTION, CLIP)


def check(folder: Path) -> None:
    """See that every file that scoring needs is there.

    Raises:
        PrerequisiteError: one is missing.
        IntegrityError: one is another file.
    """
    for file in FILES:
        file.check(folder)


def score(
    answers: Answers, captions: Sequence[str], folder: Path | None
) -> Mapping[str, float | NotGraded]:
    """Both scores, or why there are none.

    Args:
        answers: the images.
        captions: of the whole data set.
        folder: of the three files; None where the user has named none.

    Raises:
        PrerequisiteError: a file is missing.
        IntegrityError: a file is not what it should be.
    """
    if [name for name in _MODULES if importlib.util.find_spec(name) is None]:
        why = NotGraded(f"CLIP score and FID need what is not installed: pip install '{_EXTRA}'")
        return {CLIP_SCORE: why, FID_SCORE: why}
    if folder is None:
        names = ", ".join(one.name for one in FILES)
        why = NotGraded(f"set benchmark.scoring_path to the folder of {names}")
        return {CLIP_SCORE: why, FID_SCORE: why}
    statistics = np.load(STATISTICS.check(folder))
    inception, clip = _Inception(INCEPTION.check(folder)), _Clip(CLIP.check(folder))
    features, likeness = [], []
    for rows, images in _batches(answers):
        features.append(inception(images))
        likeness += [clip(image, captions[row]) for row, image in zip(rows, images, strict=True)]
    seen = np.concatenate(features).astype(np.float64)
    return {
        CLIP_SCORE: 100 * float(np.mean(likeness)),
        FID_SCORE: frechet_distance(
            statistics["mu"], statistics["sigma"], seen.mean(0), np.cov(seen, rowvar=False)
        ),
    }


def frechet_distance(
    mean: npt.NDArray[np.float64],
    spread: npt.NDArray[np.float64],
    other_mean: npt.NDArray[np.float64],
    other_spread: npt.NDArray[np.float64],
) -> float:
    """Between two normal distributions: means [n] and covariances [n, n].

    Source: Dowson and Landau, 1982. The trace of the root of the product of two covariances is the
    sum of the roots of its eigenvalues, none of which is negative.
    """
    apart = mean - other_mean
    roots = np.sqrt(np.clip(np.linalg.eigvals(spread @ other_spread).real, 0, None)).sum()
    return float(apart @ apart + np.trace(spread) + np.trace(other_spread) - 2 * roots)


def _batches(answers: Answers) -> Iterator[tuple[list[int], list[npt.NDArray[np.uint8]]]]:
    rows: list[int] = []
    images: list[npt.NDArray[np.uint8]] = []
    for row, image in answers:
        rows.append(row)
        images.append(image)
        if len(rows) == _BATCH:
            yield rows, images
            rows, images = [], []
    if rows:
        yield rows, images


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Inception:
    """The Inception network that FID is defined by."""

    def __init__(self, weights: Path) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self._device = _device()
        made: Any = FeatureExtractorInceptionV3(
            "inception-v3-compat", [str(_WIDTH)], feature_extractor_weights_path=str(weights)
        )
        self._network = made.to(self._device).eval()

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Features [n, 2048]."""
        import torch
        from torch.nn import functional

        stack = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2)
        small = functional.interpolate(
            stack.float(), (_SIDE, _SIDE), mode="bilinear", align_corners=False
        )
        with torch.inference_mode():
            found: Tensor = self._network(small.round().clamp(0, 255).to(torch.uint8))[0]
        features: npt.NDArray[np.float32] = found.cpu().numpy()
        return features


class _Clip:
    """CLIP ViT-B/32."""

    def __init__(self, weights: Path) -> None:
        import open_clip

        self._device = _device()
        model, _, self._prepared = open_clip.create_model_and_transforms(
            "ViT-B-32-quickgelu", pretrained=None
        )
        model.load_state_dict(clip_weights(weights))
        self._model = model.to(self._device).eval()
        self._tokens = open_clip.get_tokenizer("ViT-B-32")

    def __call__(self, image: npt.NDArray[np.uint8], caption: str) -> float:
        """The cosine between an image and a caption."""
        import torch
        from PIL import Image
        from torch.nn import functional

        with torch.inference_mode():
            shown = self._prepared(Image.fromarray(image))[None].to(self._device)
            said = self._tokens([caption]).to(self._device)
            vectors = self._model.encode_image(shown), self._model.encode_text(said)
            return float(functional.cosine_similarity(*(v.float() for v in vectors)))


def clip_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of CLIP's archive, by the names that open_clip gives them.

    OpenAI's file is a TorchScript archive, which open_clip does not read: it takes tensors alone.
    """
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's, of TorchScript as a whole
        archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    state: dict[str, Tensor] = archive.state_dict()
    return {name: value for name, value in state.items() if name not in _NO_WEIGHTS}


def _object_name(path: Path) -> str:
    """What git calls a file's content; not for security, but it is how the file is known."""
    size = path.stat().st_size
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
