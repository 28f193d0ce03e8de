"""Worker processes, one a device, and the SUT that hands batches to them.

A process is spawned, never forked, because engines do not survive a fork. It gets nothing but a
callable that makes its backend, and answers requests that come over pipes: what is large (weights,
features) it opens itself, memory-mapped, so that the processes of a machine share it.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from mlpinf_core.binding import bind_thread, processors
from mlpinf_core.errors import BackendError
from mlpinf_core.machine import number_text
from mlpinf_core.protocols import Outputs
from mlpinf_core.suts.batching import QueueSut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    import numpy.typing as npt

    from mlpinf_core.config.schema import SutSettings
    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.protocols import Query

log = logging.getLogger(__name__)

_READY: Final = "ready"
_FAILED: Final = "failed"
_STOP: Final = b""
_CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing waits for a process to end by itself."""
_END_PATIENCE: Final = 2.0
"""Seconds until the exit code of a process whose pipe broke is known."""


class Served(Protocol):
    """What a worker process runs: a backend that is loaded already."""

    def infer(self, indices: npt.NDArray[np.int64]) -> Outputs | None:
        """Answer a batch; called from as many threads as there are lanes."""

    def close(self) -> None:
        """Free everything."""


class WorkerDiedError(BackendError):
    """A worker process is gone, and with it the batch that it had."""


class WorkerPool:
    """Processes that answer batches.

    A *lane* is a pipe to a process, with one batch on its way at a time. With more than one lane a
    process gets the next batch while it computes.
    """

    def __init__(
        self,
        make: Callable[[int], Served],
        count: int,
        *,
        lanes: int = 1,
        cpus: Sequence[str] = (),
    ) -> None:
        """Nothing is started yet.

        Args:
            make: makes the backend of the process with that number, loaded; called in the process,
                so it has to be picklable: a module's function, or a ``functools.partial`` of one.
            count: processes.
            lanes: of each process.
            cpus: processors of each process, as ``sut.worker_cpus`` lists them; processes beyond
                them begin anew. Empty: not bound.

        Raises:
            ConfigurationError: a process's processors are not there.
        """
        self._cpus = [processors(text, "sut.worker_cpus") for text in cpus]
        self._make = make
        self._count = count
        self._per_process = lanes
        self._processes: list[BaseProcess] = []
        self._controls: list[Connection] = []
        self._lanes: list[Connection] = []

    @property
    def worker_cpus(self) -> tuple[str, ...]:
        """Processors of each process; empty where they are not bound."""
        return tuple(number_text(each) for each in self._cpus)

    @property
    def lanes(self) -> int:
        """Batches that can be on their way at the same time."""
        return self._count * self._per_process

    def start(self) -> None:
        """Start the processes, and wait until every backend is loaded.

        Raises:
            BackendError: one could not be loaded, or its process died; the others are ended.
        """
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        try:
            for number in range(self._count):
                here, there = context.Pipe()
                pairs = [context.Pipe() for _ in range(self._per_process)]
                ends = [end for _, end in pairs]
                process = context.Process(
                    target=_serve,
                    args=(self._make, number, there, ends, self._cpus_of(number)),
                    name=f"worker-{number}",
                    daemon=True,
                )
                process.start()
                for end in (there, *ends):
                    end.close()  # so that the pipe ends with the process
                self._processes.append(process)
                self._controls.append(here)
                self._lanes += [lane for lane, _ in pairs]
            for number, control in enumerate(self._controls):
                self._await(number, control)
        except BaseException:
            self.close()
            raise

    def infer(self, lane: int, indices: npt.NDArray[np.int64]) -> Outputs | None:
        """Have a batch answered. One thread a lane.

        Args:
            lane: below :attr:`lanes`; neighbouring ones lead to different processes.
            indices: int64 [n].

        Raises:
            WorkerDiedError: the process is gone.
            BackendError: the backend raised; what it raised is in the text.
        """
        number = lane % self._count
        connection = self._lanes[number * self._per_process + lane // self._count]
        try:
            connection.send_bytes(np.ascontiguousarray(indices, dtype=np.int64).data)
            fault, data, n_tokens = connection.recv()
        except (EOFError, OSError) as error:
            raise self._died(number) from error
        if fault is not None:
            raise BackendError(fault, where=f"worker process {number}")
        return None if data is None else Outputs(data, n_tokens)

    def close(self) -> None:
        """End the processes: in order where they listen, and otherwise for sure."""
        for control in self._controls:
            try:
                control.send_bytes(_STOP)
            except OSError:
                log.debug("a worker process had ended before it was closed")
        for process in self._processes:
            process.join(_CLOSE_PATIENCE)
            if process.is_alive():
                log.warning("%s does not end; it is killed", process.name)
                process.kill()
                process.join()
        for connection in (*self._controls, *self._lanes):
            connection.close()
        self._processes, self._controls, self._lanes = [], [], []

    def _cpus_of(self, number: int) -> set[int] | None:
        return self._cpus[number % len(self._cpus)] if self._cpus else None

    def _await(self, number: int, control: Connection) -> None:
        try:
            state, text = control.recv()
        except (EOFError, OSError) as error:
            raise self._died(number) from error
        if state == _FAILED:
            raise BackendError(text, where=f"worker process {number}")

    def _died(self, number: int) -> WorkerDiedError:
        process = self._processes[number]
        process.join(_END_PATIENCE)
        code = process.exitcode
        how = "stopped answering" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by signal {-code}"
        return WorkerDiedError(
            f"worker process {number} {how}",
            remedy="its last words are in the run's log; a process that is killed for want of "
            "memory leaves none",
        )


class ProcessSut(QueueSut):
    """For backends that have a process for each device.

    A batch that a backend fails fails alone. A process that dies ends the test: the run is INVALID,
    and nothing waits for it.
    """

    def __init__(self, responder: Responder, pool: WorkerPool, settings: SutSettings) -> None:
        """Start the threads, one a lane.

        Args:
            responder: of the run.
            pool: started; whoever started it closes it.
            settings: batch size and wait; the number of workers is the pool's, and so is what
                they are bound to: threads that only wait for a process are not.
        """
        import attrs

        self._pool = pool
        self._free_lanes = itertools.count()
        self._local = threading.local()
        super().__init__(responder, attrs.evolve(settings, workers=pool.lanes, worker_cpus=()))
        self.worker_cpus = pool.worker_cpus

    def answer(self, batch: Query) -> None:
        """Have the batch answered by this thread's lane."""
        if not hasattr(self._local, "lane"):
            self._local.lane = next(self._free_lanes)
        try:
            outputs = self._pool.infer(self._local.lane, batch.indices)
        except WorkerDiedError as error:
            self._responder.abort(error)
            return
        self._responder.complete(batch.slots, outputs)


_Reply: TypeAlias = "tuple[str | None, Any, Any]"
"""What was wrong, or None; the outputs' data; their token counts."""


# -- in the worker process -------------------------------------------------------------------------


def _serve(
    make: Callable[[int], Served],
    number: int,
    control: Connection,
    lanes: list[Connection],
    cpus: set[int] | None,
) -> None:
    """The main function of a worker process."""
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s worker {number} %(name)s: %(message)s",
    )
    try:
        if cpus is not None:
            bind_thread(cpus)  # threads that are started later inherit it
        served = make(number)
    except BaseException as error:  # whatever it was, the parent has to hear of it
        log.info("loading failed", exc_info=True)
        control.send((_FAILED, _words(error)))
        return
    for lane in lanes:
        threading.Thread(target=_answer, args=(served, lane), daemon=True).start()
    control.send((_READY, ""))
    try:
        control.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone, and nobody waits for what is being computed
    served.close()


def _answer(served: Served, lane: Connection) -> None:
    """Answer what comes over a lane until the pipe ends."""
    try:
        while True:
            try:
                request = lane.recv_bytes()
            except (EOFError, OSError):
                return
            indices = np.frombuffer(request, dtype=np.int64).copy()
            _send(lane, _reply(served, indices))
    except BaseException:
        # The parent would wait for ever for a thread that is gone; a process that is, it notices.
        log.critical("a lane of the worker died", exc_info=True)
        logging.shutdown()
        os._exit(1)


def _reply(served: Served, indices: npt.NDArray[np.int64]) -> _Reply:
    try:
        outputs: object = served.infer(indices)
        if outputs is None:
            return (None, None, None)
        if isinstance(outputs, Outputs):
            return (None, outputs.data, outputs.n_tokens)
        return (f"the backend returned a {type(outputs).__name__}, not Outputs", None, None)
    except Exception as error:  # a batch's failure is that batch's
        log.info("a batch failed", exc_info=True)
        return (_words(error), None, None)


def _send(lane: Connection, reply: _Reply) -> None:
    try:
        lane.send(reply)
    except OSError:
        log.debug("the parent does not listen any more")
    except Exception as error:  # noqa: BLE001 - outputs that cannot be pickled, say
        lane.send((f"the outputs cannot be sent: {_words(error)}", None, None))


def _words(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
