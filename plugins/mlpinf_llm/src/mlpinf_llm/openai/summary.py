"""What a client did in a test, in figures."""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs


@attrs.frozen
class Summary:
    """What a client did in a test.

    Attributes:
        wall: seconds from its first request to its last answer.
        busy: processor seconds of its thread in that time.
        process: processor seconds of its whole process in that time.
        answered: requests.
        sent_again: requests that failed before the first byte of their answer.
        refusals: servers that took no connection, and how often.
    """

    wall: float = 0.0
    busy: float = 0.0
    process: float = 0.0
    answered: int = 0
    sent_again: int = 0
    refusals: Mapping[str, int] = attrs.field(factory=dict)


class Stopwatch:
    """Times a client's thread from its first request to its last answer. Belongs to that thread."""

    def __init__(self) -> None:
        """It does not run."""
        self._started: tuple[float, float, float] | None = None
        self.times = (0.0, 0.0, 0.0)
        """Seconds of the clock, of the thread's processor time, of the process's."""

    def look(self, *, busy: bool) -> None:
        """Start it with the first request; read it whenever none is on its way."""
        if busy:
            self._started = self._started or _now()
        elif self._started is not None:
            now, then = _now(), self._started
            self.times = (now[0] - then[0], now[1] - then[1], now[2] - then[2])


def _now() -> tuple[float, float, float]:
    return time.monotonic(), time.thread_time(), time.process_time()
