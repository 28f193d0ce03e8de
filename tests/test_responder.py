"""The Responder: each sample is completed once, whatever backends and threads do."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.loadgen.failures import MOST_KINDS, Failure
from mlpinf_core.loadgen.responder import Responder
from mlpinf_core.protocols import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RecordingLoadGen

FEW_AND_MANY = pytest.mark.parametrize("count", [1, 3, 8, 9, 20_000])
INT64 = np.dtype(np.int64)


def ids_of(count: int) -> list[int]:
    return [2**40 + 64 * number for number in range(count)]


def index_outputs(count: int, **more: Any) -> Outputs:
    return Outputs(np.arange(count, dtype=np.int64)[:, np.newaxis], **more)


def codes(responder: Responder) -> dict[str, int]:
    found: dict[str, int] = {}
    for failure, count in responder.failures().items():
        found[failure.code] = found.get(failure.code, 0) + count
    return found


# -- answering -------------------------------------------------------------------------------------


@FEW_AND_MANY
def test_each_sample_gets_the_row_in_its_place(loadgen: RecordingLoadGen, count: int) -> None:
    responder = Responder(dtype=np.int64)
    slots = responder.open(ids_of(count))
    responder.complete(slots, index_outputs(count))
    expected = {id_: [(np.int64(i).tobytes(), 0)] for i, id_ in enumerate(ids_of(count))}
    assert loadgen.answers == expected
    assert responder.progress().completed == responder.progress().issued == count
    assert not responder.failures()


@FEW_AND_MANY
def test_slots_in_any_order_take_their_rows_along(loadgen: RecordingLoadGen, count: int) -> None:
    responder = Responder()
    responder.open(ids_of(count))
    order = np.random.default_rng(1).permutation(count)
    responder.complete(order, Outputs(order[:, np.newaxis]))
    expected = {id_: [(np.int64(i).tobytes(), 0)] for i, id_ in enumerate(ids_of(count))}
    assert loadgen.answers == expected


@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lambda n: np.arange(n, dtype=np.int64), lambda i: np.int64(i).tobytes()),
        (lambda n: np.arange(4 * n, dtype=np.int16).reshape(n, 4)[:, ::2], None),
        (lambda n: np.arange(6 * n, dtype=np.uint8).reshape(n, 2, 3), None),
        (lambda n: np.asfortranarray(np.arange(3.0 * n).reshape(n, 3)), None),
        (lambda n: np.empty((n, 0), dtype=np.int32), lambda i: b""),
        (lambda n: [np.arange(i, dtype=np.int32) for i in range(n)], None),
        (lambda n: [np.arange(10, dtype=np.int32)[::3] for _ in range(n)], None),
        (lambda n: tuple(np.array([i]) for i in range(n)), None),
        (lambda n: [np.empty(0, dtype=np.int32)] * n, lambda i: b""),
    ],
    ids=["scalar", "strided", "3d", "fortran", "empty", "ragged", "strided-rows", "tuple", "none"],
)
def test_rows_of_any_shape_and_layout_are_logged_as_their_bytes(
    loadgen: RecordingLoadGen,
    count: int,
    data: Callable[[int], Any],
    expected: Callable[[int], bytes] | None,
) -> None:
    responder = Responder()
    rows = data(count)
    responder.complete(responder.open(ids_of(count)), Outputs(rows))
    found = [loadgen.answers[id_] for id_ in ids_of(count)]
    wanted = [expected(i) if expected else rows[i].tobytes() for i in range(count)]
    assert found == [[(payload, 0)] for payload in wanted]
    assert not responder.failures()


def test_payloads_live_until_loadgen_has_copied_them(loadgen: RecordingLoadGen) -> None:
    copy = loadgen.QuerySamplesComplete

    def complete(responses: list[Any]) -> None:
        gc.collect()
        np.full(100_000, 7, dtype=np.int64)  # would take the place of what was freed
        copy(responses)

    loadgen.QuerySamplesComplete = complete  # type: ignore[method-assign]
    responder = Responder()
    for count in (1, 8, 5000):
        ids = ids_of(5000)[:count]
        loadgen.answers.clear()
        # Every row is a temporary: nobody but the Responder can hold the contiguous copies.
        rows = (np.arange(2 * count).reshape(count, 2)[:, 1:] for _ in range(1))
        responder.complete(responder.open(ids), Outputs(next(rows)))
        assert [loadgen.answers[id_][0][0] for id_ in ids] == [
            np.int64(2 * i + 1).tobytes() for i in range(count)
        ]


@FEW_AND_MANY
def test_a_benchmark_without_payload_answers_with_nothing(
    loadgen: RecordingLoadGen, count: int
) -> None:
    responder = Responder()
    responder.complete(responder.open(ids_of(count)), None)
    assert [loadgen.answers[id_] for id_ in ids_of(count)] == [[(b"", 0)]] * count
    assert not responder.failures()


def test_completing_nothing_is_nothing(loadgen: RecordingLoadGen) -> None:
    responder = Responder(dtype=np.int64)
    responder.complete(range(0), Outputs(np.empty((0, 1), dtype=np.int64)))
    responder.complete(np.array([], dtype=np.int64), Outputs([]))
    responder.complete([], Outputs([]))  # type: ignore[arg-type]
    assert loadgen.told == []
    assert not responder.failures()


# -- what is not open ------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [1, 50])
def test_what_is_named_twice_in_a_call_is_answered_once(
    loadgen: RecordingLoadGen, extra: int
) -> None:
    responder = Responder()
    responder.open(ids_of(3))
    slots = np.array([0, 2, *[0] * extra, 1])
    responder.complete(slots, Outputs(np.arange(100, 103 + extra)))
    assert sorted(loadgen.completed) == ids_of(3)
    assert loadgen.answers[ids_of(3)[1]] == [(np.int64(102 + extra).tobytes(), 0)]
    assert codes(responder) == {"duplicate": extra}


@FEW_AND_MANY
def test_what_is_completed_again_is_answered_once(loadgen: RecordingLoadGen, count: int) -> None:
    responder = Responder()
    slots = responder.open(ids_of(count))
    responder.complete(slots, index_outputs(count))
    responder.complete(slots, index_outputs(count))
    assert sorted(loadgen.completed) == ids_of(count)
    assert codes(responder) == {"duplicate": count}


@pytest.mark.parametrize("count", [2, 12])
def test_what_was_never_issued_is_told_apart_and_the_rest_is_answered(
    loadgen: RecordingLoadGen, count: int
) -> None:
    responder = Responder()
    responder.open(ids_of(count))
    responder.complete(np.arange(-1, count + 1), index_outputs(count + 2))
    assert loadgen.answers[ids_of(count)[0]] == [(np.int64(1).tobytes(), 0)]
    assert sorted(loadgen.completed) == ids_of(count)
    assert codes(responder) == {"unknown": 2}


@pytest.mark.parametrize(
    "slots",
    [None, 3, "abc", [0.5], np.array([[0, 1]]), [[0], [1, 2]], [None], iter([0, 1]), {"a": 1}],
    ids=str,
)
def test_slots_that_are_none_are_a_failure_and_leave_samples_to_be_found_missing(
    loadgen: RecordingLoadGen, slots: Any
) -> None:
    responder = Responder(first_tokens=True)
    responder.open(ids_of(2))
    responder.first_token(slots)
    responder.complete(slots, index_outputs(2))
    responder.fail(slots, "whatever")
    assert loadgen.told == []
    assert set(codes(responder)) == {"unknown"}
    assert responder.close_open() == 2
    assert sorted(loadgen.completed) == ids_of(2)


# -- outputs that do not fit -----------------------------------------------------------------------


class Odd:
    """Says it has a length and cannot be read."""

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        raise RuntimeError("cannot be read")


odd: Any = Outputs
"""Outputs that a type checker would not let through."""


@pytest.mark.parametrize("repeat", [1, 5])
@pytest.mark.parametrize(
    ("outputs", "code"),
    [
        (odd(np.arange(3)), "count"),
        (odd(np.arange(5)), "count"),
        (odd([]), "count"),
        (odd(np.arange(4, dtype=np.int32)), "dtype"),
        (odd(np.array([1, "a", None, 2.0], dtype=object)), "dtype"),
        (odd([np.arange(2), np.arange(2), None, np.arange(2)]), "dtype"),
        (odd([np.arange(2), np.arange(2), np.arange(2.0), np.arange(2)]), "dtype"),
        (odd(["a", "b", "c", "d"]), "dtype"),
        (odd([[1], [2, [3]], [4], [5]]), "outputs"),
        (odd(iter([1, 2, 3, 4])), "outputs"),
        (odd(np.array(4)), "outputs"),
        (odd(None), "outputs"),
        (odd(Odd()), "outputs"),
        (np.arange(4), "outputs"),
        ([np.arange(4)], "outputs"),
        (None, "outputs"),
        (odd(np.arange(4), n_tokens=np.arange(3)), "tokens"),
        (odd(np.arange(4), n_tokens=np.arange(4.0)), "tokens"),
        (odd(np.arange(4), n_tokens=np.array([1, 2, -1, 4])), "tokens"),
        (odd(np.arange(4), n_tokens=[1, 2, None, 4]), "tokens"),
        (odd(np.arange(4), n_tokens=7), "tokens"),
    ],
    ids=repr,
)
def test_outputs_that_do_not_fit_fail_every_sample_of_the_batch(
    loadgen: RecordingLoadGen, outputs: Any, code: str, repeat: int
) -> None:
    count = 4 * repeat
    if repeat > 1:  # the same mistake in a batch that is handled by arrays
        outputs = enlarged(outputs, repeat)
    responder = Responder(dtype=np.int64)
    responder.complete(responder.open(ids_of(count)), outputs)
    assert [loadgen.answers[id_] for id_ in ids_of(count)] == [[(b"", 0)]] * count
    assert codes(responder) == {code: count}
    assert responder.progress().failed == responder.progress().completed == count


def enlarged(outputs: Any, times: int) -> Any:
    if not isinstance(outputs, Outputs):
        return outputs
    data: Any = outputs.data
    n_tokens: Any = outputs.n_tokens
    if isinstance(data, list) or (isinstance(data, np.ndarray) and data.ndim):
        data = list(data) * times if isinstance(data, list) else np.tile(data, times)
    elif isinstance(data, Odd):
        data = type("Odder", (Odd,), {"__len__": lambda _: 4 * times})()
    if isinstance(n_tokens, list | np.ndarray):
        n_tokens = n_tokens * times if isinstance(n_tokens, list) else np.tile(n_tokens, times)
    return odd(data, n_tokens)


def test_rows_of_several_dtypes_name_the_wrong_one_and_the_right_one(
    loadgen: RecordingLoadGen,
) -> None:
    responder = Responder(dtype="int32")
    responder.complete(responder.open([1]), Outputs(np.array([[1.5]])))
    (failure,) = responder.failures()
    assert "float64" in failure.message
    assert "int32" in failure.message


@pytest.mark.parametrize(
    "outputs", [None, Outputs(np.arange(12)), Outputs(np.arange(12), np.arange(11))], ids=repr
)
def test_where_tokens_are_tracked_every_response_needs_its_count(
    loadgen: RecordingLoadGen, outputs: Outputs | None
) -> None:
    responder = Responder(token_latencies=True)
    responder.complete(responder.open(ids_of(12)), outputs)
    assert codes(responder) == {"tokens": 12}
    assert sorted(loadgen.completed) == ids_of(12)


@FEW_AND_MANY
def test_token_counts_are_told_and_summed(loadgen: RecordingLoadGen, count: int) -> None:
    responder = Responder(token_latencies=True)
    slots = responder.open(ids_of(count))
    counts = np.arange(2, count + 2, dtype=np.int32)
    responder.complete(slots, index_outputs(count, n_tokens=counts))
    told = [loadgen.answers[id_][0][1] for id_ in ids_of(count)]
    assert told == counts.tolist()
    assert responder.progress().tokens == counts.sum()


@pytest.mark.parametrize("count", [2, 12])
def test_tokens_of_samples_that_were_not_open_do_not_count(
    loadgen: RecordingLoadGen, count: int
) -> None:
    responder = Responder(token_latencies=True)
    slots = responder.open(ids_of(count))
    responder.fail(slots[:1], "lost")
    responder.complete(slots, index_outputs(count, n_tokens=np.full(count, 5)))
    assert responder.progress().tokens == 5 * (count - 1)
    assert codes(responder) == {"raised": 1, "duplicate": 1}


# -- first tokens ----------------------------------------------------------------------------------


@FEW_AND_MANY
def test_a_first_token_that_nobody_reported_is_reported_with_the_completion(
    loadgen: RecordingLoadGen, count: int
) -> None:
    responder = Responder(first_tokens=True)
    slots = responder.open(ids_of(count))
    some = slots[: count // 2]
    responder.first_token(some)
    responder.first_token(np.array(list(some) * 2, dtype=np.int64))
    responder.complete(slots, index_outputs(count))
    responder.first_token(slots)
    told = loadgen.told
    assert sorted(id_ for what, id_ in told if what == "first") == ids_of(count)
    assert sorted(id_ for what, id_ in told if what == "complete") == ids_of(count)
    order = {item: place for place, item in enumerate(told)}
    assert all(order["first", id_] < order["complete", id_] for id_ in ids_of(count))
    assert not responder.failures()


def test_failing_a_sample_reports_its_first_token_too(loadgen: RecordingLoadGen) -> None:
    responder = Responder(first_tokens=True)
    responder.fail(responder.open([5]), "broken")
    assert loadgen.told == [("first", 5), ("complete", 5)]


def test_first_tokens_are_not_told_where_loadgen_does_not_want_them(
    loadgen: RecordingLoadGen,
) -> None:
    responder = Responder()
    slots = responder.open(ids_of(20))
    responder.first_token(slots)
    responder.complete(slots, index_outputs(20))
    assert {what for what, _ in loadgen.told} == {"complete"}


# -- failing, aborting, closing --------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 40])
def test_failing_a_batch_leaves_alone_what_was_answered(
    loadgen: RecordingLoadGen, count: int
) -> None:
    responder = Responder()
    slots = responder.open(ids_of(count))
    responder.complete(slots[:3], index_outputs(3))
    responder.fail(slots, ValueError("no more"))
    assert [loadgen.answers[id_][0][0] for id_ in ids_of(3)] == [
        np.int64(i).tobytes() for i in range(3)
    ]
    assert sorted(loadgen.completed) == ids_of(count)
    assert responder.failures() == {Failure("raised", "ValueError: no more"): count - 3}


def test_after_an_abort_every_query_is_answered_as_it_comes(loadgen: RecordingLoadGen) -> None:
    responder = Responder()
    early = responder.open(ids_of(3))
    responder.abort("the engine is gone")
    assert sorted(loadgen.completed) == ids_of(3)
    late = responder.open([7, 8])
    assert loadgen.completed[-2:] == [7, 8]
    assert responder.aborted
    assert responder.progress().failed == 5
    # A backend that was busy meanwhile answers what has been answered for it: no news.
    responder.complete(early, index_outputs(3))
    responder.complete(late, index_outputs(2))
    responder.abort("again")
    assert responder.failures() == {Failure("raised", "the engine is gone"): 5}


def test_an_abort_is_told_even_where_the_same_failure_was_seen_before(
    loadgen: RecordingLoadGen,
) -> None:
    told = []
    responder = Responder(on_failure=lambda failure, error: told.append((failure.message, error)))
    responder.fail(responder.open([1]), "broken")
    responder.fail(responder.open([2]), "broken")
    assert told == [("broken", None)]
    responder.abort("broken")
    assert told == [("broken", None)] * 2


def test_the_exception_is_told_with_its_failure(loadgen: RecordingLoadGen) -> None:
    told = []
    responder = Responder(on_failure=lambda failure, error: told.append(error))
    error = ValueError("x")
    responder.fail(responder.open([1]), error)
    assert told == [error]


def test_what_is_open_at_the_end_is_missing(loadgen: RecordingLoadGen) -> None:
    responder = Responder()
    slots = responder.open(ids_of(10))
    responder.complete(slots[2:5], index_outputs(3))
    assert responder.close_open(slots[:4]) == 2
    assert responder.close_open() == 5
    assert responder.close_open() == 0
    assert codes(responder) == {"missing": 7}
    assert sorted(loadgen.completed) == ids_of(10)


def test_messages_that_all_differ_are_lumped_together(loadgen: RecordingLoadGen) -> None:
    responder = Responder()
    for number in range(MOST_KINDS + 50):
        responder.fail(responder.open([number]), f"at {number}")
    failures = responder.failures()
    assert len(failures) == MOST_KINDS + 1
    assert sum(failures.values()) == MOST_KINDS + 50


def test_a_listener_that_raises_does_not_stop_the_answering(loadgen: RecordingLoadGen) -> None:
    def listen(failure: Failure, error: BaseException | None) -> None:
        raise RuntimeError("listener")

    responder = Responder(on_failure=listen)
    slots = responder.open(ids_of(2))
    responder.fail(slots[:1], "broken")
    responder.complete(slots[1:], index_outputs(1))
    assert sorted(loadgen.completed) == ids_of(2)


@pytest.mark.parametrize("count", [1, 500])
def test_when_loadgen_cannot_be_told_the_test_is_aborted(
    loadgen: RecordingLoadGen, count: int
) -> None:
    told = []
    responder = Responder(on_failure=lambda failure, error: told.append(failure.code))
    slots = responder.open(ids_of(count))
    other = responder.open([1, 2])
    loadgen.raises = MemoryError()
    responder.complete(slots, index_outputs(count))
    assert responder.aborted
    assert told == ["lost"]
    assert sorted(loadgen.completed) == [1, 2]
    responder.complete(other, index_outputs(2))
    assert codes(responder) == {"lost": 2}


def test_an_interruption_while_loadgen_is_told_aborts_and_goes_on_upwards(
    loadgen: RecordingLoadGen,
) -> None:
    responder = Responder()
    slots = responder.open([1])
    loadgen.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        responder.complete(slots, index_outputs(1))
    assert responder.aborted


# -- threads ---------------------------------------------------------------------------------------


def test_threads_that_complete_the_same_samples_answer_each_once(
    loadgen: RecordingLoadGen,
) -> None:
    responder = Responder(first_tokens=True)
    count, workers = 3000, 4
    slots = responder.open(ids_of(count))
    barrier = threading.Barrier(workers + 1)

    def work(number: int) -> None:
        order = np.random.default_rng(number).permutation(count)
        barrier.wait()
        for part in np.array_split(order, [1, 5, 9, 40, 300, 301, 1000]):
            responder.first_token(part)
            responder.complete(part, Outputs(part[:, np.newaxis]))

    def issue() -> None:
        barrier.wait()
        for number in range(200):
            late = responder.open([number] * 30)
            responder.complete(late, index_outputs(30))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(workers)]
    threads.append(threading.Thread(target=issue))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [loadgen.answers[id_] for id_ in ids_of(count)] == [
        [(np.int64(slot).tobytes(), 0)] for slot in slots
    ]
    first = [id_ for what, id_ in loadgen.told if what == "first"]
    assert sorted(first) == sorted(loadgen.completed)
    assert codes(responder) == {"duplicate": count * (workers - 1)}
    assert responder.progress().issued == responder.progress().completed == count + 6000


def test_an_abort_during_issuing_leaves_nothing_open(loadgen: RecordingLoadGen) -> None:
    responder = Responder()
    started = threading.Event()

    def issue() -> None:
        for number in range(2000):
            responder.open([number, number])
            started.set()

    thread = threading.Thread(target=issue)
    thread.start()
    started.wait()
    responder.abort("stop")
    thread.join()
    assert len(loadgen.completed) == 4000
    assert responder.progress().completed == 4000
