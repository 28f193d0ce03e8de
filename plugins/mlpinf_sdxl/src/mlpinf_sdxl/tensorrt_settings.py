"""Settings of the ``tensorrt`` backend."""

from __future__ import annotations

from typing import Literal

import attrs

from mlpinf_core.config.schema import setting


@attrs.frozen
class TensorRtSettings:
    """Settings of the ``tensorrt`` backend, the table ``[backend]``."""

    flavour: Literal["auto", "tensorrt", "tensorrt_rtx"] = setting(
        "auto", "Which TensorRT; auto is the datacenter's where it is installed, or else RTX's."
    )
    target: str = setting(
        "",
        'Compute capability to build for, such as "8.9"; empty is the GPU that is there. '
        "tensorrt_rtx alone builds for a GPU that is not.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = setting(
        "float16", "What the text encoders and the UNet compute in."
    )
    vae_dtype: Literal["float32", "float16", "bfloat16"] = setting(
        "float32", "What the decoder computes in; SDXL's own overflows in float16."
    )
    vae_batch_size: int = setting(
        2, "Images decoded at a time.", unit="samples", validator=attrs.validators.ge(1)
    )
    level: int = setting(
        3,
        "How hard TensorRT looks for faster kernels while it builds.",
        validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(5)),
    )
    builder_flags: tuple[str, ...] = setting(
        (), "Names of TensorRT's builder flags to set, such as SPARSE_WEIGHTS."
    )
    cuda_graphs: bool = setting(
        True, "Record the denoising step as a CUDA graph for each batch size."
    )
