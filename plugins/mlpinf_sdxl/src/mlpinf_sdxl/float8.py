"""Linear layers in FP8: weights converted once, activations scaled row by row as they come.

Each row of the activations, and each output of the weights, has a scale of its own, which brings
its largest number to the end of e4m3's range. So nothing has to be calibrated, and no row suffers
from another's outlier. The sums are bfloat16's or better; what is added afterwards is as before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST: Final = 448.0
"""The largest number of e4m3."""
_LEAST: Final = 1e-12
_MULTIPLE: Final = 16
"""Of a layer's sizes, as the matrix units want them."""
_LAYERS: Final = re.compile(
    r"transformer_blocks\.\d+\.(attn1\.(to_qkv|to_q|to_k|to_v)|attn2\.to_q|attn[12]\.to_out\.0"
    r"|ff\.net\.0\.proj|ff\.net\.2)$"
)
"""A UNet's large ones. The text's keys and values are small, and attention is led by them."""


class Float8Linear(nn.Module):
    """A linear layer whose products are FP8's."""

    def __init__(self, layer: nn.Linear) -> None:
        """Convert a layer's weights."""
        super().__init__()
        quantised, scale = quantise(layer.weight.detach())
        self.register_buffer("weight", quantised)
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], in the type of ``x``."""
        rows, scale = quantise(x.flatten(0, -2))
        product = _product(rows, scale, self.weight, self.scale, x.dtype)  # type: ignore[arg-type]
        if self.bias is not None:
            product = product + self.bias
        return product.view(*x.shape[:-1], -1)


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as e4m3, [n, width], and float32 [n, 1]: what each has to be multiplied with."""
    largest = rows.abs().amax(-1, keepdim=True).float().clamp_min(_LEAST)
    scaled = (rows.float() * (MOST / largest)).clamp(-MOST, MOST)
    return scaled.to(torch.float8_e4m3fn), largest / MOST


def _product(
    rows: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """[n, out]; the same numbers from wider types where there are no units for FP8."""
    if not rows.is_cuda:
        wide = (rows.float() * scale) @ (weight.float() * weight_scale).t()
        return wide.to(dtype)
    found: Tensor = torch._scaled_mm(  # noqa: SLF001 - PyTorch has no other name for it yet
        rows, weight.t(), scale_a=scale, scale_b=weight_scale.t(), out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )  # fmt: skip
    return found.to(dtype)


def convert(unet: nn.Module) -> int:
    """Put FP8 layers in place of a UNet's large linear layers.

    Returns:
        How many were replaced.
    """
    found = list(_large(unet))
    for parent, name, layer in found:
        setattr(parent, name, Float8Linear(layer))
    return len(found)


def _large(unet: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for path, layer in unet.named_modules():
        if not isinstance(layer, nn.Linear) or not _LAYERS.search(path):
            continue
        if layer.in_features % _MULTIPLE or layer.out_features % _MULTIPLE:
            continue
        parent, _, name = path.rpartition(".")
        yield unet.get_submodule(parent), name, layer
