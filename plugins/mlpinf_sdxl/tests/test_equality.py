"""The denoising loop makes the images that diffusers' own pipeline makes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_sdxl import tiny
from mlpinf_sdxl.benchmarks import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from mlpinf_sdxl.torch_backend import TorchBackend


def reference(backend: TorchBackend, count: int) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own imports and deprecations
        from diffusers import StableDiffusionXLPipeline

        pipeline = StableDiffusionXLPipeline.from_pretrained(
            tiny.pipeline(), torch_dtype=torch.float32, add_watermarker=False
        )
        pipeline.set_progress_bar_config(disable=True)
        size = backend.samples.image_size
        return pipeline(
            prompt=list(backend.samples.captions[:count]),
            negative_prompt=[NEGATIVE_PROMPT] * count,
            guidance_scale=backend.guidance,
            num_inference_steps=len(backend.schedule),
            latents=torch.from_numpy(backend.samples.latents).repeat(count, 1, 1, 1),
            height=size,
            width=size,
            output_type="np",
        ).images


@pytest.mark.slow
def test_images_are_within_one_step_of_brightness_of_diffusers(backend: TorchBackend) -> None:
    theirs = np.rint(255 * reference(backend, 3)).astype(int)

    ours = np.asarray(backend.infer(np.arange(3)).data).astype(int)

    assert ours.std() > 10, "the images are all the same grey"
    assert abs(ours - theirs).max() <= 1


def test_a_prompt_alone_gets_the_image_that_it_gets_in_a_batch(backend: TorchBackend) -> None:
    together = np.asarray(backend.infer(np.array([5, 6])).data).astype(int)

    alone = np.asarray(backend.infer(np.array([6])).data).astype(int)

    assert abs(together[1] - alone[0]).max() <= 1
