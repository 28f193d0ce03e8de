"""The ``trtllm`` backend: TensorRT-LLM's LLM API in process, token ids in and out.

Written after TensorRT-LLM 1.0 to 1.2. With more than one device it starts processes of its own
through MPI; what runs here hands over prompts and takes answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mlpinf_core.errors import BackendError
from mlpinf_llm.engine_backend import EngineBackend, asked
from mlpinf_llm.faults import refused
from mlpinf_llm.trtllm import arguments, build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_llm.engine_backend import Asked
    from mlpinf_llm.samples import TokenSamples
    from mlpinf_llm.trtllm.settings import TrtllmSettings


def make(run: Run, samples: TokenSamples) -> EngineBackend:
    """The backend of a run, its model made.

    Raises:
        ConfigurationError: the tiny variant needs a checkpoint to be named.
        PrerequisiteError: the checkpoint, the calibration set or the room is not to be had.
        BackendError: the model cannot be quantised, or its engine built.
    """
    settings: TrtllmSettings = run.config.backend
    ask = asked(run)
    longest = int(samples.lengths.max()) + ask.cap
    model = build.model(run, settings, longest=longest)
    return EngineBackend(
        title="TensorRT-LLM",
        where=str(model),
        make=lambda: TrtllmService(settings, model, ask, samples, longest=longest),
        samples=samples,
        ask=ask,
        room=settings.concurrency or 2 * _step(settings),
        remedy="its last words are in child.log",
        events=run.events,
    )


def _step(settings: TrtllmSettings) -> int:
    """Sequences in a step of all devices."""
    return settings.max_batch_size * (settings.tensor_parallel if settings.attention_dp else 1)


class TrtllmService:
    """One LLM, and the prompts that it answers."""

    def __init__(
        self,
        settings: TrtllmSettings,
        model: Path,
        ask: Asked,
        samples: TokenSamples,
        *,
        longest: int,
    ) -> None:
        """Make a service; nothing is loaded yet."""
        self._settings = settings
        self._model = model
        self._ask = ask
        self._longest = longest
        self._prompt = samples.prompt
        self._llm: Any = None

    async def open(self) -> None:
        """Load the model."""
        from tensorrt_llm.llmapi import RequestError, SamplingParams

        self._failed = RequestError
        self._sampling = SamplingParams(**arguments.sampling(self._ask))
        self._llm = self._load()

    def _load(self) -> Any:
        from tensorrt_llm.llmapi import (
            CapacitySchedulerPolicy,
            ContextChunkingPolicy,
            KvCacheConfig,
            SchedulerConfig,
        )

        settings = self._settings
        chunking = settings.chunking_policy
        given = arguments.common(settings, self._model, longest=self._longest)
        given["kv_cache_config"] = KvCacheConfig(**arguments.kv_cache(settings))
        given["scheduler_config"] = SchedulerConfig(
            capacity_scheduler_policy=CapacitySchedulerPolicy(settings.scheduler_policy),
            context_chunking_policy=None if chunking is None else ContextChunkingPolicy(chunking),
        )
        if settings.runtime == "tensorrt":
            from tensorrt_llm._tensorrt_engine import LLM as EngineLLM  # noqa: N811 - its own name

            return EngineLLM(**given)
        from tensorrt_llm.llmapi import LLM, CudaGraphConfig, MoeConfig

        given |= arguments.pytorch_only(settings, cap=self._ask.cap)
        if settings.cuda_graphs:
            given["cuda_graph_config"] = CudaGraphConfig(**arguments.cuda_graphs(settings))
        else:
            given["cuda_graph_config"] = None
        if settings.moe_backend is not None:
            given["moe_config"] = MoeConfig(backend=settings.moe_backend)
        return LLM(**given)

    async def answer(self, index: int, first: Callable[[int], None] | None) -> list[int]:
        """The ids of one answer.

        Raises:
            RequestError: TensorRT-LLM failed the request, or ended it for a reason of its own.
            BackendError: it is shutting down, or has lost its workers.
        """
        prompt = self._prompt(index).tolist()
        result = None
        try:
            # Has to be called on the loop that the result is awaited on.
            result = self._llm.generate_async(
                prompt, sampling_params=self._sampling, streaming=first is not None
            )
            if first is not None:
                async for part in result:
                    if part.outputs[0].token_ids:
                        first(part.outputs[0].token_ids[0])
                        break
            await result
        except asyncio.CancelledError:
            if result is not None and not result.finished:
                result.abort()
            raise
        except self._failed as error:
            raise refused(f"TensorRT-LLM failed a request: {error}") from error
        except (RuntimeError, OSError) as error:
            # What is no RequestError comes from the executor: it is shut down, or its workers died.
            raise BackendError(
                f"TensorRT-LLM's engine died: {error}", remedy="its last words are in child.log"
            ) from error
        output = result.outputs[0]
        if output.finish_reason not in ("stop", "length"):
            raise refused(f"TensorRT-LLM ended an answer for the reason {output.finish_reason!r}")
        ids: list[int] = output.token_ids
        return ids

    async def close(self) -> None:
        """End TensorRT-LLM's processes."""
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.shutdown()
