"""What SUTs with threads of their own have in common: a queue before them, and how they end."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from mlpinf_core.binding import bind_thread, processors
from mlpinf_core.machine import number_text
from mlpinf_core.suts.queueing import BatchQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.config.schema import SutSettings
    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.protocols import Query
    from mlpinf_core.suts.ordering import Order

log = logging.getLogger(__name__)

_CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing waits for what is being computed."""


class ThreadedSut:
    """A queue that LoadGen's thread puts queries into, and threads that take batches out of it.

    A thread that ends in any other way than by being told to aborts the test, so that no query is
    left waiting for it.
    """

    def __init__(
        self, responder: Responder, settings: SutSettings, *, order: Order | None = None
    ) -> None:
        """Make the queue; a subclass starts its threads.

        Args:
            responder: of the run.
            settings: batch size, wait, number of workers and their processors.
            order: rearranges each query before it is cut into batches; None keeps LoadGen's order.

        Raises:
            ConfigurationError: a worker's processors are not there.
        """
        self._responder = responder
        self._order = order
        self._queue = BatchQueue(settings.max_batch_size, settings.max_wait_ms / 1000)
        self._threads: list[threading.Thread] = []
        self._cpus = [processors(text, "sut.worker_cpus") for text in settings.worker_cpus]
        self.worker_cpus = tuple(number_text(each) for each in self._cpus)
        """Processors of each worker; workers beyond them begin anew. Empty: not bound."""

    def issue(self, query: Query) -> None:
        """Queue the query."""
        self._queue.put(query if self._order is None else self._order(query))

    def flush(self) -> None:
        """Return when every query has been answered."""
        self._queue.flush()

    def close(self) -> None:
        """Stop the threads after what is queued."""
        self._queue.close()
        until = time.monotonic() + _CLOSE_PATIENCE
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
            if thread.is_alive():
                log.warning("%s is still busy; it ends with the process", thread.name)

    def _start(self, name: str, workers: int, work: Callable[[], None]) -> None:
        """Start ``workers`` threads that each call ``work`` once."""
        for number in range(workers):
            cpus = self._cpus[number % len(self._cpus)] if self._cpus else None
            thread = threading.Thread(
                target=self._live, args=(work, cpus), name=f"{name}-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _live(self, work: Callable[[], None], cpus: set[int] | None) -> None:
        try:
            if cpus is not None:
                bind_thread(cpus)
            work()
        except BaseException as error:
            log.critical("%s died", threading.current_thread().name, exc_info=True)
            self._responder.abort(error)
            self._give_up()

    def _give_up(self) -> None:
        """Let nobody wait for a thread that is gone."""
        self._queue.close()
