"""Modules are read whole, and what is wrong with their weights is named."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_sdxl import checkpoint, full_model, tiny, tiny_model
from mlpinf_sdxl.checkpoint import CLIP1, CLIP2, UNET, VAE

if TYPE_CHECKING:
    from pathlib import Path

_CPU = torch.device("cpu")


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    shutil.copytree(tiny.pipeline(), folder)
    return folder


def change(path: Path, **changes: torch.Tensor | None) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(path)
    for name, value in changes.items():
        if value is None:
            del state[name]
        else:
            state[name] = value
    save_file(state, path)


def test_the_full_shape_has_the_parameters_of_stable_diffusion_xl() -> None:
    counts = {
        kind: sum(p.numel() for p in checkpoint.empty(kind, config).parameters())
        for kind, config in (
            (CLIP1, full_model.CLIP1),
            (CLIP2, full_model.CLIP2),
            (UNET, full_model.UNET),
            (VAE, full_model.VAE),
        )
    }

    assert counts == {
        CLIP1: 123_060_480,
        CLIP2: 694_659_840,
        UNET: 2_567_463_684,
        VAE: 83_653_863,
    }


def test_the_tiny_pipeline_has_less_than_two_million_parameters() -> None:
    modules = [
        checkpoint.load(kind, tiny.pipeline(), torch.float32, _CPU) for kind in checkpoint.MODULES
    ]

    assert sum(p.numel() for module in modules for p in module.parameters()) < 2_000_000


def test_what_ships_takes_less_than_eight_megabytes() -> None:
    assert sum(path.stat().st_size for path in tiny.folder().rglob("*")) < 8_000_000


def test_random_weights_compute_numbers() -> None:
    vae = checkpoint.random(VAE, tiny_model.VAE, torch.float32, _CPU)
    clip = checkpoint.random(CLIP2, tiny_model.CLIP2, torch.float32, _CPU)

    assert torch.isfinite(vae.decode(torch.randn(1, 4, 16, 16), return_dict=False)[0]).all()
    assert torch.isfinite(clip(input_ids=torch.zeros(1, 24, dtype=torch.int64)).text_embeds).all()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("conv_in.weight", None, "missing: conv_in.weight"),
        ("conv_in.extra", torch.zeros(2), "unknown: conv_in.extra"),
        ("conv_in.bias", torch.zeros(3), r"misshapen: conv_in.bias \(3,\) instead of \(32,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    pipeline: Path, name: str, value: torch.Tensor | None, said: str
) -> None:
    change(pipeline / "unet" / "diffusion_pytorch_model.safetensors", **{name: value})

    with pytest.raises(IntegrityError, match=said):
        checkpoint.load(UNET, pipeline, torch.float32, _CPU)


def test_weights_that_were_cut_off_are_refused(pipeline: Path) -> None:
    path = pipeline / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(IntegrityError, match="cannot be read"):
        checkpoint.load(VAE, pipeline, torch.float32, _CPU)


def test_a_module_without_weights_says_what_to_put_where(pipeline: Path) -> None:
    (pipeline / "text_encoder" / "model.safetensors").unlink()

    with pytest.raises(PrerequisiteError, match="weights of a module are missing"):
        checkpoint.load(CLIP1, pipeline, torch.float32, _CPU)


def test_older_names_of_the_autoencoders_attention_are_understood(pipeline: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = pipeline / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    old = {
        name.replace("to_q", "query").replace("to_out.0", "proj_attn"): value
        for name, value in state.items()
    }
    save_file(old, path)

    vae = checkpoint.load(VAE, pipeline, torch.float32, _CPU)

    name = "decoder.mid_block.attentions.0.to_q.weight"
    torch.testing.assert_close(vae.state_dict()[name], state[name].float())
