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
    unet_quantization: Literal["none", "fp8", "int8"] = setting(
        "none",
        "The 8-bit type that the UNet's products are computed in, with scales from the calibration "
        "captions; the rest stays in dtype. FP8 wants compute capability 8.9 or more.",
    )
    unet_quantized_layers: Literal["linear", "all"] = setting(
        "linear",
        "Which of them: the linear layers of the transformer blocks; or all, the convolutions too "
        "but for the first, the last and the shortcuts, which is less exact.",
    )
    calibration_samples: int = setting(
        32,
        "Calibration captions, the first of them; 0 is all.",
        unit="samples",
        validator=attrs.validators.ge(0),
    )
    calibration_steps: int = setting(
        4,
        "Denoising steps of each caption that are calibrated on, spread from the first to the "
        "last; 0 is all.",
        validator=attrs.validators.ge(0),
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
