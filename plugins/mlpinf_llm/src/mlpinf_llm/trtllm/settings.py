"""Settings of the ``trtllm`` backend, the table ``[backend]``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from mlpinf_core.config.schema import setting

_positive = attrs.validators.ge(1)
_maybe_positive = attrs.validators.optional(_positive)
_not_negative = attrs.validators.ge(0)
_share = attrs.validators.and_(attrs.validators.gt(0), attrs.validators.le(1))


@attrs.frozen
class TrtllmSettings:
    """Settings of the ``trtllm`` backend, the table ``[backend]``."""

    checkpoint: Path | None = setting(
        None, "A checkpoint in Hugging Face's format, instead of the benchmark's own."
    )
    runtime: Literal["pytorch", "tensorrt"] = setting(
        "pytorch", "Which of TensorRT-LLM's backends computes; `tensorrt` builds an engine first."
    )
    quantization: Literal["none", "fp8", "nvfp4"] = setting(
        "none",
        "What ModelOpt makes of the checkpoint first, calibrated on the official calibration set; "
        "`none` takes it as it is, already quantised perhaps.",
    )
    calibration_samples: int = setting(
        0, "Calibration prompts; 0 is all of them.", validator=_not_negative
    )
    calibration_device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "Where the model lies while it is calibrated; `auto` spreads it over all devices."
    )
    tensor_parallel: int = setting(1, "Devices that share every layer.", validator=_positive)
    pipeline_parallel: int = setting(
        1, "Groups of devices that each have a part of the layers.", validator=_positive
    )
    expert_parallel: int | None = setting(
        None,
        "Devices that share the experts, whole ones each; unset leaves it to TensorRT-LLM.",
        validator=_maybe_positive,
    )
    attention_dp: bool = setting(
        False, "Give each device of a group requests of its own for attention."
    )
    max_batch_size: int = setting(
        256, "Most sequences in a step.", unit="sequences", validator=_positive
    )
    max_num_tokens: int = setting(
        8192, "Most tokens in a step.", unit="tokens", validator=_positive
    )
    max_seq_len: int | None = setting(
        None,
        "Longest prompt and answer together; unset is what the data set and the cap come to.",
        unit="tokens",
        validator=_maybe_positive,
    )
    chunked_prefill: bool = setting(True, "Take long prompts in by parts, between decode steps.")
    kv_cache_fraction: float = setting(
        0.9, "Share of the memory left by the weights that the KV cache takes.", validator=_share
    )
    kv_cache_dtype: Literal["auto", "fp8", "nvfp4"] = setting("auto", "Of the KV cache.")
    kv_cache_tokens: int | None = setting(
        None, "Room of the KV cache, instead of a share.", unit="tokens", validator=_maybe_positive
    )
    kv_block_tokens: int = setting(
        32, "Tokens in a block of the KV cache.", unit="tokens", validator=_positive
    )
    kv_block_reuse: bool = setting(
        False, "Reuse the KV cache of prompts that begin alike; the rules forbid it across queries."
    )
    scheduler_policy: Literal["GUARANTEED_NO_EVICT", "MAX_UTILIZATION", "STATIC_BATCH"] = setting(
        "GUARANTEED_NO_EVICT",
        "Which requests get room in the KV cache: those that can end there, or as many as fit now.",
    )
    chunking_policy: Literal["FIRST_COME_FIRST_SERVED", "EQUAL_PROGRESS"] | None = setting(
        None, "Whose prompt goes on where several are taken in by parts; unset is the library's."
    )
    cuda_graphs: bool = setting(True, "Decode with CUDA graphs. `pytorch` only.")
    cuda_graph_batch_sizes: tuple[int, ...] | None = setting(
        None, "Batch sizes to make graphs for; unset is up to `max_batch_size`. `pytorch` only."
    )
    cuda_graph_padding: bool = setting(
        True, "Round a batch up to the next size that has a graph. `pytorch` only."
    )
    overlap_scheduler: bool = setting(
        True, "Plan a step while the last one is computed. `pytorch` only."
    )
    moe_backend: str | None = setting(
        None, "What computes the experts: `CUTLASS`, `TRTLLM`, `DEEPGEMM`, ... `pytorch` only."
    )
    stream_interval: int = setting(
        0,
        "Steps between two messages of a stream; 0 is two messages an answer: the first token, "
        "and the rest. `pytorch` only.",
        validator=_not_negative,
    )
    trust_remote_code: bool = setting(False, "Run code that the checkpoint brings.")
    concurrency: int = setting(
        0,
        "Most requests handed to the engine; the others wait outside. 0 is twice what a step "
        "takes.",
        validator=_not_negative,
    )
