"""The tiny variant's gate lets the reference pass, and nothing that only looks like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from mlpinf_core.accuracy import judge
from mlpinf_core.vocabulary import Variant
from mlpinf_sdxl import adherence, captions, tiny
from mlpinf_sdxl.benchmarks import benchmark
from mlpinf_sdxl.training import making, scenes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from mlpinf_sdxl.torch_backend import TorchBackend

LIMITS = benchmark().variant(Variant.TINY).accuracy
ALL_PASS = {"ADHERENCE": True, "DRIFT": True, "WORST_DRIFT": True}
CAPTIONS = captions.read(tiny.folder() / "captions.tsv")


def scores(images: npt.NDArray[np.uint8]) -> Mapping[str, float]:
    return adherence.score(enumerate(images), CAPTIONS)


def passed(found: Mapping[str, float]) -> dict[str, bool]:
    assert LIMITS is not None
    scored = judge(found, LIMITS["99"]).scores
    return {score.metric: score.passed for score in scored if score.limit is not None}


def made(backend: TorchBackend) -> npt.NDArray[np.uint8]:
    parts = np.array_split(np.arange(len(backend.samples)), 8)
    return np.concatenate([np.asarray(backend.infer(part).data) for part in parts])


def in_int8(module: Any, share: float) -> None:
    """Each convolution's weights in int8; the scale reaches a share of the largest of them."""
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            scale = share * part.weight.abs().max() / 127
            part.weight = torch.nn.Parameter(
                (part.weight / scale).round().clamp(-127, 127) * scale, requires_grad=False
            )


@pytest.mark.slow
def test_the_reference_shows_what_its_captions_say(images: npt.NDArray[np.uint8]) -> None:
    found = scores(images)

    assert found["ADHERENCE"] >= 80
    assert passed(found) == ALL_PASS


@pytest.mark.slow
def test_the_tiny_scorers_clip_score_and_fid_tell_images_apart(
    images: npt.NDArray[np.uint8],
) -> None:
    noise = np.random.default_rng(2).integers(0, 256, images.shape, np.uint8)
    right, shuffled, other = (scores(each) for each in (images, np.roll(images, 1, 0), noise))

    assert right["CLIP_SCORE"] > 1.5 * shuffled["CLIP_SCORE"]
    # The same images in another order are the same distribution.
    assert right["FID_SCORE"] < 0.01
    assert shuffled["FID_SCORE"] == pytest.approx(right["FID_SCORE"], abs=1e-6)
    assert other["FID_SCORE"] > 100 * max(right["FID_SCORE"], 0.001)


def test_one_image_has_scores_too() -> None:
    (caption,) = CAPTIONS[:1]
    drawn = scenes.draw([scenes.parse(caption)], np.random.default_rng(1))
    assert scores(drawn)["FID_SCORE"] >= 0


@pytest.mark.slow
def test_drawn_scenes_show_what_their_captions_say() -> None:
    drawn = scenes.draw([scenes.parse(text) for text in CAPTIONS], np.random.default_rng(1))

    assert scores(drawn)["ADHERENCE"] >= 90


@pytest.mark.slow
def test_noise_is_at_chance() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (64, 128, 128, 3), np.uint8)

    assert scores(noise)["ADHERENCE"] < 20


@pytest.mark.slow
def test_shuffled_captions_fail(images: npt.NDArray[np.uint8]) -> None:
    assert not any(passed(scores(np.roll(images, 1, axis=0))).values())


@pytest.mark.slow
def test_the_two_images_that_are_most_alike_cannot_change_places(
    images: npt.NDArray[np.uint8],
) -> None:
    small = np.stack([adherence.reduced(image) for image in images])
    apart = np.abs(small[:, None] - small).mean((2, 3, 4)) + 255 * np.eye(len(small))
    one, other = divmod(int(apart.argmin()), len(small))
    swapped = images.copy()
    swapped[[one, other]] = images[[other, one]]

    assert passed(scores(swapped))["WORST_DRIFT"] is False


@pytest.mark.slow
def test_half_of_the_steps_fail() -> None:
    assert not passed(scores(making.images(tiny.folder(), steps=10)))["DRIFT"]


@pytest.mark.slow
@pytest.mark.parametrize(("share", "right"), [(1.0, True), (0.5, False)])
def test_an_int8_decoder_passes_unless_its_scales_are_wrong(share: float, right: bool) -> None:
    backend = making.backend(tiny.folder())
    backend.load()
    with torch.inference_mode():
        in_int8(backend._loaded(backend._modules).vae.decoder, share)

    found = passed(scores(made(backend)))
    assert (found["DRIFT"] and found["WORST_DRIFT"]) is right


@pytest.mark.slow
def test_bfloat16_passes() -> None:
    assert passed(scores(making.images(tiny.folder(), dtype="bfloat16"))) == ALL_PASS
