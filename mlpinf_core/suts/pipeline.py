"""The SUT whose batches pass through stages, each in threads of its own.

While one stage works on a batch, the stage before it works on the next one, and the stage after it
on the one before: features, decoding and text of three consecutive batches at the same time, say.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.protocols import Query
from mlpinf_core.suts.handover import Handover
from mlpinf_core.suts.threads import ThreadedSut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.config.schema import SutSettings
    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.suts.ordering import Order


@attrs.frozen
class Stage:
    """One step of a pipeline.

    Attributes:
        name: of its threads.
        work: the first stage's takes sample indices, int64 [n]; each other's takes what the one
            before returned; the last one's returns :class:`~mlpinf_core.protocols.Outputs`. Called
            from ``workers`` threads at once.
        workers: threads, so batches that are in this stage at the same time.
    """

    name: str
    work: Callable[[Any], Any]
    workers: int = attrs.field(default=1, validator=attrs.validators.ge(1))


@attrs.frozen(eq=False)
class _Job:
    """A batch on its way: its query, and what the last stage made of it."""

    batch: Query
    value: Any


class PipelineSut(ThreadedSut):
    """Takes batches through stages, and completes them after the last one.

    Between two stages there is room for one batch a worker of the later one, so a slow stage holds
    up those before it instead of filling the memory. A stage that raises fails its batch alone; a
    worker that ends in any other way aborts the test.
    """

    def __init__(
        self,
        responder: Responder,
        stages: Sequence[Stage],
        settings: SutSettings,
        *,
        order: Order | None = None,
    ) -> None:
        """Start the workers.

        Args:
            responder: of the run.
            stages: at least one, in order.
            settings: batch size, wait and processors; the stages have their own numbers of workers,
                and the first worker of each is bound to the first processors, and so on.
            order: rearranges each query before it is cut into batches; None keeps LoadGen's order.
        """
        super().__init__(responder, settings, order=order)
        self.concurrency = settings.max_batch_size * max(stage.workers for stage in stages)
        """Most samples that are in the widest stage at the same time."""
        self._between: list[Handover[_Job]] = [Handover(stage.workers) for stage in stages[1:]]
        self._left = [stage.workers for stage in stages]
        self._lock = threading.Lock()
        for number, stage in enumerate(stages):
            self._start(stage.name, stage.workers, functools.partial(self._work, number, stage))

    def _work(self, number: int, stage: Stage) -> None:
        """A worker's life."""
        try:
            while (job := self._take(number)) is not None:
                self._step(number, stage, job)
        finally:
            self._leave(number)

    def _take(self, number: int) -> _Job | None:
        if number:
            return self._between[number - 1].take()
        batch = self._queue.take()
        return None if batch is None else _Job(batch, batch.indices)

    def _step(self, number: int, stage: Stage, job: _Job) -> None:
        """One stage of one batch, whose samples are answered when it was the last or went wrong."""
        passed_on = False
        try:
            if self._responder.aborted:  # the samples have been answered otherwise
                return
            value = stage.work(job.value)
            if number == len(self._between):
                self._responder.complete(job.batch.slots, value)
            else:
                passed_on = self._between[number].put(_Job(job.batch, value))
        except Exception as error:  # noqa: BLE001 - a batch's failure is that batch's
            self._responder.fail(job.batch.slots, error)
        finally:
            if not passed_on:
                self._queue.done(job.batch)

    def _give_up(self) -> None:
        super()._give_up()
        for handover in self._between:
            handover.close()

    def _leave(self, number: int) -> None:
        """The last worker of a stage tells the next stage that nothing follows."""
        with self._lock:
            self._left[number] -= 1
            last = not self._left[number]
        if last and number < len(self._between):
            self._between[number].close()
