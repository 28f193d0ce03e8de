"""The ``tensorrt`` backend: the denoising loop of the ``torch`` backend over TensorRT's engines.

Engines read and write PyTorch's tensors where they are, on PyTorch's current stream, so the step is
recorded as one CUDA graph as with PyTorch's own modules. Text encoders, UNet and decoder work at
the same time on batches of their own, so each has scratch memory of its own, but for the two text
encoders, which take turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import torch

from mlpinf_core.tensorrt.flavour import Flavour
from mlpinf_core.tensorrt.memory import DeviceMemory, Stream, capability
from mlpinf_core.tensorrt.run import Engine, Place, share_scratch
from mlpinf_core.tensorrt.store import EngineFile
from mlpinf_sdxl import checkpoint
from mlpinf_sdxl.checkpoint import Modules
from mlpinf_sdxl.torch_backend import TorchBackend

if TYPE_CHECKING:
    from torch import Tensor


_TYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT64": torch.int64,
    "INT32": torch.int32,
}


@attrs.define(eq=False, kw_only=True)
class TensorRtBackend(TorchBackend):
    """Engines in place of modules.

    Attributes:
        flavour: of TensorRT.
        files: the engines, by name.
    """

    flavour: Flavour
    files: Mapping[str, EngineFile]
    _scratch: list[DeviceMemory] = attrs.field(factory=list)

    def close(self) -> None:
        """Let go of everything."""
        super().close()
        while self._scratch:
            self._scratch.pop().close()

    def _load_modules(self) -> Modules:
        target = capability()
        engines = {name: Engine(file, self.flavour, target) for name, file in self.files.items()}
        texts = [engines["clip1"], engines["clip2"]]
        for group in (texts, [engines["unet"]], [engines["vae"]]):
            self._scratch.append(share_scratch(group))
        clip1, clip2, vae = (
            _Runner(engines[name], self.device) for name in ("clip1", "clip2", "vae")
        )
        unet = _Runner(engines["unet"], self.device, recorded=self._graphs)
        folder = self.samples.pipeline
        if folder is None:
            raise RuntimeError("there are no weights that engines were built from")
        config = checkpoint.read_json(folder / checkpoint.VAE / checkpoint.CONFIG)
        return Modules(_Clip(clip1), _Clip(clip2), _Unet(unet), _Vae(vae, config))


class _Runner:
    """An engine that takes and gives tensors of PyTorch."""

    def __init__(self, engine: Engine, device: torch.device, *, recorded: bool = False) -> None:
        self._engine = engine
        self._device = device
        self._recorded = recorded
        bindings = engine.file.bindings
        self._dtypes = {binding.name: _TYPES[binding.dtype] for binding in bindings}

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        given = {name: value.to(self._dtypes[name]).contiguous() for name, value in inputs.items()}
        taken = {name: tuple(value.shape) for name, value in given.items()}
        shapes = self._engine.output_shapes(taken)
        made = {
            name: torch.empty(shape, dtype=self._dtypes[name], device=self._device)
            for name, shape in shapes.items()
        }
        stream = Stream(torch.cuda.current_stream(self._device).cuda_stream)
        places = {name: Place.of_torch(value) for name, value in {**given, **made}.items()}
        if self._recorded and not torch.cuda.is_current_stream_capturing():
            self._engine.require_capturable(taken, stream)
        self._engine.enqueue(places, stream)
        return made


class _Clip:
    """A text encoder, as the backend calls it."""

    def __init__(self, run: _Runner) -> None:
        self._run = run

    def __call__(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        made = self._run(input_ids=input_ids)
        return SimpleNamespace(hidden_states=(made["states"], None), text_embeds=made.get("pooled"))


class _Unet:
    """The UNet, as the denoising loop calls it."""

    def __init__(self, run: _Runner) -> None:
        self._run = run

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        added_cond_kwargs: Mapping[str, Tensor],
        **_: Any,
    ) -> tuple[Tensor]:
        made = self._run(
            sample=sample,
            timestep=timestep,
            states=encoder_hidden_states,
            pooled=added_cond_kwargs["text_embeds"],
            time_ids=added_cond_kwargs["time_ids"],
        )
        return (made["noise"],)


class _Vae:
    """The decoder, as the backend calls it."""

    def __init__(self, run: _Runner, config: Mapping[str, Any]) -> None:
        self._run = run
        self.config = SimpleNamespace(scaling_factor=config["scaling_factor"])

    def decode(self, latents: Tensor, **_: Any) -> tuple[Tensor]:
        return (self._run(latents=latents)["images"],)
