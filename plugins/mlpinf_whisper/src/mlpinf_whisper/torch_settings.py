"""Settings of the ``torch`` backend."""

from __future__ import annotations

from typing import Literal

import attrs

from mlpinf_core.config.schema import setting


@attrs.frozen
class TorchSettings:
    """Settings of the ``torch`` backend, the table ``[backend]``."""

    device: Literal["cpu", "cuda", "auto"] = setting(
        "auto", "What the model runs on; auto is CUDA where there is a device."
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
        "auto", "What the model computes in; auto is float32 on a CPU and float16 on CUDA."
    )
    replicas: int = setting(
        0,
        "Batches decoded at the same time, on one copy of the weights; 0 is one a core of a CPU, "
        "one for 8 cores with the full model, and 1 in SingleStream, MultiStream and on CUDA.",
        validator=attrs.validators.ge(0),
    )
    threads: int = setting(
        0,
        "Threads a batch is computed with on a CPU; 0 shares the cores between the replicas.",
        unit="threads",
        validator=attrs.validators.ge(0),
    )
    cuda_graphs: bool = setting(
        True,
        "Record the decoder's step as a CUDA graph for each batch size; on a CPU it is unused.",
    )
    encoder_batch_size: int = setting(
        16,
        "Clips that the encoder takes at a time; more need more memory, and gain little.",
        unit="samples",
        validator=attrs.validators.ge(1),
    )
    stop_check_steps: int = setting(
        8,
        "Tokens decoded on CUDA between two looks at which clips have ended; a look waits for the "
        "device. On a CPU it costs nothing and is done at each.",
        unit="tokens",
        validator=attrs.validators.ge(1),
    )
