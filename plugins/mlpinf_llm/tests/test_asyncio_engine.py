"""The engine on an event loop ends every sample once, whatever its service does."""

from __future__ import annotations

import asyncio
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
from mlpinf_llm.asyncio_engine import AsyncioEngine
from mlpinf_llm.faults import refused
from mlpinf_llm.token_rules import exact

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.protocols import Slots

END, CAP = 2, 4


class Record:
    """What the desk told of, in the place of a Responder."""

    least_tokens = 1

    def __init__(self) -> None:
        self.aborted = False
        self.stops_at_first = False
        self.first: list[int] = []
        self.done: dict[int, list[int]] = {}
        self.failed: dict[int, str] = {}
        self.reason = ""
        self.calls = 0

    def first_token(self, slots: Slots, tokens: Any = None) -> None:
        assert not {*map(int, slots)} & (self.done.keys() | self.failed.keys())
        self.first += map(int, slots)

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        assert outputs is not None
        self.calls += 1
        for slot, answer in zip(slots, outputs.data, strict=True):
            assert int(slot) not in self.done.keys() | self.failed.keys()
            self.done[int(slot)] = answer.tolist()

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        for slot in map(int, slots):
            assert slot not in self.done.keys() | self.failed.keys()
            self.failed[slot] = Failure.of(reason).message
        self.aborted = self.aborted or self.stops_at_first

    def abort(self, reason: Failure | BaseException | str) -> None:
        self.aborted = True
        self.reason = Failure.of(reason).message


class Scripted:
    """Does with each sample what its script says, after as many turns of the loop as it says."""

    def __init__(self, script: list[tuple[str, int]]) -> None:
        self.script = script
        self.now = self.most = self.cancelled = 0
        self.loops: set[Any] = set()
        self.closed = False

    async def open(self) -> None:
        self.loops.add(asyncio.get_running_loop())

    async def answer(self, index: int, first: Callable[[int], None] | None) -> list[int]:
        what, turns = self.script[index]
        self.loops.add(asyncio.get_running_loop())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            if first is not None and what != "nothing":
                first(index)
            await asyncio.sleep(0)
            return await self.end(what, index)
        except asyncio.CancelledError:
            self.cancelled += what == "hangs"
            raise
        finally:
            self.now -= 1

    async def end(self, what: str, index: int) -> list[int]:
        if what == "refused":
            raise refused("no")
        if what == "raises":
            raise ValueError("broken")
        if what == "cancels":
            raise asyncio.CancelledError
        if what == "dies":
            raise BackendError("the engine is dead")
        if what == "hangs":
            await asyncio.Event().wait()
        return {"long": [9] * (CAP + 1), "nothing": [], "on": [9, END, 9]}.get(
            what, [index + 10, 11, END]
        )

    async def close(self) -> None:
        self.closed = True


def engine_of(service: Scripted, *, room: int = 8, stream: bool = True) -> AsyncioEngine:
    made = AsyncioEngine(service, room=room, stream=stream, cap=CAP, stop_ids=frozenset({END}))
    made.open()
    return made


def answer_all(service: Scripted, record: Record, parts: list[int], **options: Any) -> None:
    """Issue queries of these sizes, flush, and close everything."""
    engine = engine_of(service, **options)
    sut = AsyncSut(record, engine)
    start = 0
    for part in parts:
        sut.issue(Query(range(start, start + part), np.arange(start, start + part)))
        start += part
    sut.flush()
    sut.close()
    engine.close()
    assert service.closed
    assert len(service.loops) == 1


ENDS = {
    "refused": "no",
    "raises": "ValueError: broken",
    "cancels": "the engine cancelled a request",
    "long": "an answer has more than the 4 tokens that were asked for",
    "nothing": "an answer has 0 tokens, and LoadGen takes 1 or more",
    "on": "an answer goes on after the id that ends it",
}


@given(
    script=st.lists(
        st.tuples(st.sampled_from(["good", *ENDS]), st.integers(0, 4)), min_size=1, max_size=30
    ),
    sizes=st.lists(st.integers(1, 10), min_size=1, max_size=30),
    room=st.integers(1, 40),
    stream=st.booleans(),
)
def test_every_sample_ends_once_as_its_request_ended(
    script: list[tuple[str, int]], sizes: list[int], room: int, stream: bool
) -> None:
    parts, left = [], len(script)
    for size in [*sizes, len(script)]:
        parts.append(min(size, left))
        left -= parts[-1]
    record, service = Record(), Scripted(script)
    answer_all(service, record, [part for part in parts if part], room=room, stream=stream)
    good = {n: [n + 10, 11] for n, (what, _) in enumerate(script) if what == "good"}
    bad = {n: ENDS[what] for n, (what, _) in enumerate(script) if what in ENDS}
    assert record.done == good
    assert record.failed == bad
    assert service.most <= room
    begun = {n for n, (what, _) in enumerate(script) if what != "nothing"}
    assert sorted(record.first) == (sorted(begun) if stream else [])


def test_answers_are_told_of_in_batches() -> None:
    record, service = Record(), Scripted([("good", 0)] * 1000)
    answer_all(service, record, [1000], room=1000)
    assert len(record.done) == 1000
    assert record.calls < 100


def test_an_engine_that_dies_ends_the_test_with_its_error() -> None:
    record = Record()
    service = Scripted([("good", 0), ("hangs", 0), ("dies", 3), ("good", 9)])
    answer_all(service, record, [4])
    assert record.aborted
    assert record.reason == "BackendError: the engine is dead"
    assert service.cancelled == 1


def test_requests_are_dropped_when_the_test_is_over_at_the_first_failure() -> None:
    record, service = Record(), Scripted([("hangs", 0), ("refused", 2), ("hangs", 0)])
    record.stops_at_first = True
    answer_all(service, record, [3])
    assert record.failed == {1: "no"}
    assert service.cancelled == 2


def test_one_loop_serves_the_warm_up_and_the_test() -> None:
    service = Scripted([("good", 0)] * 4)
    engine = engine_of(service)
    for _ in range(2):
        record = Record()
        sut = AsyncSut(record, engine)
        sut.issue(Query(range(4), np.arange(4)))
        sut.flush()
        sut.close()
        assert len(record.done) == 4
    engine.close()
    assert len(service.loops) == 1


def test_samples_that_come_one_by_one_from_another_thread_are_not_missed() -> None:
    service, record = Scripted([("good", 1)] * 2000), Record()
    engine = engine_of(service)
    sut = AsyncSut(record, engine)

    def issue() -> None:
        for number in range(2000):
            sut.issue(Query(range(number, number + 1), np.array([number])))

    thread = threading.Thread(target=issue)
    thread.start()
    thread.join()
    sut.flush()
    sut.close()
    engine.close()
    assert sorted(record.done) == list(range(2000))


def test_what_a_service_leaves_on_the_loop_is_ended() -> None:
    class Leaving(Scripted):
        async def open(self) -> None:
            await super().open()
            self.task = asyncio.create_task(asyncio.Event().wait())

    service = Leaving([])
    engine = engine_of(service)
    engine.close()
    assert service.task.cancelled()
    engine.wake()  # of a SUT that is closed late


@pytest.mark.parametrize("ids", [[2**31], [-(2**31) - 1], ["a"]])
def test_ids_that_no_vocabulary_has_are_refused(ids: list[Any]) -> None:
    with pytest.raises(Exception, match="no vocabulary has"):
        exact(ids, CAP, frozenset({END}))


@given(ids=st.lists(st.integers(3, 1000), max_size=CAP), ended=st.booleans())
def test_tokens_are_what_came_without_the_end(ids: list[int], ended: bool) -> None:
    found = exact([*ids, END] if ended else ids, CAP, frozenset({END}))
    assert found.tolist() == ids
    assert found.dtype == np.int32
