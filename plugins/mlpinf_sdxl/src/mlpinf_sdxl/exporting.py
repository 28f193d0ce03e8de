"""The pipeline's modules as ONNX, one a TensorRT engine: clip1, clip2, unet, vae.

Each takes and gives plain tensors with named axes; only the batch is dynamic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
import torch
from torch import nn

from mlpinf_sdxl.checkpoint import CLIP1, CLIP2, UNET, VAE

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

OPSET: Final = 18
VERSION: Final = 2
"""Rises when an export makes another graph of the same module, or it is built in another way."""
BATCH: Final = "batch"
_EXAMPLE: Final = 2
"""Rows of the example that is traced; one would be taken for a constant."""


class _Clip1(nn.Module):
    """The first text encoder: states of the layer before the last."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, input_ids: Tensor) -> Tensor:
        found: Tensor = self.clip(input_ids=input_ids, output_hidden_states=True).hidden_states[-2]
        return found


class _Clip2(nn.Module):
    """The second text encoder: the same states, and the pooled vector."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        found = self.clip(input_ids=input_ids, output_hidden_states=True)
        return found.hidden_states[-2], found.text_embeds


class _Typed(nn.Module):
    """A module whose output has one type.

    The UNet's projection of sizes gives float32 whatever the UNet computes in, and leaves it to
    PyTorch to promote what it is put beside; a strongly typed network promotes nothing.
    """

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self.dtype = dtype

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.inner(values)
        return found.to(self.dtype)


class _Unet(nn.Module):
    """The UNet: the noise in a latent at a time. Changes the module that it is given."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        if not isinstance(unet.add_time_proj, _Typed):
            unet.add_time_proj = _Typed(unet.add_time_proj, unet.dtype)

    def forward(
        self, sample: Tensor, timestep: Tensor, states: Tensor, pooled: Tensor, time_ids: Tensor
    ) -> Tensor:
        found: Tensor = self.unet(
            sample,
            timestep,
            encoder_hidden_states=states,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
            return_dict=False,
        )[0]
        return found


class _Vae(nn.Module):
    """The decoder: a latent's image."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        found: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return found


@attrs.frozen
class Export:
    """How one module becomes a graph.

    Attributes:
        engine: what its engine is called, as the field does.
        module: the pipeline's folder of it.
        wrap: from the module to one that takes and gives tensors.
        inputs: names of the inputs, in order.
        fixed: those without a batch.
        outputs: names of the outputs.
    """

    engine: str
    module: str
    wrap: Callable[[Any], nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fixed: tuple[str, ...] = ()


EXPORTS: Final = (
    Export("clip1", CLIP1, _Clip1, ("input_ids",), ("states",)),
    Export("clip2", CLIP2, _Clip2, ("input_ids",), ("states", "pooled")),
    Export(
        "unet",
        UNET,
        _Unet,
        ("sample", "timestep", "states", "pooled", "time_ids"),
        ("noise",),
        fixed=("timestep",),
    ),
    Export("vae", VAE, _Vae, ("latents",), ("images",)),
)


def shapes(
    export: Export, module: Any, latent_side: int, tokens: int
) -> dict[str, tuple[int, ...]]:
    """The shape of each input after the batch, which comes first; the whole one where it is fixed.

    Args:
        export: which engine.
        module: of the pipeline, whose configuration says the widths.
        latent_side: width and height of a latent.
        tokens: of a prompt.
    """
    config = module.config
    if export.module in (CLIP1, CLIP2):
        return {"input_ids": (tokens,)}
    if export.module == VAE:
        return {"latents": (config.latent_channels, latent_side, latent_side)}
    ids = 6 * config.addition_time_embed_dim
    return {
        "sample": (config.in_channels, latent_side, latent_side),
        "timestep": (1,),
        "states": (tokens, config.cross_attention_dim),
        "pooled": (config.projection_class_embeddings_input_dim - ids,),
        "time_ids": (6,),
    }


def example(
    export: Export, trailing: dict[str, tuple[int, ...]], rows: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Inputs of the right shapes: ids in range, normal numbers, a time in the middle."""
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    for name in export.inputs:
        whole = trailing[name] if name in export.fixed else (rows, *trailing[name])
        if name == "input_ids":
            found[name] = torch.randint(0, 256, whole, generator=generator)
        elif name == "timestep":
            found[name] = torch.full(whole, 501.0)
        else:
            found[name] = torch.randn(whole, generator=generator).to(dtype)
    return found


def write(
    export: Export,
    module: Any,
    trailing: dict[str, tuple[int, ...]],
    path: Path,
    dtype: torch.dtype,
) -> None:
    """Write a module as ONNX.

    Args:
        export: which engine.
        module: of the pipeline.
        trailing: as :func:`shapes` gives them.
        path: the file; weights of gigabytes lie beside it.
        dtype: of the floating-point inputs.
    """
    inputs = example(export, trailing, _EXAMPLE, dtype)
    batch = torch.export.Dim(BATCH, min=1, max=4096)
    dynamic = {name: None if name in export.fixed else {0: batch} for name in inputs}
    program = torch.onnx.export(
        export.wrap(module),
        kwargs=dict(inputs),
        dynamo=True,
        dynamic_shapes=dynamic,
        input_names=list(export.inputs),
        output_names=list(export.outputs),
        opset_version=OPSET,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("PyTorch exported nothing")
    program.save(str(path))
