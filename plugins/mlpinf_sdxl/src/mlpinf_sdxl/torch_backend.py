"""The ``torch`` backend: SDXL's modules in process, with a denoising loop of its own."""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt
import torch

from mlpinf_core.errors import BackendError
from mlpinf_core.protocols import Outputs
from mlpinf_sdxl import checkpoint, denoising, float8, full_model
from mlpinf_sdxl.checkpoint import CLIP1, CLIP2, UNET, VAE, Modules
from mlpinf_sdxl.denoising import Denoiser, Pictures, Text
from mlpinf_sdxl.images import checked
from mlpinf_sdxl.samples import CaptionSamples
from mlpinf_sdxl.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


_FULL: Final = {
    CLIP1: full_model.CLIP1,
    CLIP2: full_model.CLIP2,
    UNET: full_model.UNET,
    VAE: full_model.VAE,
}


@attrs.frozen
class Precision:
    """What is computed in, by PyTorch's names."""

    unet: str
    vae: str


@attrs.frozen(eq=False)
class _Handed:
    """What a stage hands to the next one.

    Attributes:
        indices: of the samples, int64 [n].
        value: tensors on the device; there may be rows more than samples.
        ready: an event that the next stage's stream waits for; None on a CPU.
    """

    indices: npt.NDArray[np.int64]
    value: Any
    ready: Any


@attrs.define(eq=False)
class _Replica:
    """Memory of the batches that are denoised one after the other.

    Attributes:
        denoisers: by number of images.
        ready: an event after the last of its batches; None before the first, and on a CPU.
    """

    denoisers: dict[int, Denoiser]
    ready: Any = None


@attrs.define(eq=False, kw_only=True)
class TorchBackend:
    """A pipeline and the captions it is shown. Thread-safe: ``replicas`` batches at the same time.

    Its stages are methods of their own, so that those of consecutive batches overlap.

    Attributes:
        samples: the captions.
        schedule: of the denoising steps.
        guidance: how far to lead away from the negative prompt.
        settings: of the backend.
        device: where it computes.
        precision: what it computes in.
        max_batch_size: prompts there is room for.
        vae_batch_size: images decoded at a time.
        replicas: batches that may be in :meth:`denoise` at the same time.
        threads: that each of them is computed with on a CPU.
    """

    samples: CaptionSamples
    schedule: Schedule
    guidance: float
    settings: Any
    device: torch.device
    precision: Precision
    max_batch_size: int
    vae_batch_size: int
    replicas: int = 1
    threads: int = 1
    _modules: Modules | None = None
    _negative: Text | None = None
    _latents: Any = None
    _idle: queue.SimpleQueue[_Replica] = attrs.field(factory=queue.SimpleQueue)
    _local: Any = attrs.field(factory=threading.local)

    def load(self) -> None:
        """Load the modules, encode the negative prompt, and record the denoising step.

        Raises:
            PrerequisiteError: a file of the pipeline is missing.
            IntegrityError: a module's weights are not that module's.
            BackendError: the device has too little memory.
        """
        if self.device.type == "cpu":
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                self._set_up()
        except (RuntimeError, BackendError) as error:
            if not _of_memory(error):
                raise
            raise BackendError(
                f"the device's memory is too small for batches of {self.max_batch_size}: "
                f"{error.what if isinstance(error, BackendError) else error}",
                where="sut.max_batch_size",
                remedy="lower sut.max_batch_size or backend.vae_batch_size",
            ) from error

    def warm_up(self) -> None:
        """The largest batch, on every replica, one after the other."""
        some = np.arange(self.max_batch_size, dtype=np.int64) % len(self.samples)
        for _ in range(self.replicas):
            self.infer(some)

    def infer(self, indices: npt.NDArray[np.int64]) -> Outputs:
        """All four stages, one after the other; uint8 [n, height, width, 3]."""
        return self.outputs(self.decode(self.denoise(self.encode(indices))))

    def encode(self, indices: npt.NDArray[np.int64]) -> _Handed:
        """Text of samples, int64 [n] indices, as the batch of [negative, positive]."""
        with self._computing():
            rows = self._padded(indices)
            text = self._encoded(rows).after(self._loaded(self._negative))
            return self._hand(indices, text)

    def denoise(self, handed: _Handed) -> _Handed:
        """Latents of images."""
        with self._computing(handed, handed.value.states, handed.value.pooled):
            replica = self._idle.get()
            denoisers = replica.denoisers
            try:
                if replica.ready is not None:  # another thread's stream may be at work on it still
                    torch.cuda.current_stream(self.device).wait_event(replica.ready)
                count = len(handed.value) // 2
                if count not in denoisers:
                    denoisers[count] = self._denoiser(handed.value)
                latents = denoisers[count](handed.value).clone()
                found = self._hand(handed.indices, latents)
                replica.ready = found.ready
            finally:
                self._idle.put(replica)
            return found

    def decode(self, handed: _Handed) -> _Handed:
        """Images of latents, on the device."""
        with self._computing(handed, handed.value):
            latents = handed.value[: len(handed.indices)]
            vae_dtype = getattr(torch, self.precision.vae)
            modules = self._loaded(self._modules)
            pictures = denoising.decode(modules.vae, latents, self.vae_batch_size, vae_dtype)
            return self._hand(handed.indices, pictures)

    def outputs(self, handed: _Handed) -> Outputs:
        """Images as responses.

        Raises:
            BackendError: an image is black all over, or holds something other than numbers.
        """
        pictures: Pictures = handed.value
        with self._computing(handed, pictures.pixels, pictures.broken, pictures.black):
            pixels, broken, black = (
                self._to_host(tensor)
                for tensor in (pictures.pixels, pictures.broken, pictures.black)
            )
            if self.device.type == "cuda":
                torch.cuda.current_stream(self.device).synchronize()
        return Outputs(checked(pixels.numpy(), broken.numpy(), black.numpy(), handed.indices))

    def close(self) -> None:
        """Let go of everything."""
        self._modules = None
        self._negative = None
        self._latents = None
        while not self._idle.empty():
            self._idle.get()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # -- loading ---------------------------------------------------------------------------------

    def _set_up(self) -> None:
        modules = self._load_modules()
        self._modules = modules
        self._latents = torch.from_numpy(self.samples.latents).to(self.device)
        negative = np.array([len(self.samples)])
        self._negative = self._encoded(negative)
        sizes = self._sizes() if self._graphs else []
        pool = None
        for _ in range(self.replicas):
            denoisers: dict[int, Denoiser] = {}
            for size in sizes:
                text = self._encoded(np.zeros(size, np.int64)).after(self._negative)
                denoisers[size] = self._denoiser(text)
                pool = denoisers[size].record(pool)
            self._idle.put(_Replica(denoisers))
            pool = None
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # each stage has a stream of its own

    def _load_modules(self) -> Modules:
        dtype, vae_dtype = (getattr(torch, name) for name in attrs.astuple(self.precision))
        clip1, clip2 = (self._module(kind, dtype) for kind in (CLIP1, CLIP2))
        unet, vae = self._module(UNET, dtype), self._module(VAE, vae_dtype)
        vae.encoder = vae.quant_conv = None  # images are only decoded
        if self.settings.fuse_qkv:
            unet.fuse_qkv_projections()
        if self.settings.fp8:
            float8.convert(unet)
        if self.settings.channels_last:
            unet = unet.to(memory_format=torch.channels_last)
            vae = vae.to(memory_format=torch.channels_last)
        if self.settings.compile:
            # A size of its own for each: code for any size is slower.
            unet = torch.compile(unet, dynamic=False)
            vae.decoder = torch.compile(vae.decoder, dynamic=False)
        return Modules(clip1, clip2, unet, vae)

    def _module(self, kind: str, dtype: torch.dtype) -> Any:
        folder = self.samples.pipeline
        if folder is None:
            return checkpoint.random(kind, _FULL[kind], dtype, self.device)
        own = {UNET: self.settings.unet_path, VAE: self.settings.vae_path}.get(kind)
        return checkpoint.load(kind, folder, dtype, self.device, own)

    @property
    def _graphs(self) -> bool:
        return self.settings.cuda_graphs and self.device.type == "cuda"

    def _sizes(self) -> list[int]:
        """Batch sizes that graphs are recorded for: powers of two, and the largest there is."""
        powers = [1 << power for power in range(self.max_batch_size.bit_length())]
        return sorted({*(p for p in powers if p < self.max_batch_size), self.max_batch_size})[::-1]

    # -- computing -------------------------------------------------------------------------------

    def _padded(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows for a batch; where steps are recorded, the last one fills it up to a known size."""
        if not self._graphs:
            return indices
        size = min((size for size in self._sizes() if size >= len(indices)), default=len(indices))
        return np.pad(indices, (0, size - len(indices)), mode="edge")

    def _encoded(self, rows: npt.NDArray[np.int64]) -> Text:
        modules = self._loaded(self._modules)
        first, second = (
            torch.from_numpy(ids[rows]).to(self.device, non_blocking=True)
            for ids in (self.samples.first, self.samples.second)
        )
        dtype = getattr(torch, self.precision.unet)
        return denoising.encode(modules.clip1, modules.clip2, first, second, dtype)

    def _denoiser(self, text: Text) -> Denoiser:
        return Denoiser(
            self._loaded(self._modules).unet,
            self.schedule,
            self._latents,
            text,
            guidance=self.guidance,
            dtype=getattr(torch, self.precision.unet),
            size=self.samples.image_size,
        )

    @contextlib.contextmanager
    def _computing(self, handed: _Handed | None = None, *tensors: Tensor) -> Iterator[None]:
        """Compute on the calling thread's own stream, after what was handed over is there."""
        with torch.inference_mode():
            if self.device.type != "cuda":
                yield
                return
            if not hasattr(self._local, "stream"):
                self._local.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            stream = self._local.stream
            with torch.cuda.stream(stream):
                if handed is not None:
                    stream.wait_event(handed.ready)
                    for tensor in tensors:
                        tensor.record_stream(stream)
                yield

    def _hand(self, indices: npt.NDArray[np.int64], value: Any) -> _Handed:
        ready = None
        if self.device.type == "cuda":
            ready = torch.cuda.current_stream(self.device).record_event()
        return _Handed(indices, value, ready)

    def _to_host(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def _loaded(self, value: Any) -> Any:
        if value is None:
            raise RuntimeError("the backend is used before it was loaded")
        return value


_OF_MEMORY: Final = re.compile(
    "out ?of ?memory|(not enough|insufficient) memory|(can't|cannot|failed to) allocate", re.I
)
"""As PyTorch's allocators, CUDA and TensorRT say it."""


def _of_memory(error: Exception) -> bool:
    """Whether memory was too small; elsewhere than in PyTorch on CUDA only the text tells."""
    said = error.what if isinstance(error, BackendError) else str(error)
    return isinstance(error, torch.OutOfMemoryError) or bool(_OF_MEMORY.search(said))
