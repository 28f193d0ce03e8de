"""The asynchronous SUT answers every sample once, whatever its engine does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.protocols import Outputs, Query
from mlpinf_core.suts.asynchronous import AsyncSut, Desk

if TYPE_CHECKING:
    from mlpinf_core.protocols import Slots


class Record:
    """What a desk told of, in the place of a Responder."""

    least_tokens = 1
    aborted = False

    def __init__(self) -> None:
        self.first: list[int] = []
        self.done: dict[int, list[int]] = {}
        self.failed: dict[int, str] = {}
        self.threads: set[int] = set()
        self.order: list[tuple[str, int]] = []

    def first_token(self, slots: Slots, tokens: Any = None) -> None:
        self.threads.add(threading.get_ident())
        self.first += map(int, slots)
        self.order += [("first", int(slot)) for slot in slots]

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        assert outputs is not None
        self.threads.add(threading.get_ident())
        for slot, answer in zip(slots, outputs.data, strict=True):
            assert int(slot) not in self.done
            self.done[int(slot)] = answer.tolist()
            self.order.append(("done", int(slot)))

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        self.failed |= {int(slot): Failure.of(reason).message for slot in slots}

    def abort(self, reason: Failure | BaseException | str) -> None:
        self.aborted = True
        self.failed[-1] = Failure.of(reason).message


class Doubling:
    """Answers a sample with its index, twice; at most ``limit`` at a time."""

    def __init__(self, limit: int, *, empty: tuple[int, ...] = (), dies_at: int = -1) -> None:
        self.limit, self.empty, self.dies_at = limit, empty, dies_at
        self.bell = threading.Event()
        self.most = 0

    def wake(self) -> None:
        self.bell.set()

    def run(self, desk: Desk) -> None:
        while True:
            self.bell.clear()
            taken = desk.take(self.limit)
            self.most = max(self.most, len(taken))
            for slot, index in taken:
                if index == self.dies_at:
                    raise ValueError("the engine is broken")
                desk.first_token(slot)
                count = 0 if index in self.empty else 2
                desk.answer(slot, np.full(count, index, dtype=np.int32))
            desk.report()
            if desk.closed and not desk.waiting:
                return
            if not taken:
                self.bell.wait()


def query(start: int, indices: list[int]) -> Query:
    return Query(range(start, start + len(indices)), np.array(indices, dtype=np.int64))


@given(
    queries=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=40), max_size=8),
    limit=st.integers(1, 16),
)
def test_every_sample_is_answered_once_by_one_thread(queries: list[list[int]], limit: int) -> None:
    record, engine = Record(), Doubling(limit)
    sut = AsyncSut(record, engine)
    issued: dict[int, list[int]] = {}
    for indices in queries:
        start = len(issued)
        issued |= {start + i: [index, index] for i, index in enumerate(indices)}
        sut.issue(query(start, indices))
    sut.flush()
    assert record.done == issued
    assert sorted(record.first) == sorted(issued)
    sut.close()
    assert engine.most <= limit
    assert len(record.threads) <= 1


def test_slots_that_do_not_adjoin_are_taken_in_their_order() -> None:
    record = Record()
    desk = Desk(record)
    desk.put(Query(np.array([7, 3, 9]), np.array([1, 2, 3])))
    assert desk.take(2) == [(7, 1), (3, 2)]
    assert desk.take(5) == [(9, 3)]
    assert desk.waiting == 0


def test_an_answer_that_is_too_short_fails_alone() -> None:
    record = Record()
    sut = AsyncSut(record, Doubling(4, empty=(5,)))
    sut.issue(query(0, [4, 5, 6]))
    sut.flush()
    sut.close()
    assert set(record.done) == {0, 2}
    assert record.failed == {1: "an answer has 0 tokens, and LoadGen takes 1 or more"}


def test_an_engine_that_dies_aborts_the_test_and_nobody_waits() -> None:
    record = Record()
    sut = AsyncSut(record, Doubling(4, dies_at=2))
    sut.issue(query(0, [1, 2, 3]))
    sut.flush()
    sut.close()
    assert record.aborted
    assert record.failed[-1] == "ValueError: the engine is broken"
