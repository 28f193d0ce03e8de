"""Stable Diffusion XL at full size: 1024², 20 steps with guidance, random weights and prompts."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpu_parts import ceilings, plugin, published, random_sdxl, throughout
from gpu_parts.rows import Row
from mlpinf_sdxl.torch_settings import TorchSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = 1.7
LEAST_EFFICIENCY = 0.97
BATCH = 8
BATCHES = 6
SETTINGS: dict[str, Any] = {"fuse_qkv": True, "compile": True, "fp8": True}


def directly(made: random_sdxl.RandomSdxl, batch: int, batches: int) -> float:
    """Samples a second of the stages one after the other, in as many threads as the pipeline."""
    parts = [np.arange(first, first + batch) for first in range(0, batch * batches, batch)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(made.infer, parts[:1]))
        started = time.perf_counter()
        list(pool.map(made.infer, parts))
        return batch * batches / (time.perf_counter() - started)


def stages(made: random_sdxl.RandomSdxl, batch: int) -> dict[str, float]:
    """Milliseconds of a batch's stages, one after the other."""
    device = made.device
    indices = np.arange(batch)
    found: dict[str, float] = {}
    text = made.encode(indices)
    latents = made.denoise(text)
    pictures = made.decode(latents)
    for name, work in (
        ("text", lambda: made.encode(indices)),
        ("denoise", lambda: made.denoise(text)),
        ("decode", lambda: made.decode(latents)),
        ("copy", lambda: made.outputs(pictures)),
    ):
        with made._computing():  # the events that time it have to be in its stream
            found[name] = 1000 * ceilings.timed(work, device, 2)
    return found


def operations(made: random_sdxl.RandomSdxl) -> float:
    """Operations of an image: counted on the UNet and the decoder, on no device."""
    from torch.utils.flop_counter import FlopCounterMode

    from mlpinf_sdxl import checkpoint, torch_backend

    toys = {checkpoint.UNET: random_sdxl.TOY_UNET, checkpoint.VAE: random_sdxl.TOY_VAE}
    unet, vae = (
        checkpoint.empty(kind, torch_backend._FULL[kind] | (toys[kind] if made.toy else {}))
        for kind in (checkpoint.UNET, checkpoint.VAE)
    )
    side = made.samples.latents.shape[-1]
    with torch.device("meta"), FlopCounterMode(display=False) as counted, torch.no_grad():
        unet(
            torch.empty(2, 4, side, side), torch.empty(1),
            encoder_hidden_states=torch.empty(2, random_sdxl.TOKENS, 2048),
            added_cond_kwargs={
                "text_embeds": torch.empty(2, 1280), "time_ids": torch.empty(2, 6)
            },
        )  # fmt: skip
        steps = random_sdxl.STEPS * counted.get_total_flops()
    with torch.device("meta"), FlopCounterMode(display=False) as counted, torch.no_grad():
        vae.decode(torch.empty(1, 4, side, side))
        decode = counted.get_total_flops()
    return float(steps + decode)


def measure(*, toy: bool) -> Iterator[Row]:
    """Directly, and through the harness."""
    batch, batches = (2, 2) if toy else (BATCH, BATCHES)
    samples = random_sdxl.captions(8 if toy else 5000, latent=16 if toy else 128)
    settings = TorchSettings() if toy else TorchSettings(**SETTINGS)
    started = time.perf_counter()
    made = random_sdxl.backend(samples, settings, batch, toy=toy)
    made.load()
    made.warm_up()
    loading = time.perf_counter() - started
    most = ceilings.measured(made.device)
    need = operations(made)
    direct = directly(made, batch, batches)
    notes: dict[str, Any] = {
        "batch": batch, "settings": {} if toy else SETTINGS, "loading, s": loading,
        "types": made.precision.unet, "operations of an image": need,
        "product, TFLOP/s": most.operations_per_second / 1e12,
        "milliseconds of a batch": stages(made, batch), "memory": throughout.gpu_memory(),
    }  # fmt: skip
    yield Row("sdxl", "SDXL, samples/s, backend called directly", direct, published.SDXL_OFFLINE,
              TARGET, 1 / most.seconds(0, need), notes)  # fmt: skip
    made.close()
    del made
    if not toy:
        torch.cuda.empty_cache()
    more = [] if toy else [f"backend.{k}={str(v).lower()}" for k, v in SETTINGS.items()]
    found = throughout.offline(
        plugin.SDXL, batch * batches, f"benchmark.toy={'true' if toy else 'false'}",
        f"sut.max_batch_size={batch}", *more, toy=True,
    )  # fmt: skip
    rate = float(found["result_samples_per_second"])
    yield Row("sdxl", "SDXL Offline through LoadGen, samples/s", rate, published.SDXL_OFFLINE,
              TARGET)  # fmt: skip
    yield Row("sdxl", "SDXL, harness over direct", rate / direct, None, LEAST_EFFICIENCY)
