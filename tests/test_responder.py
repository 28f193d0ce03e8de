"""The Responder: each sample is completed once, whatever backends and threads do."""

from __future__ import annotations

import gc
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.loadgen.failures import MOST_KINDS, Failure
from mlpinf_core.loadgen.responder import Responder
from mlpinf_core.protocols import Outputs

from .issuing import as_bytes, codes, index_outputs

if TYPE_CHECKING:
    from .issuing import IssuingLoadGen

FEW_AND_MANY = pytest.mark.parametrize("count", [1, 3, 8, 9, 20_000])


# -- answering -------------------------------------------------------------------------------------


@FEW_AND_MANY
def test_each_sample_gets_the_row_in_its_place(loadgen: IssuingLoadGen, count: int) -> None:
    responder = Responder(dtype=np.int64)
    slots = responder.open(loadgen.issue(count))
    responder.complete(slots, index_outputs(count))
    assert loadgen.payloads() == as_bytes(range(count))
    assert responder.progress().completed == responder.progress().issued == count
    assert not responder.failures()


@FEW_AND_MANY
def test_slots_in_any_order_take_their_rows_along(loadgen: IssuingLoadGen, count: int) -> None:
    responder = Responder()
    responder.open(loadgen.issue(count))
    order = np.random.default_rng(1).permutation(count)
    responder.complete(order, Outputs(order[:, np.newaxis]))
    assert loadgen.completed == order.tolist()
    assert loadgen.payloads() == as_bytes(range(count))


def before_telling(monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    """Do something whenever LoadGen is about to be told of answers that have been laid out."""
    for name in ("_tell_few", "_tell_many"):
        tell = getattr(Responder, name)

        def act_and_tell(*arguments: Any, tell: Any = tell) -> None:
            action()
            tell(*arguments)

        monkeypatch.setattr(Responder, name, act_and_tell)


@pytest.mark.parametrize("count", [1, 8, 5000])
def test_payloads_live_until_loadgen_has_copied_them(
    loadgen: IssuingLoadGen, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []

    def take_the_place_of_what_was_freed() -> None:
        gc.collect()
        kept.extend(np.full((count, 2), 7, dtype=np.int64) for _ in range(100))

    before_telling(monkeypatch, take_the_place_of_what_was_freed)
    responder = Responder()
    slots = responder.open(loadgen.issue(count))
    rows = np.arange(4 * count).reshape(count, 4)[:, ::2]
    responder.complete(slots, Outputs(rows))  # which only the Responder has in one piece
    assert loadgen.payloads() == [row.tobytes() for row in rows]
    assert kept


@FEW_AND_MANY
def test_a_benchmark_without_payload_answers_with_nothing(
    loadgen: IssuingLoadGen, count: int
) -> None:
    responder = Responder()
    responder.complete(responder.open(loadgen.issue(count)), None)
    assert loadgen.payloads() == [b""] * count
    assert not responder.failures()


def test_completing_nothing_is_nothing(loadgen: IssuingLoadGen) -> None:
    responder = Responder(dtype=np.int64)
    responder.open(loadgen.issue(2))
    responder.complete(range(0), Outputs(np.empty((0, 1), dtype=np.int64)))
    responder.complete(np.array([], dtype=np.int64), Outputs([]))
    responder.complete([], Outputs([]))  # type: ignore[arg-type]
    assert loadgen.told == []
    assert not responder.failures()


# -- what is not open ------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [1, 50])
def test_what_is_named_twice_in_a_call_is_answered_once(
    loadgen: IssuingLoadGen, extra: int
) -> None:
    responder = Responder()
    responder.open(loadgen.issue(3))
    slots = np.array([0, 2, *[0] * extra, 1])
    responder.complete(slots, Outputs(np.arange(100, 103 + extra)))
    assert loadgen.payloads() == as_bytes([100, 102 + extra, 101])
    assert codes(responder) == {"duplicate": extra}


@FEW_AND_MANY
def test_what_is_completed_again_is_answered_once(loadgen: IssuingLoadGen, count: int) -> None:
    responder = Responder()
    slots = responder.open(loadgen.issue(count))
    responder.complete(slots, index_outputs(count))
    responder.complete(slots, Outputs(np.full(count, -1)))
    assert loadgen.payloads() == as_bytes(range(count))
    assert codes(responder) == {"duplicate": count}


@pytest.mark.parametrize("count", [2, 12])
def test_what_was_never_issued_is_told_apart_and_the_rest_is_answered(
    loadgen: IssuingLoadGen, count: int
) -> None:
    responder = Responder()
    responder.open(loadgen.issue(count))
    responder.complete(np.arange(-1, count + 1), index_outputs(count + 2))
    assert loadgen.payloads() == as_bytes(range(1, count + 1))
    assert codes(responder) == {"unknown": 2}


@pytest.mark.parametrize(
    "slots",
    [None, 3, "abc", [0.5], np.array([[0, 1]]), [[0], [1, 2]], [None], iter([0, 1]), {"a": 1}],
    ids=str,
)
def test_slots_that_are_none_are_a_failure_and_leave_samples_to_be_found_missing(
    loadgen: IssuingLoadGen, slots: Any
) -> None:
    responder = Responder(first_tokens=True)
    responder.open(loadgen.issue(2))
    responder.first_token(slots)
    responder.complete(slots, index_outputs(2))
    responder.fail(slots, "whatever")
    assert loadgen.told == []
    assert set(codes(responder)) == {"unknown"}
    assert responder.close_open() == 2
    assert loadgen.payloads() == [b"", b""]


# -- failing, aborting, closing --------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 40])
def test_failing_a_batch_leaves_alone_what_was_answered(
    loadgen: IssuingLoadGen, count: int
) -> None:
    responder = Responder()
    slots = responder.open(loadgen.issue(count))
    responder.complete(slots[:3], index_outputs(3))
    responder.fail(slots, ValueError("no more"))
    assert loadgen.payloads() == [*as_bytes(range(3)), *[b""] * (count - 3)]
    assert responder.failures() == {Failure("raised", "ValueError: no more"): count - 3}


def test_after_an_abort_every_query_is_answered_as_it_comes(loadgen: IssuingLoadGen) -> None:
    responder = Responder()
    early = responder.open(loadgen.issue(3))
    responder.abort("the engine is gone")
    assert loadgen.completed == [0, 1, 2]
    late = responder.open(loadgen.issue(2))
    assert loadgen.completed == [0, 1, 2, 3, 4]
    assert responder.aborted
    assert responder.progress().failed == 5
    # A backend that was busy meanwhile answers what has been answered for it: no news.
    responder.complete(early, index_outputs(3))
    responder.complete(late, index_outputs(2))
    responder.abort("again")
    assert responder.failures() == {Failure("raised", "the engine is gone"): 5}
    assert loadgen.payloads() == [b""] * 5


def test_an_abort_is_told_even_where_the_same_failure_was_seen_before(
    loadgen: IssuingLoadGen,
) -> None:
    told = []
    responder = Responder(on_failure=lambda failure, error: told.append((failure.message, error)))
    responder.fail(responder.open(loadgen.issue(1)), "broken")
    responder.fail(responder.open(loadgen.issue(1)), "broken")
    assert told == [("broken", None)]
    responder.abort("broken")
    assert told == [("broken", None)] * 2


def test_the_exception_is_told_with_its_failure(loadgen: IssuingLoadGen) -> None:
    told = []
    responder = Responder(on_failure=lambda failure, error: told.append(error))
    error = ValueError("x")
    responder.fail(responder.open(loadgen.issue(1)), error)
    assert told == [error]


def test_what_is_open_at_the_end_is_missing(loadgen: IssuingLoadGen) -> None:
    responder = Responder()
    slots = responder.open(loadgen.issue(10))
    responder.complete(slots[2:5], index_outputs(3))
    assert responder.close_open(slots[:4]) == 2
    assert responder.close_open() == 5
    assert responder.close_open() == 0
    assert codes(responder) == {"missing": 7}
    assert loadgen.payloads() == [b"", b"", *as_bytes(range(3)), *[b""] * 5]


def test_messages_that_all_differ_are_lumped_together(loadgen: IssuingLoadGen) -> None:
    responder = Responder()
    for number in range(MOST_KINDS + 50):
        responder.fail(responder.open(loadgen.issue(1)), f"at {number}")
    failures = responder.failures()
    assert len(failures) == MOST_KINDS + 1
    assert sum(failures.values()) == MOST_KINDS + 50


def test_a_listener_that_raises_does_not_stop_the_answering(loadgen: IssuingLoadGen) -> None:
    def listen(failure: Failure, error: BaseException | None) -> None:
        raise RuntimeError("listener")

    responder = Responder(on_failure=listen)
    slots = responder.open(loadgen.issue(2))
    responder.fail(slots[:1], "broken")
    responder.complete(slots[1:], index_outputs(1))
    assert loadgen.payloads() == [b"", *as_bytes([0])]


def failing_once(error: BaseException) -> Any:
    """What raises the error when it is called first, and then nothing more."""
    errors = [error]

    def fail() -> None:
        if errors:
            raise errors.pop()

    return fail


@pytest.mark.parametrize("count", [1, 500])
def test_when_loadgen_cannot_be_told_the_test_is_aborted(
    loadgen: IssuingLoadGen, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_telling(monkeypatch, failing_once(MemoryError()))
    told = []
    responder = Responder(on_failure=lambda failure, error: told.append(failure.code))
    slots = responder.open(loadgen.issue(count))
    other = responder.open(loadgen.issue(2))
    responder.complete(slots, index_outputs(count))
    assert responder.aborted
    assert told == ["lost"]
    assert loadgen.completed == [count, count + 1]
    responder.complete(other, index_outputs(2))
    assert codes(responder) == {"lost": 2}
    # What may have been lost is not told again: LoadGen would take it for completed twice.
    assert loadgen.payloads(left_open=range(count)) == [b""] * (count + 2)


def test_an_interruption_while_loadgen_is_told_aborts_and_goes_on_upwards(
    loadgen: IssuingLoadGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_telling(monkeypatch, failing_once(KeyboardInterrupt()))
    responder = Responder()
    slots = responder.open(loadgen.issue(1))
    with pytest.raises(KeyboardInterrupt):
        responder.complete(slots, index_outputs(1))
    assert responder.aborted


# -- threads ---------------------------------------------------------------------------------------


def test_threads_that_complete_the_same_samples_answer_each_once(
    loadgen: IssuingLoadGen,
) -> None:
    responder = Responder()
    count, workers, queries = 3000, 4, 200
    ids = loadgen.issue(count + 30 * queries)
    slots = responder.open(ids[:count])

    def work(number: int) -> None:
        order = np.random.default_rng(number).permutation(count)
        for part in np.array_split(order, [1, 5, 9, 40, 300, 301, 1000]):
            responder.complete(part, Outputs(part[:, np.newaxis]))

    def issue() -> None:
        for start in range(count, len(ids), 30):
            late = responder.open(ids[start : start + 30])
            responder.complete(late, index_outputs(30))

    loadgen.run_together(*(partial(work, number) for number in range(workers)), issue)
    assert loadgen.payloads() == as_bytes([*slots, *list(range(30)) * queries])
    assert codes(responder) == {"duplicate": count * (workers - 1)}
    assert responder.progress().issued == responder.progress().completed == len(ids)


def test_an_abort_during_issuing_leaves_nothing_open(loadgen: IssuingLoadGen) -> None:
    responder = Responder()
    started = threading.Event()
    ids = loadgen.issue(4000)

    def issue() -> None:
        for start in range(0, len(ids), 2):
            responder.open(ids[start : start + 2])
            started.set()

    def abort() -> None:
        started.wait()
        responder.abort("stop")

    loadgen.run_together(issue, abort)
    assert loadgen.payloads() == [b""] * 4000
    assert responder.progress().completed == 4000
