"""From one stage of a pipeline to the next: a few items, and nobody left waiting."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Handover(Generic[Item]):
    """A bounded queue that can be closed from either side.

    ``queue.Queue`` cannot be closed before Python 3.13, and a producer that waits at a full one for
    a consumer that is gone would wait for ever.
    """

    def __init__(self, capacity: int) -> None:
        """Make an empty one that holds ``capacity`` items at most."""
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def put(self, item: Item) -> bool:
        """Hand an item over, waiting for room; False once the handover is closed."""
        with self._lock:
            while len(self._items) >= self._capacity and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self) -> Item | None:
        """The next item, waiting for one; None once the handover is closed and empty."""
        with self._lock:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Nothing follows; what is there is still handed over."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
