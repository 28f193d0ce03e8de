"""The backends that are a service on an event loop: in process, or a server behind gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import BackendError, MlpinfError
from mlpinf_core.events import EventWriter
from mlpinf_core.vocabulary import Scenario
from mlpinf_llm import locate
from mlpinf_llm.asyncio_engine import AsyncioEngine, Service
from mlpinf_llm.generation import Generation
from mlpinf_llm.samples import TokenSamples
from mlpinf_llm.warm_up import answer_first

if TYPE_CHECKING:
    from mlpinf_core.context import Run

_WARM_UP: Final = 64
"""Most requests of a warm-up: enough for the batches that a busy engine computes."""


@attrs.frozen
class Asked:
    """What every answer is asked for with.

    Attributes:
        generation: how tokens are chosen, and the ids that end an answer.
        cap: most tokens.
        least: fewest tokens.
        stream: whether the first token is to be told of when it comes.
    """

    generation: Generation
    cap: int
    least: int
    stream: bool


def asked(run: Run) -> Asked:
    """What a run's answers are asked for with: the rules' sampling, the configuration's lengths."""
    return Asked(
        generation=locate.generation(run),
        cap=run.config.benchmark.max_output_tokens,
        least=run.config.benchmark.min_output_tokens,
        stream=run.workload.scenario is not Scenario.OFFLINE,
    )


@attrs.define(eq=False)
class EngineBackend:
    """A service, loaded, warmed up and closed.

    Attributes:
        title: of the engine, for people.
        where: what it serves: a checkpoint's folder, or addresses.
        make: makes the service; called when it is loaded, in the run's process.
        samples: of the run.
        ask: what answers are asked for with.
        room: most samples that the service has at the same time.
        remedy: what to look at when it does not answer.
        events: tells the user.
    """

    title: str
    where: str
    make: Callable[[], Service]
    samples: TokenSamples
    ask: Asked
    room: int
    remedy: str
    events: EventWriter
    _engine: AsyncioEngine | None = None

    def load(self) -> None:
        """Load or reach the engine, until it is healthy.

        Raises:
            BackendError: it cannot be loaded or reached.
        """
        self.events.step(f"loading {self.title}: {self.where}")
        self._engine = AsyncioEngine(
            self.make(),
            room=self.room,
            stream=self.ask.stream,
            cap=self.ask.cap,
            stop_ids=frozenset(self.ask.generation.eos_ids),
        )
        try:
            self._engine.open()
        except MlpinfError:
            raise
        except Exception as error:
            raise BackendError(
                f"{self.title} cannot be loaded: {type(error).__name__}: {error}",
                where=self.where,
                remedy=self.remedy,
            ) from error

    @property
    def engine(self) -> AsyncioEngine:
        """What answers samples; there once the backend is loaded."""
        if self._engine is None:
            raise RuntimeError("the backend is not loaded")
        return self._engine

    @property
    def concurrency(self) -> int:
        """Most samples that the service has at the same time."""
        return self.room

    def warm_up(self) -> None:
        """A batch of requests, whose answers are checked as those of the test are.

        Raises:
            BackendError: one was not answered as it should have been.
        """
        count = min(_WARM_UP, self.room, len(self.samples))
        found = answer_first(self.engine, count)
        if found.failed:
            (failure, failed), *_ = found.failed.items()
            raise BackendError(
                f"{failed} of {count} requests of the warm-up failed: {failure.message}",
                where=self.where,
                remedy=self.remedy,
            )

    def close(self) -> None:
        """End the engine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
