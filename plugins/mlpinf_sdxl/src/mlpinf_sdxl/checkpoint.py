"""A pipeline's modules: from a folder in diffusers' layout, or made with random weights."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import attrs
import torch

from mlpinf_core.errors import IntegrityError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

UNET: Final = "unet"
VAE: Final = "vae"
CLIP1: Final = "text_encoder"
CLIP2: Final = "text_encoder_2"
MODULES: Final = (CLIP1, CLIP2, UNET, VAE)
"""The folders of a pipeline that hold weights."""

CONFIG: Final = "config.json"
_STEMS: Final = ("diffusion_pytorch_model", "model")
_OLD_ATTENTION: Final = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
"""What older checkpoints of the autoencoder call the parts of its attention."""
_OLD_NAME: Final = re.compile(r"(attentions\.\d+)\.(query|key|value|proj_attn)\.")
_WRAPPER: Final = "text_model."
"""What some versions of transformers put before a text encoder's names, and some do not."""
_NAMED: Final = 4
"""Tensors named in a message; the others are counted."""


@attrs.frozen
class Modules:
    """The four modules of a pipeline, in evaluation mode.

    Attributes:
        clip1: the first text encoder, a ``CLIPTextModel``.
        clip2: the second, a ``CLIPTextModelWithProjection``.
        unet: a ``UNet2DConditionModel``.
        vae: an ``AutoencoderKL``, of which only the decoder is used.
    """

    clip1: Any
    clip2: Any
    unet: Any
    vae: Any


def empty(kind: str, config: Mapping[str, Any]) -> Any:
    """A module without memory for its weights.

    Args:
        kind: one of :data:`MODULES`.
        config: as its ``config.json`` has it.
    """
    with torch.device("meta"):
        return _made(kind, config)


def _made(kind: str, config: Mapping[str, Any]) -> Any:
    if kind in (CLIP1, CLIP2):
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        known = {key: value for key, value in config.items() if key not in _OF_LIBRARY}
        known["attn_implementation"] = "sdpa"
        text = CLIPTextConfig(**known)
        return (CLIPTextModel if kind == CLIP1 else CLIPTextModelWithProjection)(text)
    from diffusers import AutoencoderKL, UNet2DConditionModel

    made: Any = UNet2DConditionModel if kind == UNET else AutoencoderKL
    return made.from_config(dict(config))


_OF_LIBRARY: Final = ("architectures", "torch_dtype", "dtype", "transformers_version", "model_type")


def random(kind: str, config: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> Any:
    """A module with random weights, made on the device: for measuring without a checkpoint.

    Weights are normal with a spread of 0.02 and the norms do nothing, so that nothing overflows.
    """
    module = empty(kind, config)
    state = {}
    for name, value in module.state_dict().items():
        made = torch.empty(value.shape, dtype=dtype, device=device)
        still = 1.0 if name.endswith("weight") else 0.0
        state[name] = made.normal_(std=0.02) if made.ndim > 1 else made.fill_(still)
    module.load_state_dict(state, assign=True)
    _restore_positions(module, device)
    return _ready(module)


def load(
    kind: str,
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    weights: Path | None = None,
) -> Any:
    """A module of a pipeline.

    Args:
        kind: one of :data:`MODULES`.
        folder: the pipeline's.
        dtype: what it is to compute in.
        device: where it is to be.
        weights: a ``.safetensors`` file to take in place of the folder's own.

    Raises:
        PrerequisiteError: a file is missing.
        IntegrityError: the weights are not this module's; names what is missing, unknown or
            misshapen.
    """
    module = empty(kind, read_json(folder / kind / CONFIG))
    files = [weights] if weights else weight_files(folder / kind)
    state: dict[str, Tensor] = {}
    for file in files:
        state.update(_tensors(file))
    where = str(files[0] if len(files) == 1 else folder / kind)
    fitted = _fitted(module, state, where)
    module.load_state_dict({name: value.to(dtype) for name, value in fitted.items()}, assign=True)
    _restore_positions(module, torch.device("cpu"))
    return _ready(module.to(device=device))


def weight_files(folder: Path) -> list[Path]:
    """The files of a module's weights: whole, in parts, or in half precision.

    Raises:
        PrerequisiteError: there are none.
    """
    for middle in ("", ".fp16"):
        for stem in _STEMS:
            whole = folder / f"{stem}{middle}.safetensors"
            if whole.is_file():
                return [whole]
            index = folder / f"{stem}.safetensors.index{middle}.json"
            if index.is_file():
                parts = sorted(set(read_json(index)["weight_map"].values()))
                return [_there(folder / part) for part in parts]
    raise PrerequisiteError(
        "the weights of a module are missing",
        where=str(folder),
        remedy=f"put {_STEMS[0]}.safetensors or {_STEMS[1]}.safetensors there, as the pipeline "
        "has it",
    )


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file.

    Raises:
        PrerequisiteError: it is missing.
        IntegrityError: it is no JSON.
    """
    try:
        found: dict[str, Any] = json.loads(_there(path).read_text("utf-8"))
    except ValueError as problem:
        raise IntegrityError(f"this is no JSON: {problem}", where=str(path)) from problem
    return found


def _there(path: Path) -> Path:
    if not path.is_file():
        raise PrerequisiteError(
            f"a file of the pipeline is missing: {path.name}",
            where=str(path),
            remedy="set benchmark.model_path to a whole pipeline in diffusers' layout",
        )
    return path


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(_there(path))
    except SafetensorError as problem:
        raise IntegrityError(
            f"the weights cannot be read: {problem}",
            where=str(path),
            remedy="fetch the file again",
        ) from problem
    return {_modern(name): value for name, value in found.items()}


def _modern(name: str) -> str:
    return _OLD_NAME.sub(lambda found: f"{found[1]}.{_OLD_ATTENTION[found[2]]}.", name)


def _fitted(module: nn.Module, state: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The weights by the module's own names, all of them and no others."""
    own = {name.removeprefix(_WRAPPER): name for name in module.state_dict()}
    given = {name.removeprefix(_WRAPPER): value for name, value in state.items()}
    given.pop("embeddings.position_ids", None)  # no weight, and in old checkpoints all the same
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    faults = []
    if missing := [name for name in own if name not in given]:
        faults.append(f"missing: {_some(missing)}")
    if extra := [name for name in given if name not in own]:
        faults.append(f"unknown: {_some(extra)}")
    fitted = {}
    misshapen = []
    for name, value in given.items():
        if name in own:
            wanted = shapes[own[name]]
            # Some checkpoints keep linear layers as convolutions of one pixel.
            fits = tuple(value.shape) == wanted or (
                value.ndim > len(wanted) and value.squeeze().shape == wanted
            )
            if not fits:
                misshapen.append(f"{name} {tuple(value.shape)} instead of {wanted}")
            else:
                fitted[own[name]] = value.reshape(wanted)
    if misshapen:
        faults.append(f"misshapen: {_some(misshapen)}")
    if faults:
        raise IntegrityError(
            f"the weights are not this module's; {'; '.join(faults)}",
            where=where,
            remedy="use the module's weights of the very pipeline that its config.json is from",
        )
    return fitted


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _restore_positions(module: nn.Module, device: torch.device) -> None:
    """Give the text encoders' positions their values: they are no weights, and in no file."""
    for part in module.modules():
        for name, buffer in list(part._buffers.items()):  # noqa: SLF001  (the only way to replace one)
            if buffer is not None and name == "position_ids":
                ids = torch.arange(buffer.shape[-1], device=device).unsqueeze(0)
                part.register_buffer(name, ids, persistent=False)


def _ready(module: Any) -> Any:
    module.requires_grad_(False)
    return module.eval()
