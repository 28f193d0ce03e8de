"""Queries on their way from LoadGen's thread to a worker, and the batches they become."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from mlpinf_core.protocols import Query

if TYPE_CHECKING:
    from collections.abc import Callable


class BatchQueue:
    """A queue of queries that is taken from in batches.

    A batch is handed over when it is full, or when its *first* sample has waited ``max_wait``
    seconds, whichever comes first; also at once when no more can come (:meth:`flush`,
    :meth:`close`). Nothing polls: a taker sleeps until a query, a deadline or the end wakes it.
    """

    def __init__(
        self,
        max_batch_size: int,
        max_wait: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty queue.

        Args:
            max_batch_size: most samples in a batch.
            max_wait: seconds that the first sample of a batch waits for others.
            clock: tells seconds.
        """
        self._clock = clock
        self._max = max_batch_size
        self._wait = max_wait
        self._items: deque[tuple[float, Query]] = deque()
        self._size = 0
        self._taken = 0  # samples handed over and not yet reported done
        self._flushing = False
        self._closed = False
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._drained = threading.Condition(self._lock)

    def put(self, query: Query) -> None:
        """Append a query."""
        with self._lock:
            self._items.append((self._clock(), query))
            before, self._size = self._size, self._size + len(query)
            # A taker that waits for a batch to fill needs to hear of the first sample, which starts
            # its clock, and of the last; waking it for each between them costs more than it gives.
            if before == 0 or before < self._max <= self._size or self._size >= 2 * self._max:
                self._arrived.notify()

    def take(self) -> Query | None:
        """The next batch, when it is due; None once the queue is closed and empty."""
        with self._lock:
            while not self._due():
                if self._closed and not self._items:
                    return None
                self._arrived.wait(self._patience())
            batch = self._cut()
            self._taken += len(batch)
            if self._items:
                self._arrived.notify()
            return batch

    def done(self, batch: Query) -> None:
        """The batch's samples have been answered."""
        with self._lock:
            self._taken -= len(batch)
            if self._taken == 0 and self._size == 0:
                self._drained.notify_all()

    def flush(self) -> None:
        """Hand over what is waiting without delay, and return when everything has been answered."""
        with self._lock:
            self._flushing = True
            self._arrived.notify_all()
            while (self._size or self._taken) and not self._closed:
                self._drained.wait()
            self._flushing = False

    def close(self) -> None:
        """No query follows; what is waiting is still handed over."""
        with self._lock:
            self._closed = True
            self._arrived.notify_all()
            self._drained.notify_all()

    def _due(self) -> bool:
        if not self._items:
            return False
        if self._size >= self._max or self._flushing or self._closed:
            return True
        return self._clock() >= self._items[0][0] + self._wait

    def _patience(self) -> float | None:
        """Seconds until the oldest sample's deadline; None where there is nothing to wait for."""
        if not self._items:
            return None
        left = self._items[0][0] + self._wait - self._clock()
        return min(max(0.0, left), threading.TIMEOUT_MAX)

    def _cut(self) -> Query:
        """Up to ``max_batch_size`` samples from the head; a larger query is cut."""
        arrived, query = self._items.popleft()
        if len(query) > self._max:
            rest = slice(self._max, None)
            self._items.appendleft((arrived, Query(query.slots[rest], query.indices[rest])))
            self._size -= self._max
            return Query(query.slots[: self._max], query.indices[: self._max])
        parts, count = [query], len(query)
        while self._items and count + len(self._items[0][1]) <= self._max:
            part = self._items.popleft()[1]
            parts.append(part)
            count += len(part)
        self._size -= count
        return parts[0] if len(parts) == 1 else _join(parts)


def _join(parts: list[Query]) -> Query:
    slots = np.concatenate([np.asarray(part.slots, dtype=np.int64) for part in parts])
    indices = np.concatenate([part.indices for part in parts])
    if len(slots) == slots[-1] - slots[0] + 1 and bool(np.all(np.diff(slots) == 1)):
        return Query(range(int(slots[0]), int(slots[-1]) + 1), indices)
    return Query(slots, indices)
