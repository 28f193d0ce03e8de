"""SUTs with a queue: queries wait in it, worker threads take batches of them to the backend."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from mlpinf_core.suts.threads import ThreadedSut

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from mlpinf_core.config.schema import SutSettings
    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.protocols import Outputs, Query
    from mlpinf_core.suts.ordering import Order


class QueueSut(ThreadedSut):
    """A queue and worker threads; a subclass says how a batch is answered.

    A failing batch fails its own samples.
    """

    def __init__(
        self, responder: Responder, settings: SutSettings, *, order: Order | None = None
    ) -> None:
        """Start the workers; see :class:`~mlpinf_core.suts.threads.ThreadedSut`."""
        super().__init__(responder, settings, order=order)
        self.concurrency = settings.max_batch_size * settings.workers
        """Most samples that are computed at the same time."""
        self._start("sut-worker", settings.workers, self._work)

    @abc.abstractmethod
    def answer(self, batch: Query) -> None:
        """Compute a batch and complete it; called from every worker."""

    def _work(self) -> None:
        while (batch := self._queue.take()) is not None:
            try:
                if not self._responder.aborted:  # its samples have been answered otherwise
                    self.answer(batch)
            except Exception as error:  # noqa: BLE001 - a batch's failure is that batch's
                self._responder.fail(batch.slots, error)
            finally:
                self._queue.done(batch)


class BatchingSut(QueueSut):
    """For backends that answer a whole batch at once."""

    def __init__(
        self,
        responder: Responder,
        infer: Callable[[npt.NDArray[np.int64]], Outputs | None],
        settings: SutSettings,
        *,
        order: Order | None = None,
    ) -> None:
        """Start the workers.

        Args:
            responder: of the run.
            infer: sample indices, int64 [n], to their outputs; called from several threads at
                once where ``settings.workers`` is more than 1.
            settings: batch size, wait and number of workers.
            order: rearranges each query before it is cut into batches; None keeps LoadGen's order.
        """
        self._infer = infer
        super().__init__(responder, settings, order=order)

    def answer(self, batch: Query) -> None:
        """Compute the batch and complete it."""
        self._responder.complete(batch.slots, self._infer(batch.indices))
