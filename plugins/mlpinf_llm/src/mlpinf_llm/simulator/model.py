"""The timing model: continuous batching in steps, without a clock of its own.

An engine works in steps. A step yields one token of every sequence in the batch, and takes::

    (step_ms + sequence_ms × sequences) / 1000 + prompt tokens taken in / prefill_rate   seconds

A sequence joins when there is room in the batch and in the KV cache; its prompt is taken in with
its first step, at whose end its first token is there. After as many steps as its answer has tokens
it leaves. With the batch always full, a request so costs ``output × step / batch`` for its tokens
and ``prompt / prefill_rate`` for its prompt: :func:`capacity`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_llm.simulator.settings import SimulatorSettings


@attrs.frozen
class Capacity:
    """What a model can do when it never lacks work.

    Attributes:
        requests: a second.
        tokens: of answers, a second.
        batch: sequences in a step.
        tpot: seconds between the tokens of an answer.
    """

    requests: float
    tokens: float
    batch: float
    tpot: float


def capacity(settings: SimulatorSettings, prompt: float, output: float, cap: float) -> Capacity:
    """The closed form of the throughput at saturation.

    Args:
        settings: of the model.
        prompt: mean tokens of the prompts.
        output: mean tokens of the answers.
        cap: tokens of the longest answer, for which room is kept.
    """
    batch = max(1.0, min(float(settings.max_batch_size), settings.kv_tokens / (prompt + cap)))
    # No more prompts join than a step may take in, however much room there is.
    batch = min(batch, max(settings.max_step_tokens // prompt, 1.0) * output)
    step = (settings.step_ms + settings.sequence_ms * batch) / 1000
    taking_in = prompt / settings.prefill_rate
    seconds = output * step / batch + taking_in
    requests = settings.instances / seconds
    return Capacity(requests, requests * output, batch, seconds * batch / output)


def output_lengths(
    settings: SimulatorSettings, count: int, least: int, cap: int
) -> npt.NDArray[np.int64]:
    """The length of every sample's answer, int64 [count]: the same in every run."""
    mean = settings.output_tokens if settings.output_tokens is not None else cap / 2
    if settings.output_spread == 0:
        drawn = np.full(count, mean)
    else:
        shape = settings.output_spread**-2
        random = np.random.default_rng(settings.seed)
        drawn = random.gamma(shape, mean / shape, count)
    lengths: npt.NDArray[np.int64] = np.clip(np.rint(drawn), least, cap).astype(np.int64)
    return lengths


@attrs.frozen
class Arrival:
    """A request: a number of its own, and its tokens."""

    number: int
    prompt: int
    output: int


@attrs.define
class Step:
    """What a step brings about when it ends.

    Attributes:
        ends: seconds on the model's clock.
        first: requests whose first token is there.
        finished: requests whose last token is there.
    """

    ends: float
    first: Sequence[int]
    finished: Sequence[int]


class EngineModel:
    """One engine: what waits, what is in its batch, and the step that it is in."""

    def __init__(self, settings: SimulatorSettings, cap: int, *, seed: int) -> None:
        """An idle engine; ``cap`` is the longest answer in tokens, for which room is kept."""
        self._settings = settings
        self._cap = cap
        self._random = np.random.default_rng(seed)
        self._waiting: deque[Arrival] = deque()
        self._leaving: list[tuple[int, int, int]] = []  # the step it ends with, number, KV tokens
        self._count = 0  # of steps
        self._kv_left = settings.kv_tokens
        self.load = 0
        """Requests that wait or are in the batch."""

    def submit(self, arrival: Arrival) -> None:
        """A request has come; it joins a step when there is room."""
        self._waiting.append(arrival)
        self.load += 1

    def step(self, now: float) -> Step | None:
        """Begin the next step at ``now``; None when there is nothing to do."""
        joined, taken_in = self._join()
        if not self._leaving:
            return None
        sequences = len(self._leaving)
        settings = self._settings
        seconds = (settings.step_ms + settings.sequence_ms * sequences) / 1000
        seconds += taken_in / settings.prefill_rate
        if settings.jitter:
            seconds *= max(0.1, 1 + settings.jitter * float(self._random.standard_normal()))
        self._count += 1
        finished = []
        while self._leaving and self._leaving[0][0] <= self._count:
            _, number, kv = heapq.heappop(self._leaving)
            self._kv_left += kv
            finished.append(number)
        self.load -= len(finished)
        return Step(now + seconds, joined, finished)

    def _join(self) -> tuple[list[int], int]:
        """Let waiting requests into the batch; those that joined, and their prompts' tokens."""
        joined: list[int] = []
        taken_in = 0
        settings = self._settings
        while self._waiting and len(self._leaving) < settings.max_batch_size:
            first = self._waiting[0]
            kv = first.prompt + self._cap
            if kv > self._kv_left and self._leaving:
                break
            if joined and taken_in + first.prompt > settings.max_step_tokens:
                break
            self._waiting.popleft()
            self._kv_left -= kv
            taken_in += first.prompt
            joined.append(first.number)
            heapq.heappush(self._leaving, (self._count + first.output, first.number, kv))
        return joined, taken_in


class Cluster:
    """The engines together, as one queue of the steps that are under way."""

    def __init__(self, settings: SimulatorSettings, cap: int) -> None:
        """Idle engines; ``cap`` is the longest answer in tokens."""
        self._engines = [
            EngineModel(settings, cap, seed=settings.seed + number)
            for number in range(settings.instances)
        ]
        self._under_way: list[tuple[float, int]] = []
        self._steps: dict[int, Step] = {}

    @property
    def load(self) -> int:
        """Requests that have not been answered."""
        return sum(engine.load for engine in self._engines)

    @property
    def next(self) -> float | None:
        """When the next step ends; None when nothing is done."""
        return self._under_way[0][0] if self._under_way else None

    def submit(self, arrival: Arrival, now: float) -> None:
        """Give a request to the engine with the fewest."""
        engine = min(range(len(self._engines)), key=lambda number: self._engines[number].load)
        self._engines[engine].submit(arrival)
        if engine not in self._steps:
            self._begin(engine, now)

    def end_step(self) -> Step:
        """End the step that ends first, and begin that engine's next one."""
        ends, engine = heapq.heappop(self._under_way)
        done = self._steps.pop(engine)
        self._begin(engine, ends)
        return done

    def _begin(self, engine: int, now: float) -> None:
        step = self._engines[engine].step(now)
        if step is not None:
            self._steps[engine] = step
            heapq.heappush(self._under_way, (step.ends, engine))
