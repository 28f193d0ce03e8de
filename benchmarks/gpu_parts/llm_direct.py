"""vLLM called by a loop that does nothing else: what the harness is held against."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import attrs

from gpu_parts import random_llm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpu_parts.llm_shapes import Shape
    from gpu_parts.random_llm import RandomSamples

WARM_UP = 64
"""Requests before those that count, as many as the harness makes."""


@attrs.frozen
class Direct:
    """What was measured.

    Attributes:
        tokens: of all answers.
        seconds: from the first request to the last answer.
        busy_tokens_per_second: up to when the last request was handed in; the engine runs empty
            after that, which weighs the less the longer a run is.
        loading: seconds.
    """

    tokens: int
    seconds: float
    busy_tokens_per_second: float
    loading: float

    @property
    def tokens_per_second(self) -> float:
        """From the first request to the last answer."""
        return self.tokens / self.seconds


def measured(model: str, shape: Shape, folder: Path, samples: RandomSamples) -> Direct:
    """All samples answered, as many at a time as the harness has on their way."""
    return asyncio.run(_measured(model, shape, folder, samples))


async def _measured(model: str, shape: Shape, folder: Path, samples: RandomSamples) -> Direct:
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    started = time.perf_counter()
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**random_llm.engine(shape, folder)))
    try:
        loop = _Loop(llm, random_llm.asked(model, shape, stream=False), samples)
        await loop.answer(range(min(WARM_UP, shape.room, len(samples))), shape.room)
        loading = time.perf_counter() - started
        return await loop.timed(shape.room, loading)
    finally:
        llm.shutdown()


class _Loop:
    """Asks for every sample once, in order."""

    def __init__(self, llm: Any, ask: Any, samples: RandomSamples) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._llm = llm
        self._samples = samples
        self._wanted: list[int] = samples.tokens.tolist()
        self._names = map(str, itertools.count())
        self._sampling = {
            tokens: SamplingParams(
                **random_llm.sampling(ask, tokens), output_kind=RequestOutputKind.FINAL_ONLY
            )
            for tokens in set(self._wanted)
        }
        self._tokens = 0
        self._taken = (0.0, 0)

    async def timed(self, room: int, loading: float) -> Direct:
        self._tokens = 0
        started = time.perf_counter()
        await self.answer(range(len(self._samples)), room)
        seconds = time.perf_counter() - started
        when, tokens = self._taken
        return Direct(self._tokens, seconds, tokens / (when - started), loading)

    async def answer(self, indices: range, room: int) -> None:
        waiting = iter(indices)
        await asyncio.gather(*(self._answer_each(waiting) for _ in range(room)))

    async def _answer_each(self, waiting: Iterator[int]) -> None:
        from vllm import TokensPrompt

        for index in waiting:
            self._taken = (time.perf_counter(), self._tokens)
            prompt = TokensPrompt(prompt_token_ids=self._samples.prompt(index).tolist())
            wanted = self._wanted[index]
            outputs = self._llm.generate(prompt, self._sampling[wanted], next(self._names))
            found = [len(output.outputs[0].token_ids) async for output in outputs]
            if found != [wanted]:
                raise RuntimeError(f"vLLM made {found} tokens instead of {wanted}")
            self._tokens += wanted
