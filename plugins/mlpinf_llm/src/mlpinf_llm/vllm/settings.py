"""Settings of the ``vllm`` backend, the table ``[backend]``."""

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
class VllmSettings:
    """Settings of the ``vllm`` backend, the table ``[backend]``."""

    checkpoint: Path | None = setting(
        None, "A checkpoint in Hugging Face's format, instead of the benchmark's own; FP8 or FP4."
    )
    tensor_parallel: int = setting(1, "Devices that share every layer.", validator=_positive)
    pipeline_parallel: int = setting(
        1, "Groups of devices that each have a part of the layers.", validator=_positive
    )
    data_parallel: int = setting(
        1, "Copies of the model that share the requests.", validator=_positive
    )
    expert_parallel: bool = setting(
        False, "Keep whole experts on a device, rather than a part of each."
    )
    dtype: Literal["auto", "half", "bfloat16", "float16", "float32"] = setting(
        "auto", "Of the weights that are not quantised."
    )
    quantization: str | None = setting(
        None, "How to quantise while loading (`fp8`); unset takes what the checkpoint says."
    )
    kv_cache_dtype: str = setting("auto", "Of the KV cache: `auto`, `fp8`, `fp8_e4m3`, ...")
    gpu_memory_utilization: float = setting(
        0.9, "Share of a device's memory that vLLM may take.", validator=_share
    )
    block_size: int | None = setting(
        None, "Tokens in a block of the KV cache.", unit="tokens", validator=_maybe_positive
    )
    prefix_caching: bool = setting(
        False, "Reuse the KV cache of prompts that begin alike; the rules forbid it across queries."
    )
    chunked_prefill: bool = setting(True, "Take long prompts in by parts, between decode steps.")
    max_num_seqs: int = setting(
        256, "Most sequences in a step.", unit="sequences", validator=_positive
    )
    max_num_batched_tokens: int = setting(
        8192, "Most tokens in a step.", unit="tokens", validator=_positive
    )
    max_model_len: int | None = setting(
        None,
        "Longest prompt and answer together; unset is what the data set and the cap come to.",
        unit="tokens",
        validator=_maybe_positive,
    )
    scheduling_policy: Literal["fcfs", "priority"] = setting("fcfs", "Which request goes first.")
    async_scheduling: bool | None = setting(
        None, "Plan a step while the last one is computed; unset leaves it to vLLM."
    )
    enforce_eager: bool = setting(False, "Compute without CUDA graphs.")
    stream_interval: int = setting(
        0,
        "Tokens between two messages of a stream; 0 is two messages an answer: the first token, "
        "and the rest.",
        unit="tokens",
        validator=_not_negative,
    )
    trust_remote_code: bool = setting(False, "Run code that the checkpoint brings.")
    concurrency: int = setting(
        0,
        "Most requests handed to the engine; the others wait outside. 0 is twice what a step of "
        "all copies takes.",
        validator=_not_negative,
    )
