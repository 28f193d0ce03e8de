"""SUTs with a queue: queries wait in it, worker threads take batches of them to the backend."""

from __future__ import annotations

import abc
import logging
import threading
from typing import TYPE_CHECKING, Final

from mlpinf_core.suts.queueing import BatchQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from mlpinf_core.config.schema import SutSettings
    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.protocols import Outputs, Query
    from mlpinf_core.suts.ordering import Order

log = logging.getLogger(__name__)

_CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing waits for a batch that is being computed."""


class QueueSut(abc.ABC):
    """A queue and worker threads; a subclass says how a batch is answered.

    A failing batch fails its own samples. A worker that ends in any other way aborts the test, so
    that no query is left waiting for a thread that is gone.
    """

    def __init__(
        self, responder: Responder, settings: SutSettings, *, order: Order | None = None
    ) -> None:
        """Start the workers.

        Args:
            responder: of the run.
            settings: batch size, wait and number of workers.
            order: rearranges each query before it is cut into batches; None keeps LoadGen's order.
        """
        self._responder = responder
        self._order = order
        self.concurrency = settings.max_batch_size * settings.workers
        """Most samples that are computed at the same time."""
        self._queue = BatchQueue(settings.max_batch_size, settings.max_wait_ms / 1000)
        self._threads = [
            threading.Thread(target=self._work, name=f"sut-worker-{number}", daemon=True)
            for number in range(settings.workers)
        ]
        for thread in self._threads:
            thread.start()

    @abc.abstractmethod
    def answer(self, batch: Query) -> None:
        """Compute a batch and complete it; called from every worker."""

    def issue(self, query: Query) -> None:
        """Queue the query."""
        self._queue.put(query if self._order is None else self._order(query))

    def flush(self) -> None:
        """Return when every query has been answered."""
        self._queue.flush()

    def close(self) -> None:
        """Stop the workers after what is queued."""
        self._queue.close()
        for thread in self._threads:
            thread.join(timeout=_CLOSE_PATIENCE)
            if thread.is_alive():
                log.warning("%s is still busy; it ends with the process", thread.name)

    def _work(self) -> None:
        try:
            while (batch := self._queue.take()) is not None:
                try:
                    if not self._responder.aborted:  # its samples have been answered otherwise
                        self.answer(batch)
                except Exception as error:  # noqa: BLE001 - a batch's failure is that batch's
                    self._responder.fail(batch.slots, error)
                finally:
                    self._queue.done(batch)
        except BaseException as error:
            log.critical("%s died", threading.current_thread().name, exc_info=True)
            self._responder.abort(error)
            self._queue.close()


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
