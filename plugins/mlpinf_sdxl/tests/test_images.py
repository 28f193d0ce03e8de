"""An image that holds no numbers, or is black, is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from mlpinf_core.errors import BackendError
from mlpinf_sdxl import denoising, tiny
from mlpinf_sdxl.training import making

if TYPE_CHECKING:
    from mlpinf_sdxl.torch_backend import TorchBackend


class Decoder:
    """Decodes to what it is given."""

    class config:
        scaling_factor = 1.0

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        return (latents[:, :3],)


def decoded(*values: float) -> denoising.Pictures:
    latents = torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 4, 2, 2)
    return denoising.decode(Decoder(), latents, 2, torch.float32)


def test_values_from_minus_one_to_one_become_bytes() -> None:
    assert decoded(-1, 0, 1, 7).pixels[:, 0, 0, 0].tolist() == [0, 128, 255, 255]


def test_images_of_anything_but_numbers_are_told_from_black_ones() -> None:
    pictures = decoded(0.5, float("nan"), float("inf"), -1)

    assert pictures.broken.tolist() == [False, True, True, False]
    assert pictures.black.tolist() == [False, True, False, True]


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "no numbers"), (-9.0, "black")])
def test_a_backend_with_a_bad_decoder_names_the_samples(value: float, said: str) -> None:
    backend = making.backend(tiny.folder(), steps=1)
    backend.load()
    with torch.inference_mode():
        backend._loaded(backend._modules).vae.decoder.conv_out.weight.zero_()
        backend._loaded(backend._modules).vae.decoder.conv_out.bias.fill_(value)

    with pytest.raises(BackendError, match=said) as caught:
        backend.infer(np.array([7, 9]))

    assert caught.value.where == "sample 7, 9"


def test_the_backend_answers_with_bytes_of_the_right_shape(backend: TorchBackend) -> None:
    found = np.asarray(backend.infer(np.array([0])).data)

    assert found.shape == (1, 128, 128, 3)
    assert found.dtype == np.uint8
