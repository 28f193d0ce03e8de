"""One engine spread over worker processes, where a single thread of Python is not enough.

Each process runs an engine of its own on a desk of its own; the desk's other end is here. Samples
go to a process as pairs of slot and index, answers come back in batches, and this process's one
thread tells LoadGen of them. Processes are spawned, so what makes their engines has to be
picklable.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from mlpinf_core.errors import BackendError
from mlpinf_core.loadgen.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    import numpy.typing as npt

    from mlpinf_core.suts.asynchronous import Desk

log = logging.getLogger(__name__)

_CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing waits for a process to end by itself."""
_AHEAD: Final = 1.25
"""A process gets so many times the samples that it may have on their way, so as never to wait."""

Pairs: TypeAlias = "list[tuple[int, int]]"


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

    def first_token(self, slot: int) -> None:
        """A sample's first token has come."""

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


class SpreadEngine:
    """An engine whose work is done by engines in other processes."""

    def __init__(
        self, make: Callable[[int], SpreadableEngine], count: int, *, capacity: int
    ) -> None:
        """Start the processes, and return when every engine is there.

        Args:
            make: makes the engine of the process of that number; called there.
            count: processes.
            capacity: most samples that one of them may have on their way.

        Raises:
            BackendError: an engine could not be made; the other processes are ended.
        """
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self._room = max(1, int(_AHEAD * capacity))
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self.summaries: list[Any] = []
        """What the engines had to say of the last test."""
        try:
            for number in range(count):
                here, there = context.Pipe()
                process = context.Process(
                    target=_serve, args=(make, number, there), name=f"engine-{number}", daemon=True
                )
                process.start()
                there.close()  # so that the pipe ends with the process
                self._pipes.append(here)
                self._processes.append(process)
            for number in range(count):
                self._receive(number)  # that it is ready
        except BaseException:
            self.close()
            raise

    def wake(self) -> None:
        """There are samples at the desk, or there will be no more."""
        os.eventfd_write(self._bell, 1)

    def run(self, desk: Desk) -> None:
        """Answer what comes to the desk until it is closed."""
        from multiprocessing.connection import wait

        on_their_way = [0] * len(self._pipes)
        for pipe in self._pipes:
            pipe.send(("run", desk.least_tokens))
        told_to_stop = False
        while True:
            if desk.stopped:
                if not told_to_stop:
                    told_to_stop = True
                    for pipe in self._pipes:
                        pipe.send(("stop", None))
                on_their_way = [0] * len(self._pipes)
                desk.drop()
            else:
                self._deal(desk, on_their_way)
            desk.report()
            if desk.closed and not desk.waiting and not any(on_their_way):
                break
            for ready in wait([self._bell, *self._pipes]):
                if isinstance(ready, int):
                    os.eventfd_read(self._bell)
                    continue
                number = self._pipes.index(ready)  # type: ignore[arg-type]
                kind, what = self._receive(number)
                if kind == "answers":
                    on_their_way[number] -= _hand_in(desk, what)
        self.summaries = []
        for number, pipe in enumerate(self._pipes):
            pipe.send(("end", None))
            while (found := self._receive(number))[0] != "ended":
                pass
            self.summaries.append(found[1])

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            try:
                pipe.send(("close", None))
            except OSError:
                log.debug("a worker process had ended before it was closed")
        for process in self._processes:
            process.join(_CLOSE_PATIENCE)
            if process.is_alive():
                log.warning("%s does not end; it is killed", process.name)
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()
        self._pipes, self._processes = [], []
        os.close(self._bell)

    def _deal(self, desk: Desk, on_their_way: list[int]) -> None:
        """Give waiting samples to the processes, to the idlest most."""
        rooms = [self._room - busy for busy in on_their_way]
        samples = desk.take(min(desk.waiting, sum(room for room in rooms if room > 0)))
        order = sorted(range(len(rooms)), key=lambda number: -rooms[number])
        at = 0
        for place, number in enumerate(order):
            share = -(-(len(samples) - at) // (len(order) - place))
            part = samples[at : at + min(share, max(0, rooms[number]))]
            if part:
                self._pipes[number].send(("samples", part))
                on_their_way[number] += len(part)
                at += len(part)

    def _receive(self, number: int) -> tuple[str, Any]:
        try:
            found: tuple[str, Any] = self._pipes[number].recv()
        except (EOFError, OSError) as error:
            process = self._processes[number]
            process.join(1.0)
            raise BackendError(
                f"worker process {number} ended with exit code {process.exitcode}",
                remedy="its last words are in the run's log",
            ) from error
        if found[0] == "died":
            raise BackendError(str(found[1]), where=f"worker process {number}")
        return found


def _hand_in(desk: Desk, answers: _Answers) -> int:
    """Answers of a process to the desk; how many samples they settle."""
    first, slots, counts, ids, failed = answers
    for slot in first:
        desk.first_token(slot)
    at = 0
    for slot, count in zip(slots, counts, strict=True):
        desk.answer(slot, ids[at : at + count])
        at += count
    for slot, failure in failed:
        desk.fail(slot, failure)
    return len(slots) + len(failed)


# -- in a worker process ---------------------------------------------------------------------------

_Answers: TypeAlias = """tuple[
    list[int], list[int], list[int], npt.NDArray[np.int32], list[tuple[int, Failure]]
]"""
"""First tokens' slots; finished slots, their lengths, all their ids; failed slots and why."""


class _RemoteDesk:
    """The desk of one test, at this end of the pipe."""

    def __init__(self, pipe: Connection, least_tokens: int) -> None:
        self._pipe = pipe
        self.least_tokens = least_tokens
        self.closed = False
        self.stopped = False
        self._waiting: deque[tuple[int, int]] = deque()
        self._first: list[int] = []
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

    def first_token(self, slot: int) -> None:
        self._first.append(slot)

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


def _serve(make: Callable[[int], SpreadableEngine], number: int, pipe: Connection) -> None:
    """The main function of a worker process."""
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s worker {number} %(name)s: %(message)s",
    )
    try:
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
