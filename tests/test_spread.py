"""An engine in worker processes answers as one in this process does."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.errors import BackendError
from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.protocols import Outputs, Query
from mlpinf_core.suts.asynchronous import AsyncSut
from mlpinf_core.suts.spread import SpreadEngine, shares

if TYPE_CHECKING:
    from mlpinf_core.protocols import Slots
    from mlpinf_core.suts.worker import EngineDesk

FAILS, DIES = 13, 66


class Tripling:
    """Answers a sample with its index, three times, and knows what it has done."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.bell = threading.Event()
        self.done = 0

    def wake(self) -> None:
        self.bell.set()

    def run(self, desk: EngineDesk) -> None:
        self.done = 0
        while True:
            self.bell.clear()
            taken = desk.take(4)
            for slot, index in taken:
                self.done += 1
                if index == DIES:
                    os.kill(os.getpid(), signal.SIGKILL)
                if index == FAILS:
                    desk.fail(slot, Failure("raised", "unlucky"))
                    continue
                desk.first_token(slot)
                desk.answer(slot, np.full(3, index, dtype=np.int32))
            desk.report()
            if desk.stopped:
                desk.drop()
            if desk.closed and not desk.waiting:
                return
            if not taken:
                self.bell.wait()

    def summary(self) -> Any:
        return (self.number, self.done)

    def close(self) -> None:
        """Nothing to free."""


def broken(number: int) -> Tripling:
    raise ValueError(f"no engine {number}")


class Record:
    """What was told, in the place of a Responder."""

    least_tokens = 1
    aborted = False

    def __init__(self) -> None:
        self.first: set[int] = set()
        self.done: dict[int, list[int]] = {}
        self.failed: dict[int, str] = {}
        self.why = ""

    def first_token(self, slots: Slots, tokens: Any = None) -> None:
        self.first |= set(map(int, slots))

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        assert outputs is not None
        for slot, answer in zip(slots, outputs.data, strict=True):
            assert int(slot) not in self.done
            self.done[int(slot)] = answer.tolist()

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        self.failed |= {int(slot): Failure.of(reason).message for slot in slots}

    def abort(self, reason: Failure | BaseException | str) -> None:
        self.aborted = True
        self.why = Failure.of(reason).message


def answered(engine: SpreadEngine, indices: list[int]) -> Record:
    record = Record()
    sut = AsyncSut(record, engine)
    sut.issue(Query(range(len(indices)), np.array(indices)))
    sut.flush()
    sut.close()
    return record


@pytest.mark.slow
def test_every_sample_is_answered_once_and_the_processes_share_the_work() -> None:
    engine = SpreadEngine(Tripling, 2, capacity=8)
    try:
        for _ in range(2):  # a warm-up and a test
            indices = [index for index in range(200) if index not in (FAILS, DIES)]
            record = answered(engine, indices)
            assert record.done == {slot: [index] * 3 for slot, index in enumerate(indices)}
            assert record.first == set(record.done)
            assert sorted(number for number, _ in engine.summaries) == [0, 1]
            assert sum(done for _, done in engine.summaries) == len(indices)
            assert all(done for _, done in engine.summaries)
    finally:
        engine.close()


@pytest.mark.slow
def test_a_failure_is_told_with_its_reason_and_fails_alone() -> None:
    engine = SpreadEngine(Tripling, 2, capacity=8)
    try:
        record = answered(engine, [1, FAILS, 2])
    finally:
        engine.close()
    assert record.failed == {1: "unlucky"}
    assert set(record.done) == {0, 2}


@pytest.mark.slow
def test_a_process_that_dies_aborts_the_test() -> None:
    engine = SpreadEngine(Tripling, 2, capacity=8)
    try:
        record = answered(engine, [1, DIES, 2])
    finally:
        engine.close()
    assert record.aborted
    assert "exit code -9" in record.why


@pytest.mark.slow
def test_processes_are_bound_to_the_processors_that_they_are_given() -> None:
    mine = sorted(os.sched_getaffinity(0))
    lists = [str(mine[0]), str(mine[-1])]
    engine = SpreadEngine(Tripling, 3, capacity=8, cpus=lists)
    try:
        assert engine.worker_cpus == tuple(lists)
        pids = [process.pid for process in engine._processes]
        found = [os.sched_getaffinity(pid) for pid in pids if pid]
        assert found == [{mine[0]}, {mine[-1]}, {mine[0]}]
        record = answered(engine, [1, 2])
        assert len(record.done) == 2
    finally:
        engine.close()


@pytest.mark.slow
def test_an_engine_that_cannot_be_made_is_told_of_before_the_test() -> None:
    with pytest.raises(BackendError, match="no engine"):
        SpreadEngine(broken, 2, capacity=8)


@given(rooms=st.lists(st.integers(0, 50), min_size=1, max_size=8), data=st.data())
def test_every_sample_that_there_is_room_for_is_given_to_a_process(
    rooms: list[int], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, sum(rooms)))
    given_out = shares(count, rooms)
    assert sum(given_out) == count
    assert all(share <= room for share, room in zip(given_out, rooms, strict=True))
