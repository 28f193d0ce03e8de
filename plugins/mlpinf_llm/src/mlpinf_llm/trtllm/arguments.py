"""The settings as TensorRT-LLM takes them. Its own classes are made where it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_llm.engine_backend import Asked
    from mlpinf_llm.trtllm.settings import TrtllmSettings


def common(settings: TrtllmSettings, model: Path, *, longest: int) -> dict[str, Any]:
    """What an LLM of either runtime is made with, plain values.

    Args:
        settings: of the backend.
        model: a checkpoint's folder, or an engine's.
        longest: tokens of the longest prompt and answer.
    """
    return {
        "model": str(model),
        "skip_tokenizer_init": True,  # ids in, ids out
        "trust_remote_code": settings.trust_remote_code,
        "tensor_parallel_size": settings.tensor_parallel,
        "pipeline_parallel_size": settings.pipeline_parallel,
        "moe_expert_parallel_size": settings.expert_parallel,
        "enable_attention_dp": settings.attention_dp,
        "max_batch_size": settings.max_batch_size,
        "max_num_tokens": settings.max_num_tokens,
        "max_seq_len": settings.max_seq_len or longest,
        "enable_chunked_prefill": settings.chunked_prefill,
    }


def pytorch_only(settings: TrtllmSettings, *, cap: int) -> dict[str, Any]:
    """What the PyTorch runtime takes besides, plain values.

    Args:
        settings: of the backend.
        cap: most tokens of an answer.
    """
    return {
        "backend": "pytorch",
        "disable_overlap_scheduler": not settings.overlap_scheduler,
        "stream_interval": settings.stream_interval or cap,
    }


def kv_cache(settings: TrtllmSettings) -> dict[str, Any]:
    """What KvCacheConfig is made with."""
    return {
        "enable_block_reuse": settings.kv_block_reuse,
        "free_gpu_memory_fraction": settings.kv_cache_fraction,
        "max_tokens": settings.kv_cache_tokens,
        "tokens_per_block": settings.kv_block_tokens,
        "dtype": settings.kv_cache_dtype,
    }


def cuda_graphs(settings: TrtllmSettings) -> dict[str, Any]:
    """What CudaGraphConfig is made with."""
    sizes = settings.cuda_graph_batch_sizes
    if sizes:
        return {"batch_sizes": sorted(sizes), "enable_padding": settings.cuda_graph_padding}
    return {
        "max_batch_size": settings.max_batch_size,
        "enable_padding": settings.cuda_graph_padding,
    }


def sampling(ask: Asked) -> dict[str, Any]:
    """What SamplingParams is made with."""
    rules = ask.generation
    end, *others = rules.eos_ids
    return {
        "end_id": end,
        "stop_token_ids": others or None,
        "max_tokens": ask.cap,
        "min_tokens": ask.least,
        # A temperature has to be above 0 here; with a top-k of 1 it changes nothing.
        "temperature": rules.temperature or None,
        "top_k": rules.top_k,
        "top_p": rules.top_p,
        "seed": rules.seed,
        "ignore_eos": False,
        "detokenize": False,
        "add_special_tokens": False,
    }
