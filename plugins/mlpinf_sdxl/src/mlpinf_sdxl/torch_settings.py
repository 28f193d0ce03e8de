"""Settings of the ``torch`` backend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from mlpinf_core.config.schema import setting


@attrs.frozen
class TorchSettings:
    """Settings of the ``torch`` backend, the table ``[backend]``."""

    device: Literal["cpu", "cuda", "auto"] = setting(
        "auto", "What the pipeline runs on; auto is CUDA where there is a device."
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
        "auto",
        "What the text encoders and the UNet compute in; auto is float32 on a CPU and bfloat16 on "
        "CUDA.",
    )
    vae_dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
        "auto",
        "What the decoder computes in; auto is dtype, and float32 where that is float16, in which "
        "SDXL's decoder overflows.",
    )
    vae_batch_size: int = setting(
        0,
        "Images decoded at a time; 0 is 2, or the batch where that is smaller.",
        unit="samples",
        validator=attrs.validators.ge(0),
    )
    replicas: int = setting(
        0,
        "Batches denoised at the same time, on one copy of the weights; 0 is one a core of a CPU "
        "with the tiny variant, and else 1.",
        validator=attrs.validators.ge(0),
    )
    threads: int = setting(
        0,
        "Threads a batch is computed with on a CPU; 0 is 1 with the tiny variant, and else shares "
        "the cores between the replicas.",
        unit="threads",
        validator=attrs.validators.ge(0),
    )
    channels_last: bool = setting(True, "Keep images and latents with their channels together.")
    cuda_graphs: bool = setting(
        True,
        "Record the denoising step as a CUDA graph for each batch size; on a CPU it is unused.",
    )
    compile: bool = setting(
        False,
        "Compile the UNet and the decoder with torch.compile while the backend loads, which takes "
        "minutes.",
    )
    fp8: bool = setting(
        False,
        "Compute the UNet's large linear layers in FP8 (e4m3), weights and activations scaled row "
        "by row. It wants `compile`, without which the scaling costs more than it gains, and "
        "bfloat16.",
    )
    fuse_qkv: bool = setting(
        False, "Compute queries, keys and values of the UNet's attention in one product."
    )
    unet_path: Path | None = setting(
        None, "Weights of the UNet to take in place of the pipeline's, a .safetensors file."
    )
    vae_path: Path | None = setting(
        None, "Weights of the autoencoder to take in place of the pipeline's, a .safetensors file."
    )
