"""The other end of a spread engine: a worker process with an engine and a desk of its own."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from mlpinf_core.binding import bind_thread
from mlpinf_core.loadgen.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    import numpy.typing as npt

log = logging.getLogger(__name__)

Pairs: TypeAlias = "list[tuple[int, int]]"
"""Slots and indices in the data set."""
Answers: TypeAlias = """tuple[
    list[tuple[int, int | None]],
    list[int], list[int], npt.NDArray[np.int32],
    list[tuple[int, Failure]],
]"""
"""Slots and first tokens; finished slots, their lengths, all their ids; failed slots and why."""


class EngineDesk(Protocol):
    """What an engine needs of a desk: the part of Desk that belongs to its thread."""

    closed: bool

    @property
    def waiting(self) -> int:
        """Samples that have not been taken."""

    @property
    def stopped(self) -> bool:
        """Whether the test was aborted."""

    def take(self, most: int) -> Pairs:
        """The next samples."""

    def first_token(self, slot: int, token: int | None = None) -> None:
        """A sample's first token has come, and is this one where that is known."""

    def answer(self, slot: int, ids: npt.NDArray[np.int32]) -> None:
        """A sample is finished."""

    def fail(self, slot: int, reason: Failure | BaseException | str) -> None:
        """A sample cannot be answered."""

    def report(self) -> None:
        """Pass on what has been handed in."""

    def drop(self) -> None:
        """Forget everything."""


class SpreadableEngine(Protocol):
    """An engine that can be run in a worker process."""

    def run(self, desk: EngineDesk) -> None:
        """Answer what comes to the desk until it is closed; called once a test."""

    def wake(self) -> None:
        """There is something new at the desk."""

    def summary(self) -> Any:
        """What there is to say of the last test; has to be picklable."""

    def close(self) -> None:
        """Free everything."""


class _RemoteDesk:
    """The desk of one test, at this end of the pipe."""

    def __init__(self, pipe: Connection, least_tokens: int) -> None:
        self._pipe = pipe
        self.least_tokens = least_tokens
        self.closed = False
        self.stopped = False
        self._waiting: deque[tuple[int, int]] = deque()
        self._first: list[tuple[int, int | None]] = []
        self._slots: list[int] = []
        self._answers: list[npt.NDArray[np.int32]] = []
        self._failed: list[tuple[int, Failure]] = []

    def put(self, samples: Pairs) -> None:
        self._waiting.extend(samples)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, most: int) -> Pairs:
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def first_token(self, slot: int, token: int | None = None) -> None:
        self._first.append((slot, token))

    def answer(self, slot: int, ids: npt.NDArray[np.int32]) -> None:
        self._slots.append(slot)
        self._answers.append(ids)

    def fail(self, slot: int, reason: Failure | BaseException | str) -> None:
        self._failed.append((slot, Failure.of(reason)))

    def report(self) -> None:
        if not (self._first or self._slots or self._failed):
            return
        counts = [len(answer) for answer in self._answers]
        ids = np.concatenate(self._answers) if self._answers else np.empty(0, np.int32)
        self._pipe.send(("answers", (self._first, self._slots, counts, ids, self._failed)))
        self._first, self._slots, self._answers, self._failed = [], [], [], []

    def drop(self) -> None:
        self._waiting.clear()
        self._first, self._slots, self._answers, self._failed = [], [], [], []


def serve(
    make: Callable[[int], SpreadableEngine], number: int, pipe: Connection, cpus: set[int] | None
) -> None:
    """The main function of a worker process.

    Args:
        make: makes the engine.
        number: of the process.
        pipe: to the parent.
        cpus: processors that the process is bound to; None: those of its parent.
    """
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s worker {number} %(name)s: %(message)s",
    )
    try:
        if cpus is not None:
            bind_thread(cpus)  # threads that are started later inherit it
        engine = make(number)
    except BaseException as error:  # whatever it was, the parent has to hear of it
        log.info("loading failed", exc_info=True)
        pipe.send(("died", Failure.of(error).message))
        return
    pipe.send(("ready", None))
    current: list[_RemoteDesk] = []
    begun = threading.Semaphore(0)
    over = threading.Event()

    def listen() -> None:
        try:
            while not over.is_set():
                kind, what = pipe.recv()
                if kind == "run":
                    current.append(_RemoteDesk(pipe, what))
                    begun.release()
                    continue
                if kind == "samples":
                    current[-1].put(what)
                elif kind == "stop":
                    current[-1].stopped = True
                elif kind == "end":
                    current[-1].closed = True
                else:
                    over.set()
                    begun.release()
                engine.wake()
        except (EOFError, OSError):
            os._exit(1)  # the parent is gone

    threading.Thread(target=listen, name="pipe", daemon=True).start()
    try:
        while True:
            begun.acquire()
            if over.is_set():
                break
            desk = current[-1]
            engine.run(desk)
            pipe.send(("ended", engine.summary()))
    except BaseException as error:
        log.critical("the engine's loop died", exc_info=True)
        pipe.send(("died", Failure.of(error).message))
        return
    engine.close()
