"""FP8's linear layers compute nearly what they were made from, and beside bfloat16 only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlpinf_core.errors import ConfigurationError
from mlpinf_sdxl import building, float8
from mlpinf_sdxl.torch_settings import TorchSettings


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_nearly_what_it_was_made_from(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 32, bias=bias)
    x = torch.randn(2, 7, 64) * torch.logspace(-3, 3, 7)[:, None]  # each row of another size

    with torch.inference_mode():
        wanted, found = layer(x), float8.Float8Linear(layer)(x)

    assert found.shape == wanted.shape
    apart = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    assert 0 < float(apart.max()) < 0.06


def test_rows_of_zeros_stay_zeros() -> None:
    quantised, scale = float8.quantise(torch.zeros(2, 16))

    assert torch.equal(quantised.float() * scale, torch.zeros(2, 16))


def test_only_a_unet_s_large_layers_are_replaced() -> None:
    block = nn.Module()
    block.attn1, block.attn2 = nn.Module(), nn.Module()
    block.attn1.to_q, block.attn2.to_k = nn.Linear(32, 32), nn.Linear(32, 32)
    block.attn2.to_q = nn.Linear(32, 33)
    unet = nn.Module()
    unet.transformer_blocks = nn.ModuleList([block])

    assert float8.convert(unet) == 1
    assert isinstance(block.attn1.to_q, float8.Float8Linear)
    assert isinstance(block.attn2.to_k, nn.Linear)


@pytest.mark.parametrize(("dtype", "device"), [("float16", "cuda"), ("auto", "cpu")])
def test_fp8_beside_another_type_than_bfloat16_is_refused(dtype: str, device: str) -> None:
    settings = TorchSettings(fp8=True, dtype=dtype)  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError) as caught:
        building._types(settings, device)

    assert caught.value.where == "backend.fp8"


def test_fp8_beside_bfloat16_is_taken() -> None:
    assert building._types(TorchSettings(fp8=True), "cuda") == ("bfloat16", "bfloat16")
