"""The ``vllm`` backend: vLLM's AsyncLLM in process, token ids in and out.

Written after vLLM 0.20 to 0.26. vLLM computes in processes of its own; what runs here hands over
prompts and takes answers.
"""

from __future__ import annotations

import itertools
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from mlpinf_core.errors import BackendError
from mlpinf_llm import checkpoints
from mlpinf_llm.engine_backend import EngineBackend, asked
from mlpinf_llm.faults import refused
from mlpinf_llm.token_rules import refuse_longer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_llm.engine_backend import Asked
    from mlpinf_llm.samples import TokenSamples
    from mlpinf_llm.vllm.settings import VllmSettings


def make(run: Run, samples: TokenSamples) -> EngineBackend:
    """The backend of a run.

    Raises:
        ConfigurationError: the tiny variant needs a checkpoint to be named.
        PrerequisiteError: the checkpoint is not to be had.
    """
    settings: VllmSettings = run.config.backend
    checkpoint = checkpoints.folder(run, settings.checkpoint)
    ask = asked(run)
    longest = int(samples.lengths.max()) + ask.cap
    engine = engine_arguments(settings, checkpoint, longest=longest, cap=ask.cap)
    steps = settings.max_num_seqs * settings.data_parallel
    return EngineBackend(
        title="vLLM",
        where=str(checkpoint),
        make=lambda: VllmService(engine, sampling_arguments(ask), ask, samples),
        samples=samples,
        ask=ask,
        room=settings.concurrency or 2 * steps,
        remedy="its last words are in child.log",
        events=run.events,
    )


def engine_arguments(
    settings: VllmSettings, checkpoint: Path, *, longest: int, cap: int
) -> dict[str, Any]:
    """What AsyncEngineArgs is made with.

    Args:
        settings: of the backend.
        checkpoint: the model's folder.
        longest: tokens of the longest prompt and answer.
        cap: most tokens of an answer.
    """
    return {
        "model": str(checkpoint),
        "skip_tokenizer_init": True,  # ids in, ids out
        "trust_remote_code": settings.trust_remote_code,
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "kv_cache_dtype": settings.kv_cache_dtype,
        "tensor_parallel_size": settings.tensor_parallel,
        "pipeline_parallel_size": settings.pipeline_parallel,
        "data_parallel_size": settings.data_parallel,
        "enable_expert_parallel": settings.expert_parallel,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "block_size": settings.block_size,
        "enable_prefix_caching": settings.prefix_caching,
        "enable_chunked_prefill": settings.chunked_prefill,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "max_model_len": settings.max_model_len or longest,
        "scheduling_policy": settings.scheduling_policy,
        "async_scheduling": settings.async_scheduling,
        "enforce_eager": settings.enforce_eager,
        "stream_interval": settings.stream_interval or cap,
        "generation_config": "vllm",  # sampling is the rules', not the checkpoint's
        "disable_log_stats": True,
        "enable_log_requests": False,
    }


def sampling_arguments(ask: Asked) -> dict[str, Any]:
    """What SamplingParams is made with, but for the kind of output."""
    rules = ask.generation
    return {
        "n": 1,
        "temperature": rules.temperature,
        "top_p": rules.top_p,
        "top_k": rules.top_k,
        # A seed has vLLM sample one request at a time, and greedy answers do not depend on it.
        "seed": None if rules.temperature == 0 or rules.top_k == 1 else rules.seed,
        "stop_token_ids": list(rules.eos_ids),
        "ignore_eos": False,
        "max_tokens": ask.cap,
        "min_tokens": ask.least,
        "detokenize": False,
    }


class VllmService:
    """One AsyncLLM, and the prompts that it answers."""

    def __init__(
        self,
        engine: Mapping[str, Any],
        sampling: Mapping[str, Any],
        ask: Asked,
        samples: TokenSamples,
    ) -> None:
        """Make a service; nothing is loaded yet."""
        self._arguments = engine
        self._sampling_arguments = sampling
        self._ask = ask
        self._prompt = samples.prompt
        self._names = map(str, itertools.count())
        self._llm: Any = None

    async def open(self) -> None:
        """Load the model."""
        from vllm import AsyncEngineArgs, SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.engine.exceptions import EngineDeadError

        kinds = RequestOutputKind
        self._kind = kinds.DELTA if self._ask.stream else kinds.FINAL_ONLY
        self._sampling = SamplingParams(**self._sampling_arguments, output_kind=self._kind)
        self._tokens: Callable[..., Any] = TokensPrompt
        self._dead = EngineDeadError
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**self._arguments))
        await self._llm.check_health()

    def sampling(self, index: int) -> Any:
        """How the answer to a sample is chosen, SamplingParams: the rules have all chosen alike."""
        del index
        return self._sampling

    async def answer(self, index: int, first: Callable[[int], None] | None) -> list[int]:
        """The ids of one answer.

        Raises:
            RequestError: vLLM ended it for another reason than its end or its length.
            BackendError: vLLM's engine is dead.
        """
        prompt = self._tokens(prompt_token_ids=self._prompt(index).tolist())
        most = self._ask.cap + 1  # one more may be the id that ends it
        ids: list[int] = []
        finish = None
        try:
            outputs = self._llm.generate(prompt, self.sampling(index), next(self._names))
            async with aclosing(outputs):  # what breaks off here, vLLM is told to abort
                async for output in outputs:
                    part = output.outputs[0]
                    if part.token_ids:
                        if first is not None and not ids:
                            first(part.token_ids[0])
                        ids += part.token_ids
                        if len(ids) > most:
                            refuse_longer(self._ask.cap)
                    finish = part.finish_reason
        except self._dead as error:
            raise BackendError(
                f"vLLM's engine died: {error}", remedy="its last words are in child.log"
            ) from error
        if finish not in ("stop", "length"):
            raise refused(f"vLLM ended an answer for the reason {finish!r}")
        return ids

    async def close(self) -> None:
        """End vLLM's processes."""
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.shutdown()
