"""What can go wrong, each in a few lines."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mlpinf_core.protocols import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import Query


class ToldError(Exception):
    """Raised because the settings say so."""


def happen(run: Run, place: str) -> None:
    """Raise if the fault is called after this place, or end the process if it is ``exit`` here."""
    fault = run.config.benchmark.fault
    if fault == place:
        raise ToldError(f"as told, in {place}")
    if fault == f"exit in {place}":
        sys.exit(0)


def note(pid: int) -> None:
    """Leave a process's number for the test to look at."""
    if path := os.environ.get("MLPINF_FAULTY_PIDS"):
        with Path(path).open("a", encoding="ascii") as file:
            file.write(f"{pid}\n")


# -- at a batch ------------------------------------------------------------------------------------


def raise_error(indices: Any) -> NoReturn:
    """An ordinary exception."""
    raise ToldError("as told, at a batch")


def end_thread(indices: Any) -> NoReturn:
    """What ends a thread without a word."""
    sys.exit(3)


def few(indices: Any) -> Outputs:
    """One answer too few."""
    return Outputs(indices[:-1, np.newaxis])


def many(indices: Any) -> Outputs:
    """One answer too many."""
    return Outputs(np.append(indices, 0)[:, np.newaxis])


def none(indices: Any) -> None:
    """No answer."""


def wrong_dtype(indices: Any) -> Outputs:
    """Floats for integers."""
    return Outputs(indices[:, np.newaxis].astype(np.float32))


def objects(indices: Any) -> Outputs:
    """Python objects for integers."""
    return Outputs(indices[:, np.newaxis].astype(object))


def kill(indices: Any) -> None:
    """The out-of-memory killer, say."""
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(indices: Any) -> None:
    """A bug in native code."""
    ctypes.string_at(0)


def leave(indices: Any) -> NoReturn:
    """Leave without a word, as if all were well."""
    os._exit(0)


def leave_badly(indices: Any) -> NoReturn:
    """Leave without a word."""
    os._exit(7)


def wait(indices: Any) -> None:
    """Wait for what never comes; other threads run."""
    threading.Event().wait()


def loop(indices: Any) -> None:
    """Compute for ever; other threads get their turn."""
    while True:
        pass


def hold_gil(indices: Any) -> None:
    """Native code that never returns and lets no other thread run."""
    ctypes.PyDLL(None).pause()


def block_sigterm(indices: Any) -> None:
    """Hang, deaf to SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ctypes.CDLL(None).signal(int(signal.SIGTERM), 1)  # SIG_IGN, which only the main thread may set
    threading.Event().wait()


def start_child(indices: Any) -> None:
    """Start a process that does not heed SIGTERM, leave its number, and be killed."""
    ignore = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=1)"
    # It keeps this process's open files too: the pipe to the parent does not close with us.
    other = subprocess.Popen(
        [sys.executable, "-c", ignore + "; signal.pause()"],
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    assert other.stdout is not None
    other.stdout.readline()
    note(other.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def flood(indices: Any) -> Outputs:
    """Write far more than a pipe holds; otherwise all is well."""
    os.write(2, b"x" * 4_000_000)
    return Outputs(indices[:, np.newaxis])


FAULTS: dict[str, Callable[[Any], Outputs | None]] = {
    "raise": raise_error,
    "end thread": end_thread,
    "few": few,
    "many": many,
    "none": none,
    "dtype": wrong_dtype,
    "objects": objects,
    "kill": kill,
    "segfault": segfault,
    "leave": leave,
    "leave badly": leave_badly,
    "wait": wait,
    "loop": loop,
    "hold gil": hold_gil,
    "block sigterm": block_sigterm,
    "start child": start_child,
    "flood": flood,
}


class FaultyBackend:
    """Answers with indices until the batch comes that goes wrong."""

    def __init__(self, run: Run) -> None:
        """Note which process this is."""
        self._run = run
        self._fault = run.config.benchmark.fault
        self._at = run.config.benchmark.at_batch
        self._batches = 0
        note(os.getpid())

    def load(self) -> None:
        """Nothing to load."""
        happen(self._run, "load")

    def warm_up(self) -> None:
        """Nothing to warm up."""
        happen(self._run, "warm_up")
        if self._fault == "hang in warm_up":
            threading.Event().wait()

    def infer(self, indices: Any) -> Outputs | None:
        """The indices, or the fault."""
        self._batches += 1
        fault = FAULTS.get(self._fault)
        if fault is not None and self._batches >= self._at:
            return fault(indices)
        return Outputs(indices[:, np.newaxis])

    def close(self) -> None:
        """Nothing to free."""
        happen(self._run, "close")
        if self._fault in FAULTS and self._fault != "flood":
            raise ToldError("closing failed too")


class OwnSut:
    """Answers in a thread of its own; drops samples, answers twice, or dies when told to."""

    def __init__(self, run: Run, backend: FaultyBackend) -> None:
        """Start the thread."""
        self._responder = run.responder
        self._fault = run.config.benchmark.fault
        self._infer = backend.infer
        self._queries: list[Query] = []
        self._arrived = threading.Condition()
        threading.Thread(target=self._work, name="own", daemon=True).start()

    def issue(self, query: Query) -> None:
        """Queue the query."""
        with self._arrived:
            self._queries.append(query)
            self._arrived.notify()

    def _work(self) -> None:
        while True:
            with self._arrived:
                while not self._queries:
                    self._arrived.wait()
                query = self._queries.pop(0)
            if self._fault == "die":
                raise ToldError("as told, in a thread of the plugin's own")
            if self._fault == "drop":
                continue
            self._responder.complete(query.slots, self._infer(query.indices))
            if self._fault == "twice":
                self._responder.complete(query.slots, self._infer(query.indices))
            if self._fault == "stranger":
                self._responder.complete(range(10**9, 10**9 + 1), self._infer(query.indices[:1]))

    def flush(self) -> None:
        """Wait for ever, where a sample was dropped: this SUT does not know."""
        if self._fault == "drop":
            threading.Event().wait()

    def close(self) -> None:
        """The thread ends with the process."""
