"""The ``simulator`` backend: the timing model in real time, one thread however many requests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from mlpinf_core.errors import BackendError
from mlpinf_core.events import EventWriter
from mlpinf_core.loadgen.failures import Failure
from mlpinf_llm.samples import TokenSamples
from mlpinf_llm.simulator.model import Arrival, Cluster, Step, capacity, output_lengths
from mlpinf_llm.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_core.context import Run
    from mlpinf_core.suts.asynchronous import Desk

_TOKEN: Final = 100
"""The id that made-up answers are made of."""


def make(run: Run, samples: TokenSamples) -> SimulatorBackend:
    """The backend of a run."""
    return SimulatorBackend(
        settings=run.config.backend,
        samples=samples,
        min_tokens=run.config.benchmark.min_output_tokens,
        cap=run.config.benchmark.max_output_tokens,
        events=run.events,
    )


@attrs.define(eq=False)
class SimulatorBackend:
    """A timing model that answers as an engine of these rates would."""

    settings: SimulatorSettings
    samples: TokenSamples
    min_tokens: int
    cap: int
    events: EventWriter
    _engine: SimulatedEngine | None = None

    def load(self) -> None:
        """Draw the lengths of all answers."""
        lengths = self.samples.lengths
        outputs = output_lengths(self.settings, len(self.samples), self.min_tokens, self.cap)
        self._engine = SimulatedEngine(self.settings, lengths, outputs, self.cap)
        able = capacity(self.settings, float(lengths.mean()), float(outputs.mean()), self.cap)
        self.events.step(
            f"simulating {able.requests:.1f} samples/s, {able.tokens:,.0f} tokens/s at most"
        )

    @property
    def engine(self) -> SimulatedEngine:
        """What answers samples; there once the backend is loaded."""
        if self._engine is None:
            raise RuntimeError("the backend is not loaded")
        return self._engine

    @property
    def concurrency(self) -> int:
        """Most sequences in the batches of all engines."""
        return self.settings.max_batch_size * self.settings.instances

    def warm_up(self) -> None:
        """Nothing gets warm."""

    def close(self) -> None:
        """Say what the answers are worth."""
        if self._engine is not None:
            self.events.note("not submittable: the answers and their times come from a model")
            self._engine = None


class SimulatedEngine:
    """Runs the model's clock beside the real one, and reports what its steps bring about."""

    def __init__(
        self,
        settings: SimulatorSettings,
        prompts: npt.NDArray[np.int64],
        outputs: npt.NDArray[np.int64],
        cap: int,
    ) -> None:
        """Make an engine.

        Args:
            settings: of the model, and the faults that are wanted.
            prompts: int64 [samples], tokens of each prompt.
            outputs: int64 [samples], tokens of each answer.
            cap: tokens of the longest answer.
        """
        self._settings = settings
        self._prompts = prompts.tolist()
        self._outputs = outputs.tolist()
        self._cap = cap
        self._answer = np.full(max(self._outputs, default=0), _TOKEN, dtype=np.int32)
        self._bell = threading.Event()
        self._taken = 0

    def wake(self) -> None:
        """There are samples at the desk, or there will be no more."""
        self._bell.set()

    def run(self, desk: Desk) -> None:
        """Answer what comes to the desk until it is closed."""
        cluster = Cluster(self._settings, self._cap)
        lengths: dict[int, int] = {}
        while True:
            self._bell.clear()
            if desk.stopped:
                cluster, lengths = Cluster(self._settings, self._cap), {}
                desk.drop()
            self._take(desk, cluster, lengths)
            # Steps that are over on the real clock. The model's own clock goes on from where it
            # was, so that being late with one makes none of the others late.
            while (ends := cluster.next) is not None and ends <= time.monotonic():
                self._report(desk, cluster.end_step(), lengths)
            desk.report()
            if desk.closed and not cluster.load and not desk.waiting:
                return
            if not desk.waiting:
                ends = cluster.next
                self._bell.wait(None if ends is None else max(0.0, ends - time.monotonic()))

    def _take(self, desk: Desk, cluster: Cluster, lengths: dict[int, int]) -> None:
        settings = self._settings
        now = time.monotonic()
        for slot, index in desk.take(desk.waiting):
            self._taken += 1
            if settings.crash_after and self._taken > settings.crash_after:
                raise BackendError(f"the engine died after {settings.crash_after} requests")
            if settings.fail_every and self._taken % settings.fail_every == 0:
                desk.fail(slot, Failure("raised", "the simulated engine failed a request"))
                continue
            if settings.lose_every and self._taken % settings.lose_every == 0:
                continue
            lengths[slot] = self._outputs[index]
            cluster.submit(Arrival(slot, self._prompts[index], self._outputs[index]), now)

    def _report(self, desk: Desk, step: Step, lengths: dict[int, int]) -> None:
        for slot in step.first:
            desk.first_token(slot, _TOKEN)
        for slot in step.finished:
            desk.answer(slot, self._answer[: lengths.pop(slot)])
