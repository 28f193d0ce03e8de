"""What a client did in a test, in figures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeAlias

import attrs


@attrs.frozen
class Summary:
    """What a client did in a test.

    Attributes:
        wall: seconds from its first request to its last answer.
        busy: seconds of that time in which its thread did not wait for anything to happen. Waiting
            for a processor, or for another thread of Python, is in it: the test waits as well.
        processor: processor seconds of its thread.
        process: processor seconds of its whole process in that time.
        answered: requests.
        sent_again: requests that failed before the first byte of their answer.
        refusals: servers that took no connection, and how often.
        unchecked: answers that the server said no token count of.
        recounted: answers whose text is of another number of tokens than the server counted.
    """

    wall: float = 0.0
    busy: float = 0.0
    processor: float = 0.0
    process: float = 0.0
    answered: int = 0
    sent_again: int = 0
    refusals: Mapping[str, int] = attrs.field(factory=dict)
    unchecked: int = 0
    recounted: int = 0


class Stopwatch:
    """Times a client's thread from its first request to its last answer. Belongs to that thread."""

    def __init__(self) -> None:
        """It does not run."""
        self._began: _Moment | None = None
        self._idle = 0.0
        self._paused_at = 0.0
        self.times = (0.0, 0.0, 0.0, 0.0)
        """Seconds in all, not idle, of the thread's processor time, of the process's."""

    def look(self, *, busy: bool) -> None:
        """Start it with the first request; read it whenever none is on its way."""
        if busy:
            if self._began is None:
                self._began, self._idle = _now(), 0.0
        elif self._began is not None:
            wall, thread, process = (b - a for a, b in zip(self._began, _now(), strict=True))
            self.times = (wall, wall - self._idle, thread, process)

    def pause(self) -> Stopwatch:
        """A context in which the thread waits."""
        return self

    def __enter__(self) -> None:
        """It begins to wait."""
        self._paused_at = time.monotonic()

    def __exit__(self, *_: object) -> None:
        """It goes on."""
        self._idle += time.monotonic() - self._paused_at


_Moment: TypeAlias = tuple[float, float, float]


def _now() -> _Moment:
    return time.monotonic(), time.thread_time(), time.process_time()
