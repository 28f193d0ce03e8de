"""Batches of prompts from many requests, on one CTranslate2 engine."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.protocols import Query
from mlpinf_core.suts.queueing import BatchQueue
from mlpinf_llm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

MOST_TOKENS: Final = 1024
"""Most tokens of an answer."""


class GenerationError(Exception):
    """The engine failed a batch."""


@attrs.define(eq=False)
class Job:
    """A prompt that is being answered."""

    prompt: list[str]
    max_tokens: int
    min_tokens: int
    tokens: queue.SimpleQueue[int | Exception | None] = attrs.field(factory=queue.SimpleQueue)
    sent: int = 0

    def __iter__(self) -> Iterator[int]:
        """The ids of the answer, as they come; without the one that ends it.

        Raises:
            GenerationError: the engine failed.
        """
        while (item := self.tokens.get()) is not None:
            if isinstance(item, Exception):
                raise GenerationError(str(item)) from item
            yield item


class Engine:
    """Answers prompts in batches, greedily. Thread-safe."""

    def __init__(
        self,
        directory: Path,
        *,
        device: str = "cpu",
        replicas: int,
        threads: int,
        max_batch_size: int,
        max_wait_ms: float,
    ) -> None:
        """Load an engine and start its workers.

        Args:
            directory: of the engine, with its ``tokenizer.json``.
            device: what it runs on.
            replicas: batches at the same time.
            threads: that a batch is computed with.
            max_batch_size: most prompts in a batch.
            max_wait_ms: longest that the first prompt of a batch waits for others.
        """
        import ctranslate2

        self.tokenizer = ChatTokenizer.load(directory)
        self._end = self.tokenizer.end_id
        self._generator: Any = ctranslate2.Generator(
            str(directory), device=device, inter_threads=replicas, intra_threads=threads
        )
        self._queue = BatchQueue(max_batch_size, max_wait_ms / 1000)
        self._numbers = itertools.count()
        self._jobs: dict[int, Job] = {}
        for number in range(replicas):
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True).start()

    def submit(self, prompt: list[int], *, max_tokens: int, min_tokens: int) -> Job:
        """Have a prompt answered.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        job = Job(self.tokenizer.tokens(prompt), max_tokens, min_tokens)
        number = next(self._numbers)
        self._jobs[number] = job
        self._queue.put(Query(range(number, number + 1), np.array([number])))
        return job

    def _work(self) -> None:
        while (batch := self._queue.take()) is not None:
            groups: dict[tuple[int, int], list[Job]] = defaultdict(list)
            for number in batch.indices.tolist():
                job = self._jobs.pop(number)
                groups[job.max_tokens, job.min_tokens].append(job)
            for (most, least), jobs in groups.items():
                try:
                    self._generate(jobs, most, least)
                except Exception as error:
                    log.exception("a batch failed")
                    for job in jobs:
                        job.tokens.put(error)
            self._queue.done(batch)

    def _generate(self, jobs: list[Job], most: int, least: int) -> None:
        def on_token(step: Any) -> bool:
            if step.token_id != self._end:
                job = jobs[step.batch_id]
                job.sent += 1
                job.tokens.put(step.token_id)
            return False  # do not stop

        results = self._generator.generate_batch(
            [job.prompt for job in jobs],
            min_length=least,
            max_length=most,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=on_token,
        )
        for job, result in zip(jobs, results, strict=True):
            ids = result.sequences_ids[0]
            if job.sent != len(ids):
                raise GenerationError(f"{job.sent} tokens were told of an answer of {len(ids)}")
            job.tokens.put(None)
