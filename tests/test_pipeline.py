"""A pipeline of stages: batches overlap, a slow stage holds up the others, nothing is left open."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.config.schema import SutSettings
from mlpinf_core.loadgen.responder import Responder
from mlpinf_core.protocols import Outputs, Query
from mlpinf_core.suts.handover import Handover
from mlpinf_core.suts.ordering import longest_first
from mlpinf_core.suts.pipeline import PipelineSut, Stage

from .issuing import as_bytes, codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.suts.ordering import Order

    from .issuing import IssuingLoadGen

SINGLES = SutSettings(max_batch_size=1, max_wait_ms=0)
PATIENCE = 30.0
"""Seconds after which something that should happen is said not to."""

Indices = np.ndarray[Any, Any]


def echo(indices: Indices) -> Outputs:
    return Outputs(indices[:, np.newaxis])


def passing(name: str, workers: int = 1) -> Stage:
    return Stage(name, lambda value: value, workers)


class Case:
    def __init__(
        self, loadgen: IssuingLoadGen, stages: Sequence[Stage], *, order: Order | None = None
    ) -> None:
        self.loadgen = loadgen
        self.responder = Responder(dtype=np.int64)
        self.sut = PipelineSut(self.responder, stages, SINGLES, order=order)
        self.issued = 0

    def issue(self, count: int) -> None:
        slots = self.responder.open(self.loadgen.issue(count))
        indices = np.arange(self.issued, self.issued + count, dtype=np.int64)
        self.issued += count
        self.sut.issue(Query(slots, indices))

    def finish(self) -> list[bytes]:
        self.sut.flush()
        assert self.responder.close_open() == 0
        payloads = self.loadgen.payloads()
        self.sut.close()
        assert not any(thread.is_alive() for thread in self.sut._threads)
        return payloads


def test_a_stage_works_on_the_next_batch_while_the_one_after_it_works_on_this_one(
    loadgen: IssuingLoadGen,
) -> None:
    second_begun = threading.Event()
    overlapped = []

    def first(indices: Indices) -> Indices:
        if indices[0] == 1:
            second_begun.set()
        return indices

    def second(indices: Indices) -> Outputs:
        if indices[0] == 0:  # batch 0 is not finished before batch 1 has begun
            overlapped.append(second_begun.wait(PATIENCE))
        return echo(indices)

    case = Case(loadgen, [Stage("first", first), Stage("second", second)])
    case.issue(3)
    assert case.finish() == as_bytes(range(3))
    assert overlapped == [True]


def test_a_slow_stage_holds_up_those_before_it(loadgen: IssuingLoadGen) -> None:
    gate = threading.Event()
    full = threading.Event()
    begun: list[int] = []

    def first(indices: Indices) -> Indices:
        begun.append(int(indices[0]))
        if len(begun) == 3:
            full.set()
        return indices

    def second(indices: Indices) -> Outputs:
        assert gate.wait(PATIENCE)
        return echo(indices)

    case = Case(loadgen, [Stage("first", first), Stage("second", second)])
    case.issue(10)
    assert full.wait(PATIENCE)
    # One batch is in the second stage, one waits for it, one is held by the first stage.
    assert begun == [0, 1, 2]
    gate.set()
    assert case.finish() == as_bytes(range(10))
    assert begun == list(range(10))


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_whatever_stage_raises_only_its_batch_fails(broken: int, loadgen: IssuingLoadGen) -> None:
    def stage(number: int) -> Stage:
        def work(value: Any) -> Any:
            data = value.data[:, 0] if isinstance(value, Outputs) else value
            if number == broken and data[0] == 1:
                raise ValueError("not this one")
            return echo(data) if number == 2 else value

        return Stage(f"stage{number}", work)

    case = Case(loadgen, [stage(0), stage(1), stage(2)])
    case.issue(3)
    assert case.finish() == [*as_bytes([0]), b"", *as_bytes([2])]
    assert codes(case.responder) == {"raised": 1}


@pytest.mark.parametrize("dying", [0, 1, 2])
def test_a_worker_that_dies_in_any_stage_leaves_nothing_waiting(
    dying: int, loadgen: IssuingLoadGen
) -> None:
    def stage(number: int) -> Stage:
        def work(value: Any) -> Any:
            if number == dying:
                raise SystemExit("gone")
            return value

        return Stage(f"stage{number}", work)

    case = Case(loadgen, [stage(0), stage(1), stage(2)])
    case.issue(8)
    case.sut.flush()
    case.issue(2)  # issued after the death, and answered all the same
    assert case.finish() == [b""] * 10
    assert case.responder.aborted


def test_every_stage_may_have_several_workers(loadgen: IssuingLoadGen) -> None:
    together = threading.Barrier(2, timeout=PATIENCE)

    def middle(indices: Indices) -> Indices:
        together.wait()  # passes only when both workers are in it
        return indices

    stages = [passing("before", 2), Stage("middle", middle, workers=2), Stage("after", echo, 2)]
    case = Case(loadgen, stages)
    case.issue(8)
    assert case.finish() == as_bytes(range(8))


def test_what_is_on_its_way_is_answered_before_closing(loadgen: IssuingLoadGen) -> None:
    case = Case(loadgen, [passing("before"), Stage("after", echo)])
    case.issue(20)
    case.sut.close()
    assert loadgen.payloads() == as_bytes(range(20))


def test_the_longest_samples_are_computed_first_and_answered_as_themselves(
    loadgen: IssuingLoadGen,
) -> None:
    lengths = np.array([3, 9, 1, 9, 5])
    seen: list[int] = []

    def only(indices: Indices) -> Outputs:
        seen.extend(indices.tolist())
        return echo(indices)

    case = Case(loadgen, [Stage("only", only)], order=longest_first(lengths))
    case.issue(5)
    assert case.finish() == as_bytes(range(5))
    assert seen == [1, 3, 4, 0, 2]


def test_a_closed_handover_takes_nothing_more_and_gives_what_it_has() -> None:
    handover: Handover[int] = Handover(2)
    assert handover.put(1)
    handover.close()
    assert not handover.put(2)
    assert handover.take() == 1
    assert handover.take() is None


def test_closing_a_full_handover_frees_who_waits_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handover: Handover[int] = Handover(1)
    handover.put(1)
    refused: list[bool] = []
    waits = threading.Event()
    wait = handover._changed.wait

    def tell() -> bool:
        waits.set()  # the lock is held, and wait() alone frees it
        return wait()

    monkeypatch.setattr(handover._changed, "wait", tell)
    waiting = threading.Thread(target=lambda: refused.append(handover.put(2)))
    waiting.start()
    assert waits.wait(PATIENCE)
    handover.close()  # takes the lock, so comes after the thread has begun to wait
    waiting.join(PATIENCE)
    assert refused == [False]
