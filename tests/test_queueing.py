"""The batch queue: when a batch is due, and that every query gets into one."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_core.protocols import Query
from mlpinf_core.suts.queueing import BatchQueue

FOR_EVER = 1e9
PATIENCE = 30.0
"""Seconds after which a test gives up on another thread; nothing takes that long."""


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def query(first: int, count: int = 1) -> Query:
    return Query(range(first, first + count), np.arange(first, first + count) * 10)


def slots(batch: Query | None) -> list[int]:
    assert batch is not None
    assert list(batch.indices) == [10 * slot for slot in batch.slots]
    return [int(slot) for slot in batch.slots]


class Taker(threading.Thread):
    """Takes batches in another thread until there are no more."""

    def __init__(self, queue: BatchQueue, *, done: bool = True) -> None:
        super().__init__(daemon=True)
        self.queue = queue
        self.batches: list[list[int]] = []
        self.took = threading.Semaphore(0)
        self.answer = threading.Event()
        if done:
            self.answer.set()
        self.start()

    def run(self) -> None:
        while (batch := self.queue.take()) is not None:
            self.batches.append(slots(batch))
            self.took.release()
            assert self.answer.wait(PATIENCE)
            self.queue.done(batch)

    def wait_for(self, batches: int = 1) -> None:
        for _ in range(batches):
            assert self.took.acquire(timeout=PATIENCE)

    def end(self) -> None:
        self.join(PATIENCE)
        assert not self.is_alive()


def test_a_full_batch_is_handed_over_at_once() -> None:
    queue = BatchQueue(3, FOR_EVER)
    for number in range(4):
        queue.put(query(number))
    assert slots(queue.take()) == [0, 1, 2]


def test_a_taker_that_waits_is_woken_by_the_sample_that_fills_its_batch() -> None:
    queue = BatchQueue(3, FOR_EVER)
    taker = Taker(queue)
    for number in range(3):
        queue.put(query(number))
    taker.wait_for()
    assert taker.batches == [[0, 1, 2]]
    queue.close()
    taker.end()


def test_the_deadline_starts_with_the_first_sample_of_the_batch() -> None:
    clock = Clock()
    queue = BatchQueue(10, 5.0, clock=clock)
    assert queue._patience() is None
    queue.put(query(0))
    clock.now += 4.0
    queue.put(query(1))
    assert not queue._due()
    assert queue._patience() == 1.0
    clock.now += 1.0
    assert slots(queue.take()) == [0, 1]


def test_the_next_batch_has_the_deadline_of_its_own_first_sample() -> None:
    clock = Clock()
    queue = BatchQueue(2, 5.0, clock=clock)
    queue.put(query(0))
    queue.put(query(1))
    clock.now += 3.0
    queue.put(query(2))
    assert slots(queue.take()) == [0, 1]
    assert queue._patience() == 5.0
    clock.now += 5.0
    assert slots(queue.take()) == [2]


def test_the_rest_of_a_large_query_keeps_its_arrival() -> None:
    clock = Clock()
    queue = BatchQueue(4, 5.0, clock=clock)
    queue.put(query(0, 6))
    clock.now += 4.0
    assert slots(queue.take()) == [0, 1, 2, 3]
    assert queue._patience() == 1.0


def test_without_waiting_a_sample_is_handed_over_alone() -> None:
    queue = BatchQueue(10, 0.0, clock=Clock())
    queue.put(query(0))
    assert slots(queue.take()) == [0]


def test_a_waiting_taker_takes_when_the_deadline_passes() -> None:
    queue = BatchQueue(10, 0.001)
    taker = Taker(queue)
    queue.put(query(0))
    taker.wait_for()
    assert taker.batches == [[0]]
    queue.close()
    taker.end()


def test_a_query_that_does_not_fit_waits_whole_for_the_next_batch() -> None:
    queue = BatchQueue(4, FOR_EVER)
    queue.put(query(0, 3))
    queue.put(query(3, 3))
    assert slots(queue.take()) == [0, 1, 2]
    queue.close()
    assert slots(queue.take()) == [3, 4, 5]


def test_queries_that_adjoin_become_a_range_and_others_an_array() -> None:
    queue = BatchQueue(4, 0.0)
    for first in (0, 1, 7, 6):
        queue.put(query(first))
    batch = queue.take()
    assert batch is not None
    assert isinstance(batch.slots, np.ndarray)
    for first in (0, 1, 2):
        queue.put(query(first))
    batch = queue.take()
    assert batch is not None
    assert batch.slots == range(3)


def test_flush_hands_over_without_delay_and_waits_for_the_answers() -> None:
    queue = BatchQueue(10, FOR_EVER)
    taker = Taker(queue, done=False)
    queue.put(query(0, 3))
    flushed = threading.Event()

    def flush() -> None:
        queue.flush()
        flushed.set()

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    taker.wait_for()
    assert not flushed.is_set()
    taker.answer.set()
    assert flushed.wait(PATIENCE)
    thread.join()
    queue.close()
    taker.end()


def test_after_a_flush_batches_wait_again() -> None:
    clock = Clock()
    queue = BatchQueue(10, 5.0, clock=clock)
    queue.flush()
    queue.put(query(0))
    assert not queue._due()


def test_flushing_an_empty_queue_returns() -> None:
    BatchQueue(10, FOR_EVER).flush()


def test_a_closed_queue_hands_over_what_it_holds_and_then_nothing() -> None:
    queue = BatchQueue(2, FOR_EVER)
    queue.put(query(0, 3))
    queue.close()
    assert slots(queue.take()) == [0, 1]
    assert slots(queue.take()) == [2]
    assert queue.take() is None


def test_closing_ends_every_taker_that_waits() -> None:
    queue = BatchQueue(2, FOR_EVER)
    takers = [Taker(queue) for _ in range(4)]
    queue.close()
    for taker in takers:
        taker.end()


def test_closing_ends_a_flush_that_nobody_answers() -> None:
    queue = BatchQueue(2, FOR_EVER)
    queue.put(query(0))
    thread = threading.Thread(target=queue.flush, daemon=True)
    thread.start()
    queue.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("wait", [0.0, 0.0005, FOR_EVER])
def test_several_takers_share_everything_that_several_issuers_put(wait: float) -> None:
    queue = BatchQueue(7, wait)
    takers = [Taker(queue) for _ in range(3)]
    sizes = [1, 1, 5, 30, 2]

    def issue(number: int) -> None:
        first = number * 100_000
        for turn in range(100):
            size = sizes[turn % len(sizes)]
            queue.put(query(first, size))
            first += size

    issuers = [threading.Thread(target=issue, args=(n,)) for n in range(2)]
    for issuer in issuers:
        issuer.start()
    for issuer in issuers:
        issuer.join(PATIENCE)
    queue.flush()
    per_issuer = sum(sizes) * 100 // len(sizes)
    expected = [n * 100_000 + i for n in range(2) for i in range(per_issuer)]
    batches = [batch for taker in takers for batch in taker.batches]
    assert sorted(slot for batch in batches for slot in batch) == expected
    assert max(map(len, batches)) <= 7
    queue.close()
    for taker in takers:
        taker.end()


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 20), max_size=20), most=st.integers(1, 8))
def test_batches_are_the_queries_in_order_and_never_too_large(sizes: list[int], most: int) -> None:
    queue = BatchQueue(most, FOR_EVER)
    first = 0
    for size in sizes:
        queue.put(query(first, size))
        first += size
    queue.close()
    taken: list[Any] = []
    while (batch := queue.take()) is not None:
        assert 1 <= len(batch) <= most
        taken += slots(batch)
    assert taken == list(range(first))
