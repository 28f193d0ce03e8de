"""Linear layers in FP8: near to what they replace, whatever the rows' sizes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from mlpinf_sdxl import checkpoint, float8, full_model  # noqa: E402 - it needs PyTorch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def test_a_converted_layer_computes_nearly_the_same() -> None:
    torch.manual_seed(1)
    layer = torch.nn.Linear(64, 32, device=DEVICE, dtype=torch.bfloat16)
    x = torch.randn((3, 5, 64), device=DEVICE, dtype=torch.bfloat16)
    with torch.inference_mode():
        found, expected = float8.Float8Linear(layer)(x), layer(x)
    assert found.shape == expected.shape
    assert found.dtype == torch.bfloat16
    assert (found - expected).float().norm() < 0.06 * expected.float().norm()


def test_rows_of_any_size_keep_their_precision() -> None:
    rows = torch.randn((4, 256)) * torch.tensor([1e-6, 1.0, 1e6, 0.0])[:, None]
    numbers, scales = float8.quantise(rows)
    back = numbers.float() * scales
    errors = (back - rows).norm(dim=1) / rows.norm(dim=1).clamp_min(1e-30)
    assert (errors < 0.04).all()
    assert numbers.float().abs().max() <= float8.MOST


def test_the_large_layers_of_the_unet_are_converted_and_the_texts_are_not() -> None:
    unet = checkpoint.empty(checkpoint.UNET, full_model.UNET)
    unet.fuse_qkv_projections()
    names = {name for _, name, _ in float8._large(unet)}
    assert names == {"to_qkv", "to_q", "to_k", "to_v", "0", "proj", "2"}
    parents = [parent for parent, name, _ in float8._large(unet) if name == "to_k"]
    text = [m.attn2 for m in unet.modules() if hasattr(m, "attn2")]
    assert parents
    assert not {id(parent) for parent in parents} & {id(attention) for attention in text}
