"""The SUT whose backends have processes of their own: no failure of one leaves a query open."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.config.schema import SutSettings
from mlpinf_core.errors import BackendError
from mlpinf_core.loadgen.responder import Responder
from mlpinf_core.protocols import Outputs, Query
from mlpinf_core.suts.processes import ProcessSut, WorkerDiedError, WorkerPool

from .issuing import as_bytes, codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .issuing import IssuingLoadGen

SETTINGS = SutSettings(max_batch_size=4, max_wait_ms=0)
POISON = 40


class Doubling:
    """Answers a sample with twice its index, and does as it is told when it sees ``POISON``."""

    def __init__(self, number: int, poison: str = "", closed: str = "") -> None:
        if poison == "load":
            raise FileNotFoundError("there are no weights")
        if poison == "die loading":
            os._exit(7)
        self.number = number
        self.poison = poison
        self.closed = closed

    def infer(self, indices: np.ndarray[Any, Any]) -> Outputs | None:
        if POISON in indices and self.poison == "raise":
            raise ValueError("no such neighbour")
        if POISON in indices and self.poison == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if POISON in indices and self.poison == "exit":
            raise SystemExit(3)
        if POISON in indices and self.poison == "unsendable":
            return Outputs([lambda: None])  # type: ignore[list-item]
        if POISON in indices and self.poison == "list":
            return [1, 2, 3, 4]  # type: ignore[return-value]
        if self.poison == "who":
            return Outputs(np.full((len(indices), 1), self.number))
        if self.poison == "nothing":
            return None
        return Outputs(2 * indices[:, np.newaxis])

    def close(self) -> None:
        if self.closed:
            Path(self.closed, str(self.number)).write_text("closed")


def make(number: int, poison: str = "", closed: str = "") -> Doubling:
    return Doubling(number, poison, closed)


def pool_of(count: int, poison: str = "", *, lanes: int = 1, closed: str = "") -> WorkerPool:
    return WorkerPool(functools.partial(make, poison=poison, closed=closed), count, lanes=lanes)


@pytest.fixture
def pools() -> Iterator[list[WorkerPool]]:
    started: list[WorkerPool] = []
    yield started
    for pool in started:
        pool.close()


def started(pools: list[WorkerPool], *args: Any, **more: Any) -> WorkerPool:
    pool = pool_of(*args, **more)
    pools.append(pool)
    pool.start()
    return pool


def answered(
    pool: WorkerPool, loadgen: IssuingLoadGen, count: int
) -> tuple[Responder, list[int | None]]:
    """Issue so many samples in one query; what each was answered with."""
    responder = Responder(dtype=np.int64)
    sut = ProcessSut(responder, pool, SETTINGS)
    slots = responder.open(loadgen.issue(count))
    sut.issue(Query(slots, 10 * np.arange(count, dtype=np.int64)))
    sut.flush()
    responder.close_open()
    payloads = loadgen.payloads()
    sut.close()
    return responder, [int(np.frombuffer(p, np.int64)[0]) if p else None for p in payloads]


def test_batches_are_answered_by_processes_and_each_sample_gets_its_own_answer(
    pools: list[WorkerPool], loadgen: IssuingLoadGen
) -> None:
    pool = started(pools, 2, lanes=2)
    responder, answers = answered(pool, loadgen, 101)
    assert answers == [20 * sample for sample in range(101)]
    assert codes(responder) == {}


def test_processes_are_bound_to_the_processors_that_they_are_given(
    pools: list[WorkerPool],
) -> None:
    mine = sorted(os.sched_getaffinity(0))
    pool = WorkerPool(make, 2, cpus=[str(mine[-1])])
    pools.append(pool)
    pool.start()
    assert pool.worker_cpus == (str(mine[-1]),)
    pids = [process.pid for process in pool._processes]
    assert [os.sched_getaffinity(pid) for pid in pids if pid] == [{mine[-1]}] * 2


def test_lanes_that_adjoin_lead_to_different_processes(pools: list[WorkerPool]) -> None:
    pool = started(pools, 2, "who", lanes=2)
    one = np.zeros(1, dtype=np.int64)
    found = [pool.infer(lane, one) for lane in range(pool.lanes)]
    assert [int(outputs.data[0][0]) for outputs in found if outputs] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("poison", "message"),
    [
        ("raise", "ValueError: no such neighbour"),
        ("unsendable", "the outputs cannot be sent"),
        ("list", "the backend returned a list, not Outputs"),
    ],
)
def test_a_batch_that_goes_wrong_in_a_process_fails_alone_and_says_how(
    poison: str, message: str, pools: list[WorkerPool], loadgen: IssuingLoadGen
) -> None:
    pool = started(pools, 1, poison)
    responder, answers = answered(pool, loadgen, 12)  # index 40 is the second batch's first
    assert answers == [0, 20, 40, 60, None, None, None, None, 160, 180, 200, 220]
    (failure,) = responder.failures()
    assert message in failure.message
    assert not responder.aborted


@pytest.mark.parametrize(
    ("poison", "how"), [("kill", "was ended by signal 9"), ("exit", "ended with exit code 1")]
)
def test_a_process_that_dies_ends_the_test_and_leaves_no_query_waiting(
    poison: str, how: str, pools: list[WorkerPool], loadgen: IssuingLoadGen
) -> None:
    pool = started(pools, 2, poison)
    responder, _ = answered(pool, loadgen, 40)
    assert responder.aborted
    assert responder.progress().completed == 40
    assert any(how in failure.message for failure in responder.failures())


def test_a_process_that_was_killed_between_batches_is_noticed_by_the_next(
    pools: list[WorkerPool],
) -> None:
    pool = started(pools, 1)
    victim = pool._processes[0]
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    with pytest.raises(WorkerDiedError, match="worker process 0 was ended by signal 9"):
        pool.infer(0, np.zeros(1, dtype=np.int64))


def test_a_backend_that_answers_nothing_fails_its_batch(
    pools: list[WorkerPool], loadgen: IssuingLoadGen
) -> None:
    responder, _ = answered(started(pools, 1, "nothing"), loadgen, 3)
    assert codes(responder) == {"outputs": 3}


@pytest.mark.parametrize(
    ("poison", "message"),
    [("load", "FileNotFoundError: there are no weights"), ("die loading", "exit code 7")],
)
def test_a_backend_that_cannot_be_loaded_is_one_clear_error_and_no_process_stays(
    poison: str, message: str
) -> None:
    pool = pool_of(2, poison)
    with pytest.raises(BackendError, match=message):
        pool.start()
    assert pool._processes == []


def test_closing_closes_every_backend_and_ends_its_process(tmp_path: Path) -> None:
    pool = pool_of(2, closed=str(tmp_path))
    pool.start()
    processes = list(pool._processes)
    pool.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert [process.exitcode for process in processes] == [0, 0]


def test_a_process_ends_when_its_parent_does_without_closing_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import os\n"
        "from mlpinf_core.suts.processes import WorkerPool\n"
        "import worker_of_test\n"
        "if __name__ == '__main__':\n"
        "    pool = WorkerPool(worker_of_test.make, 1)\n"
        "    pool.start()\n"
        "    print(pool._processes[0].pid, flush=True)\n"
        "    os._exit(0)\n"
    )
    (tmp_path / "worker_of_test.py").write_text(
        "class Idle:\n"
        "    def infer(self, indices): return None\n"
        "    def close(self): pass\n"
        "def make(number): return Idle()\n"
    )
    (tmp_path / "parent.py").write_text(script)
    # The worker inherits the write end of this pipe, and the pipe ends when it does.
    done = subprocess.run(
        [sys.executable, str(tmp_path / "parent.py")],
        capture_output=True, text=True, timeout=60, check=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip().isdigit()


def test_as_many_batches_are_computed_at_a_time_as_there_are_lanes(
    pools: list[WorkerPool], loadgen: IssuingLoadGen
) -> None:
    pool = started(pools, 1, lanes=3)
    responder = Responder(dtype=np.int64)
    sut = ProcessSut(responder, pool, SETTINGS)
    assert sut.concurrency == 3 * SETTINGS.max_batch_size
    slots = responder.open(loadgen.issue(1))
    sut.issue(Query(slots, np.array([5])))
    sut.flush()
    assert loadgen.payloads() == as_bytes([10])
    sut.close()
