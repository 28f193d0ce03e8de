import asyncio
import itertools
from enum import StrEnum
from typing import ClassVar

import behaviour
from contract import take

_COMMON = {
    "model": "str", "tokenizer": "str | None", "tokenizer_mode": "str",
    "skip_tokenizer_init": "bool", "trust_remote_code": "bool", "tensor_parallel_size": "int",
    "dtype": "str", "revision": "str | None", "pipeline_parallel_size": "int",
    "context_parallel_size": "int", "gpus_per_node": "int | None",
    "moe_cluster_parallel_size": "int | None", "moe_tensor_parallel_size": "int | None",
    "moe_expert_parallel_size": "int | None", "enable_attention_dp": "bool",
    "kv_cache_config": "KvCacheConfig", "enable_chunked_prefill": "bool",
    "scheduler_config": "SchedulerConfig", "max_batch_size": "int | None",
    "max_input_len": "int | None", "max_seq_len": "int | None", "max_beam_width": "int | None",
    "max_num_tokens": "int | None", "gather_generation_logits": "bool",
}  # fmt: skip
_TORCH = {
    "backend": "str", "cuda_graph_config": "CudaGraphConfig", "disable_overlap_scheduler": "bool",
    "moe_config": "MoeConfig", "attn_backend": "str", "stream_interval": "int",
    "enable_autotuner": "bool", "print_iter_log": "bool", "torch_compile_config": "Any",
}  # fmt: skip
_TENSORRT = {
    "build_config": "BuildConfig", "quant_config": "QuantConfig", "calib_config": "CalibConfig",
    "enable_build_cache": "bool", "fast_build": "bool", "workspace": "str | None",
    "batching_type": "BatchingType", "normalize_log_probs": "bool",
}  # fmt: skip


class _Strict:
    FIELDS: ClassVar[dict]

    def __init__(self, **given):
        self.given = take(type(self).__name__, self.FIELDS, given)


class KvCacheConfig(_Strict):
    FIELDS: ClassVar = {
        "enable_block_reuse": "bool", "max_tokens": "int | None", "max_attention_window": "Any",
        "sink_token_length": "int | None", "free_gpu_memory_fraction": "float | None",
        "host_cache_size": "int | None", "onboard_blocks": "bool", "dtype": "str",
        "enable_partial_reuse": "bool", "copy_on_partial_reuse": "bool", "use_uvm": "bool",
        "max_gpu_total_bytes": "int", "tokens_per_block": "int", "event_buffer_max_size": "int",
    }  # fmt: skip


class CapacitySchedulerPolicy(StrEnum):
    MAX_UTILIZATION = "MAX_UTILIZATION"
    GUARANTEED_NO_EVICT = "GUARANTEED_NO_EVICT"
    STATIC_BATCH = "STATIC_BATCH"


class ContextChunkingPolicy(StrEnum):
    FIRST_COME_FIRST_SERVED = "FIRST_COME_FIRST_SERVED"
    EQUAL_PROGRESS = "EQUAL_PROGRESS"


class SchedulerConfig(_Strict):
    FIELDS: ClassVar = {
        "capacity_scheduler_policy": "CapacitySchedulerPolicy",
        "context_chunking_policy": "ContextChunkingPolicy | None",
        "dynamic_batch_config": "Any",
    }

    def __init__(self, **given):
        super().__init__(**given)
        assert isinstance(given["capacity_scheduler_policy"], CapacitySchedulerPolicy)
        chunking = given.get("context_chunking_policy")
        assert chunking is None or isinstance(chunking, ContextChunkingPolicy)


class CudaGraphConfig(_Strict):
    FIELDS: ClassVar = {
        "batch_sizes": "list[int] | None",
        "max_batch_size": "int",
        "enable_padding": "bool",
    }


class MoeConfig(_Strict):
    FIELDS: ClassVar = {"backend": "str", "max_num_tokens": "int | None", "load_balancer": "Any"}


class BuildConfig(_Strict):
    FIELDS: ClassVar = {
        "max_input_len": "int", "max_seq_len": "int | None", "opt_batch_size": "int",
        "max_batch_size": "int", "max_beam_width": "int", "max_num_tokens": "int",
    }  # fmt: skip


class SamplingParams(_Strict):
    FIELDS: ClassVar = {
        "end_id": "int | None", "pad_id": "int | None", "max_tokens": "int",
        "stop_token_ids": "list[int] | None", "n": "int", "best_of": "int | None",
        "use_beam_search": "bool", "top_k": "int | None", "top_p": "float | None",
        "seed": "int | None", "temperature": "float | None", "min_tokens": "int | None",
        "ignore_eos": "bool", "detokenize": "bool", "add_special_tokens": "bool",
        "exclude_input_from_output": "bool",
    }  # fmt: skip

    def __init__(self, **given):
        super().__init__(**given)
        temperature = given.get("temperature")
        assert temperature is None or temperature > 0


class RequestError(RuntimeError):
    pass


class CompletionOutput:
    def __init__(self):
        self.token_ids = []
        self.finish_reason = None


class RequestOutput:
    """What ``generate_async`` gives: awaited for the whole, iterated for the parts."""

    def __init__(self, llm, ids, finish, number, *, streaming):
        self.outputs = [CompletionOutput()]
        self.finished = False
        self.aborted = False
        self._llm, self._finish, self._number = llm, finish, number
        step = llm.given.get("stream_interval", 1)
        cuts = [0, *range(1, len(ids), step), len(ids)] if streaming else [0, len(ids)]
        self._parts = [ids[a:b] for a, b in itertools.pairwise(cuts)]

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.finished:
            raise StopAsyncIteration
        await self._step()
        return self

    def __await__(self):
        return self._all().__await__()

    async def _all(self):
        while not self.finished:
            await self._step()
        return self

    async def _step(self):
        await asyncio.sleep(0.001)
        if behaviour.FAULT == "dies" and self._number > behaviour.DIES_AFTER:
            self._llm.down = True
        if self._llm.down:
            self._over()
            raise RuntimeError("MPI worker rank 0 died")
        if self._number == behaviour.FAILS_AT:
            if behaviour.FAULT == "one-fails":
                self._over()
                raise RequestError("out of memory")
            if behaviour.FAULT == "cancelled":
                self._over()
                raise asyncio.CancelledError
            if behaviour.FAULT == "ended-early":
                self._parts, self._finish = self._parts[:1], "cancelled"
        self.outputs[0].token_ids.extend(self._parts.pop(0))
        if not self._parts:
            self.outputs[0].finish_reason = self._finish
            self._over()

    def _over(self):
        self.finished = True
        self._llm.running.discard(self)

    def abort(self):
        assert not self.finished
        self._over()


class _Base:
    FIELDS: ClassVar[dict]

    def __init__(self, **given):
        self.given = take("LLM", self.FIELDS, given, ("model",))
        for name, kind in (
            ("kv_cache_config", KvCacheConfig),
            ("scheduler_config", SchedulerConfig),
        ):
            assert name not in given or isinstance(given[name], kind), name
        if behaviour.FAULT == "construct":
            raise RuntimeError("CUDA out of memory")
        self.running = set()
        self.down = False
        self.closed = False
        self.count = 0

    def generate_async(
        self, inputs, sampling_params=None, lora_request=None, prompt_adapter_request=None,
        streaming=False, kv_cache_retention_config=None, disaggregated_params=None,
        _postproc_params=None, scheduling_params=None, cache_salt=None,
    ):  # fmt: skip
        asyncio.get_running_loop()  # or its results could not be awaited
        if self.down or self.closed:
            raise RuntimeError("LLM is shutting down")
        assert isinstance(sampling_params, SamplingParams)
        asked = sampling_params.given
        if len(inputs) + asked["max_tokens"] > self.given["max_seq_len"]:
            raise ValueError(
                "The sum of prompt length and max_tokens should not exceed max_seq_len"
            )
        self.count += 1
        ids, finish = behaviour.answer(
            inputs, asked["max_tokens"], asked["min_tokens"], asked["end_id"]
        )
        result = RequestOutput(self, ids, finish, self.count, streaming=streaming)
        self.running.add(result)
        return result

    def shutdown(self):
        assert not self.running, "requests are over before the engine is shut down"
        assert not self.closed
        self.closed = True


class LLM(_Base):
    FIELDS: ClassVar = {**_COMMON, **_TORCH}

    def __init__(self, **given):
        super().__init__(**given)
        graphs = given.get("cuda_graph_config")
        assert graphs is None or isinstance(graphs, CudaGraphConfig)
