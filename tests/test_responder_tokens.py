"""Token counts and first tokens, as a LoadGen that tracks them wants to be told of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.loadgen.responder import Responder
from mlpinf_core.protocols import Outputs

from .issuing import (
    BEFORE_FIRST_TOKEN,
    FIRST_TOKEN_TOO_LATE,
    NO_TOKENS,
    as_bytes,
    codes,
    index_outputs,
)

if TYPE_CHECKING:
    from .issuing import IssuingLoadGen

FEW_AND_MANY = pytest.mark.parametrize("count", [1, 3, 8, 9, 20_000])


def tokens_of(loadgen: IssuingLoadGen, **exceptions: Any) -> list[int]:
    return [count for _, count in loadgen.answers(**exceptions)]


def firsts(loadgen: IssuingLoadGen) -> list[int]:
    return [sample for what, sample in loadgen.told if what == "first"]


# -- counts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outputs", [None, Outputs(np.arange(12)), Outputs(np.arange(12), np.arange(11))], ids=repr
)
def test_where_tokens_are_tracked_every_response_needs_its_count(
    loadgen: IssuingLoadGen, outputs: Outputs | None
) -> None:
    responder = Responder(token_latencies=True)
    responder.complete(responder.open(loadgen.issue(12, tokens=True)), outputs)
    assert codes(responder) == {"tokens": 12}
    assert loadgen.payloads(errors={NO_TOKENS: 12}) == [b""] * 12


def test_missing_token_counts_are_one_failure_that_says_so_however_many_queries_lack_them(
    loadgen: IssuingLoadGen,
) -> None:
    responder = Responder(token_latencies=True)
    slots = responder.open(loadgen.issue(12, tokens=True))
    for some in (slots[:4], slots[4:5], slots[5:]):
        responder.complete(some, Outputs(np.arange(len(some))))
    ((failure, count),) = responder.failures().items()
    assert (failure.code, count) == ("tokens", 12)
    assert failure.message == "the backend returned no token counts"
    assert loadgen.payloads(errors={NO_TOKENS: 12}) == [b""] * 12


@FEW_AND_MANY
def test_token_counts_are_told_and_summed(loadgen: IssuingLoadGen, count: int) -> None:
    responder = Responder(token_latencies=True)
    slots = responder.open(loadgen.issue(count, tokens=True))
    counts = np.arange(2, count + 2, dtype=np.int32)
    responder.complete(slots, index_outputs(count, n_tokens=counts))
    assert tokens_of(loadgen) == counts.tolist()
    assert responder.progress().tokens == counts.sum()


@pytest.mark.parametrize("count", [2, 12])
def test_tokens_of_samples_that_were_not_open_do_not_count(
    loadgen: IssuingLoadGen, count: int
) -> None:
    responder = Responder(token_latencies=True)
    slots = responder.open(loadgen.issue(count, tokens=True))
    responder.fail(slots[:1], "lost")
    responder.complete(slots, index_outputs(count, n_tokens=np.full(count, 5)))
    assert responder.progress().tokens == 5 * (count - 1)
    assert codes(responder) == {"raised": 1, "duplicate": 1}
    assert tokens_of(loadgen, errors={NO_TOKENS: 1}) == [0, *[5] * (count - 1)]


# -- first tokens ----------------------------------------------------------------------------------


@FEW_AND_MANY
def test_a_first_token_that_nobody_reported_is_reported_with_the_completion(
    loadgen: IssuingLoadGen, count: int
) -> None:
    responder = Responder(token_latencies=True, first_tokens=True)
    slots = responder.open(loadgen.issue(count, first_tokens=True))
    some = slots[: count // 2]
    responder.first_token(some)
    assert firsts(loadgen) == list(some)
    responder.first_token(np.array(list(some) * 2, dtype=np.int64))
    responder.complete(slots, index_outputs(count, n_tokens=np.full(count, 2)))
    responder.first_token(slots)
    assert sorted(firsts(loadgen)) == list(range(count))
    assert loadgen.payloads() == as_bytes(range(count))
    assert not responder.failures()


def test_failing_a_sample_reports_its_first_token_too(loadgen: IssuingLoadGen) -> None:
    responder = Responder(token_latencies=True, first_tokens=True)
    responder.fail(responder.open(loadgen.issue(1, first_tokens=True)), "broken")
    assert loadgen.told == [("first", 0), ("complete", 0)]
    assert loadgen.payloads(errors={NO_TOKENS: 1}) == [b""]


def test_first_tokens_are_not_told_where_loadgen_does_not_want_them(
    loadgen: IssuingLoadGen,
) -> None:
    responder = Responder()
    slots = responder.open(loadgen.issue(20))
    responder.first_token(slots)
    responder.complete(slots, index_outputs(20))
    assert firsts(loadgen) == []
    assert loadgen.payloads() == as_bytes(range(20))


def test_threads_that_report_the_same_first_tokens_report_each_once(
    loadgen: IssuingLoadGen,
) -> None:
    responder = Responder(token_latencies=True, first_tokens=True)
    count, workers = 1000, 4
    responder.open(loadgen.issue(count, first_tokens=True))

    def work(number: int) -> None:
        order = np.random.default_rng(number).permutation(count)
        for part in np.array_split(order, [1, 5, 9, 40, 100, 101, 300]):
            responder.first_token(part)
            responder.complete(part, Outputs(part[:, np.newaxis], np.full(len(part), 2)))

    loadgen.run_together(*(partial(work, number) for number in range(workers)))
    assert codes(responder) == {"duplicate": count * (workers - 1)}
    assert sorted(loadgen.told) == sorted(
        (what, sample) for what in ("first", "complete") for sample in range(count)
    )
    order = {item: place for place, item in enumerate(loadgen.told)}
    assert all(order["first", sample] < order["complete", sample] for sample in range(count))
    # LoadGen keeps a log a thread, and reads them one after the other: it may take a sample's
    # completion to come before its first token where different threads told it of them. Then it
    # finds fault with both; with one that was told twice, or never, with one only.
    errors = loadgen.errors()
    assert set(errors) <= {BEFORE_FIRST_TOKEN, FIRST_TOKEN_TOO_LATE}
    assert errors[BEFORE_FIRST_TOKEN] == errors[FIRST_TOKEN_TOO_LATE]


def first_data(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What LoadGen is told of first tokens, in order."""
    import ctypes

    import mlperf_loadgen as lg

    told: list[bytes] = []
    original = lg.FirstTokenComplete

    def watch(responses: list[Any]) -> None:
        told.extend(ctypes.string_at(r.data, r.size) if r.size else b"" for r in responses)
        original(responses)

    monkeypatch.setattr(lg, "FirstTokenComplete", watch)
    return told


def token_outputs(count: int) -> Outputs:
    """Answers of three tokens, the first of which is the sample's position plus 100."""
    data = np.arange(count, dtype=np.int32)[:, np.newaxis] + np.array([100, 7, 8], np.int32)
    return Outputs(data, np.full(count, 3))


@pytest.mark.parametrize("count", [1, 3, 500])
def test_a_first_token_that_was_not_told_is_the_answers_first(
    count: int, loadgen: IssuingLoadGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = first_data(monkeypatch)
    responder = Responder(token_latencies=True, first_tokens=True, dtype="int32")
    slots = responder.open(loadgen.issue(count, first_tokens=True))
    responder.complete(slots, token_outputs(count))
    assert told[-count:] == [np.int32(100 + n).tobytes() for n in range(count)]


@pytest.mark.parametrize(
    "tokens",
    [np.arange(3), np.arange(8).reshape(4, 2), np.int32(1), ["a"] * 4, [None] * 4, [[1], [2, 3]]],
    ids=str,
)
def test_first_tokens_that_are_not_one_a_sample_are_one_clear_failure(
    tokens: Any, loadgen: IssuingLoadGen
) -> None:
    responder = Responder(token_latencies=True, first_tokens=True, dtype="int32")
    slots = responder.open(loadgen.issue(8, first_tokens=True))
    for some in (slots[:4], slots[4:]):
        responder.first_token(some, tokens)
    responder.complete(slots, token_outputs(8))
    ((failure, count),) = responder.failures().items()
    assert (failure.code, count) == ("tokens", 8)
    assert "first tokens" in failure.message
    assert firsts(loadgen) == list(range(8))
    assert loadgen.errors() == {}


def test_first_tokens_that_are_objects_are_never_told_by_their_addresses(
    loadgen: IssuingLoadGen,
) -> None:
    responder = Responder(token_latencies=True, first_tokens=True)
    slots = responder.open(loadgen.issue(2, first_tokens=True))
    responder.first_token(slots, np.array([1, 2], dtype=object))
    responder.complete(slots, token_outputs(2))
    assert codes(responder) == {"tokens": 2}


@pytest.mark.parametrize("count", [2, 300])
def test_first_tokens_that_were_told_come_with_their_ids_and_are_told_once(
    count: int, loadgen: IssuingLoadGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = first_data(monkeypatch)
    responder = Responder(token_latencies=True, first_tokens=True, dtype="int32")
    slots = responder.open(loadgen.issue(count, first_tokens=True))
    some = np.arange(0, count, 2) + slots.start
    before = len(told)
    responder.first_token(some, np.arange(0, count, 2, dtype=np.int32) + 100)
    responder.first_token(some[::-1], np.zeros(len(some), np.int32))
    responder.complete(slots, token_outputs(count))
    found = [int(np.frombuffer(data, np.int32)[0]) for data in told[before:]]
    assert found == [100 + n for n in range(0, count, 2)] + [100 + n for n in range(1, count, 2)]
