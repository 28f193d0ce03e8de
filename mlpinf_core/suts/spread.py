"""One engine spread over worker processes, where a single thread of Python is not enough.

Each process runs an engine of its own on a desk of its own; the desk's other end is here. Samples
go to a process as pairs of slot and index, answers come back in batches, and this process's one
thread tells LoadGen of them. Processes are spawned, so what makes their engines has to be
picklable.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.binding import processors
from mlpinf_core.errors import BackendError
from mlpinf_core.machine import number_text
from mlpinf_core.suts.worker import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from mlpinf_core.suts.asynchronous import Desk
    from mlpinf_core.suts.worker import Answers, SpreadableEngine

log = logging.getLogger(__name__)

_CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing waits for a process to end by itself."""
_AHEAD: Final = 1.25
"""A process gets so many times the samples that it may have on their way, so as never to wait."""


class SpreadEngine:
    """An engine whose work is done by engines in other processes."""

    def __init__(
        self,
        make: Callable[[int], SpreadableEngine],
        count: int,
        *,
        capacity: int,
        cpus: Sequence[str] = (),
    ) -> None:
        """Start the processes, and return when every engine is there.

        Args:
            make: makes the engine of the process of that number; called there.
            count: processes.
            capacity: most samples that one of them may have on their way.
            cpus: processors of each process, as ``sut.worker_cpus`` lists them; processes beyond
                them begin anew. Empty: not bound.

        Raises:
            ConfigurationError: a process's processors are not there.
            BackendError: an engine could not be made; the other processes are ended.
        """
        import multiprocessing

        chosen = [processors(text, "sut.worker_cpus") for text in cpus]
        self.worker_cpus = tuple(number_text(each) for each in chosen)
        """Processors of each process; empty where they are not bound."""
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
                    target=serve,
                    args=(make, number, there, chosen[number % len(chosen)] if chosen else None),
                    name=f"engine-{number}",
                    daemon=True,
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
        """Give waiting samples to the processes that have room."""
        rooms = [max(0, self._room - busy) for busy in on_their_way]
        samples = desk.take(min(desk.waiting, sum(rooms)))
        at = 0
        for number, share in enumerate(shares(len(samples), rooms)):
            if share:
                self._pipes[number].send(("samples", samples[at : at + share]))
                on_their_way[number] += share
                at += share

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


def _hand_in(desk: Desk, answers: Answers) -> int:
    """Answers of a process to the desk; how many samples they settle."""
    first, slots, counts, ids, failed = answers
    for slot, token in first:
        desk.first_token(slot, token)
    at = 0
    for slot, count in zip(slots, counts, strict=True):
        desk.answer(slot, ids[at : at + count])
        at += count
    for slot, failure in failed:
        desk.fail(slot, failure)
    return len(slots) + len(failed)


def shares(count: int, rooms: Sequence[int]) -> list[int]:
    """How many of ``count`` samples each gets, as evenly as their rooms allow.

    Those with the least room come first, so that what one has no room for is left to those with
    more: nothing is left over as long as ``count`` is not more than the sum of ``rooms``.
    """
    found = [0] * len(rooms)
    order = sorted(range(len(rooms)), key=rooms.__getitem__)
    for place, number in enumerate(order):
        even = -(-count // (len(order) - place))
        found[number] = min(even, rooms[number])
        count -= found[number]
    return found
