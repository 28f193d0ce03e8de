"""The SUT building blocks: batches reach the backend, and no failure of it leaves a query open."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from mlpinf_core.config.schema import SutSettings
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.loadgen.responder import Responder
from mlpinf_core.protocols import Outputs, Query, Sut
from mlpinf_core.suts.batching import BatchingSut
from mlpinf_core.suts.inline import InlineSut
from mlpinf_core.suts.pipeline import PipelineSut, Stage
from mlpinf_core.suts.streaming import Stream, StreamingSut

from .issuing import as_bytes, codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .issuing import IssuingLoadGen

    Infer = Callable[[np.ndarray[Any, Any]], Any]

ONE = SutSettings(max_batch_size=4, max_wait_ms=0)
KINDS = ["inline", "batching", "streaming", "two workers", "pipeline"]


class Harness:
    """A Responder with a SUT before it. LoadGen's sample 0 has index 10, sample 1 index 20, ..."""

    def __init__(self, loadgen: IssuingLoadGen, responder: Responder, sut: Sut) -> None:
        self.loadgen = loadgen
        self.responder = responder
        self.sut = sut
        self.issued = 0

    def issue(self, *counts: int) -> None:
        """Issue queries of so many samples each, as a test does."""
        for count in counts:
            slots = self.responder.open(self.loadgen.issue(count))
            indices = 10 * np.arange(1 + self.issued, 1 + self.issued + count, dtype=np.int64)
            self.issued += count
            self.sut.issue(Query(slots, indices))

    def finish(self) -> list[int | None]:
        """What follows on the last query; the index that each sample was answered with."""
        self.sut.flush()
        self.responder.close_open()
        payloads = self.loadgen.payloads()
        self.sut.close()
        return [int(np.frombuffer(p, dtype=np.int64)[0]) if p else None for p in payloads]

    @property
    def codes(self) -> dict[str, int]:
        return codes(self.responder)


def harness(kind: str, infer: Infer, loadgen: IssuingLoadGen) -> Harness:
    responder = Responder(dtype=np.int64)
    sut: Sut
    if kind == "inline":
        sut = InlineSut(responder, infer, max_batch_size=4)
    elif kind == "streaming":
        sut = StreamingSut(responder, lambda stream: infer(stream.indices), ONE)
    elif kind == "pipeline":
        sut = PipelineSut(responder, three_stages(infer), ONE)
    else:
        workers = 2 if kind == "two workers" else 1
        sut = BatchingSut(responder, infer, attrs.evolve(ONE, workers=workers))
    return Harness(loadgen, responder, sut)


def three_stages(infer: Infer) -> list[Stage]:
    """The second stage computes; the others pass on."""
    return [
        Stage("before", lambda value: value),
        Stage("compute", infer, workers=2),
        Stage("after", lambda value: value),
    ]


def echo(indices: np.ndarray[Any, Any]) -> Outputs:
    return Outputs(indices[:, np.newaxis])


@pytest.mark.parametrize("kind", KINDS)
def test_every_query_is_answered_with_its_own_sample(kind: str, loadgen: IssuingLoadGen) -> None:
    sizes = []

    def infer(indices: np.ndarray[Any, Any]) -> Outputs:
        sizes.append(len(indices))
        return echo(indices)

    case = harness(kind, infer, loadgen)
    case.issue(1, 3, 11, *[1] * 50)
    answers = case.finish()
    assert max(sizes) <= 4
    assert answers == [10 * (1 + sample) for sample in range(65)]
    assert case.codes == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda indices: echo(indices[:-1]), "count"),
        (lambda indices: echo(np.repeat(indices, 2)), "count"),
        (lambda indices: Outputs(indices.astype(np.float32)), "dtype"),
        (lambda indices: indices, "outputs"),
        (lambda indices: 1 / 0, "raised"),
    ],
    ids=["few", "many", "dtype", "type", "raises"],
)
def test_a_batch_that_goes_wrong_fails_alone(
    kind: str, wrong: Infer, code: str, loadgen: IssuingLoadGen
) -> None:
    def infer(indices: np.ndarray[Any, Any]) -> Any:
        return wrong(indices) if indices[0] == 50 else echo(indices)

    case = harness(kind, infer, loadgen)
    case.issue(4, 4, 4)  # one batch each; the second begins with index 50
    nothing = [None] * 4
    assert case.finish() == [10, 20, 30, 40, *nothing, 90, 100, 110, 120]
    assert case.codes == {code: 4}


@pytest.mark.parametrize("kind", ["inline", "batching"])
def test_a_backend_that_answers_nothing_fails_its_queries(
    kind: str, loadgen: IssuingLoadGen
) -> None:
    case = harness(kind, lambda indices: None, loadgen)
    case.issue(3)
    case.finish()
    assert case.codes == {"outputs": 3}


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
@pytest.mark.parametrize("kind", ["batching", "streaming", "two workers", "pipeline"])
def test_a_worker_that_dies_leaves_no_query_waiting(
    kind: str, death: type[BaseException], loadgen: IssuingLoadGen
) -> None:
    def infer(indices: np.ndarray[Any, Any]) -> Any:
        raise death("gone")

    case = harness(kind, infer, loadgen)
    case.issue(4, 4)
    case.sut.flush()
    case.issue(4)
    case.finish()
    assert case.codes == {"raised": 12}
    assert all(death.__name__ in failure.message for failure in case.responder.failures())
    assert case.responder.aborted == (not issubclass(death, Exception))


def test_after_an_abort_what_is_queued_does_not_reach_the_backend(
    loadgen: IssuingLoadGen,
) -> None:
    computing, go_on, computed = threading.Event(), threading.Event(), []

    def infer(indices: np.ndarray[Any, Any]) -> Outputs:
        computed.append(indices[0])
        computing.set()
        assert go_on.wait(30)
        return echo(indices)

    case = harness("batching", infer, loadgen)
    case.issue(4, 4, 4)
    assert computing.wait(30)
    case.responder.abort("stop")
    go_on.set()
    case.finish()
    assert computed == [10]
    assert case.responder.failures() == {Failure("raised", "stop"): 12}


def test_after_an_abort_the_rest_of_a_query_is_not_computed_inline(
    loadgen: IssuingLoadGen,
) -> None:
    computed = []

    def infer(indices: np.ndarray[Any, Any]) -> Outputs:
        computed.append(indices[0])
        case.responder.abort("stop")
        return echo(indices)

    case = harness("inline", infer, loadgen)
    case.issue(12)
    case.finish()
    assert computed == [10]


def streaming(generate: Callable[[Stream], Any], loadgen: IssuingLoadGen) -> Harness:
    responder = Responder(dtype=np.int64)
    return Harness(loadgen, responder, StreamingSut(responder, generate, ONE))


def test_a_stream_reports_first_tokens_and_completes_in_any_order(
    loadgen: IssuingLoadGen,
) -> None:
    def generate(stream: Stream) -> None:
        stream.first_token([0, 2])
        for position in reversed(range(4)):
            index = stream.indices[position : position + 1, np.newaxis]
            stream.complete(position, Outputs(index, np.array([2 + position])))

    responder = Responder(dtype=np.int64, token_latencies=True, first_tokens=True)
    sut = StreamingSut(responder, generate, ONE)
    slots = responder.open(loadgen.issue(4, first_tokens=True))
    sut.issue(Query(slots, np.array([10, 20, 30, 40])))
    sut.flush()
    assert loadgen.told[:2] == [("first", 0), ("first", 2)]
    assert loadgen.completed == [3, 2, 1, 0]
    answers = zip(as_bytes([10, 20, 30, 40]), [2, 3, 4, 5], strict=True)
    assert loadgen.answers() == list(answers)
    assert not responder.failures()
    sut.close()


def test_what_a_stream_leaves_out_is_missing(loadgen: IssuingLoadGen) -> None:
    case = streaming(lambda stream: stream.complete(1, echo(stream.indices[1:2])), loadgen)
    case.issue(4)
    assert case.finish() == [None, 20, None, None]
    assert case.codes == {"missing": 3}


def test_what_a_stream_completes_twice_is_a_duplicate(loadgen: IssuingLoadGen) -> None:
    def generate(stream: Stream) -> Outputs:
        stream.complete([0, 1], echo(stream.indices[:2]))
        return echo(stream.indices)

    case = streaming(generate, loadgen)
    case.issue(4)
    assert case.finish() == [10, 20, 30, 40]
    assert case.codes == {"duplicate": 2}


def test_a_stream_that_raises_half_way_keeps_what_it_has_answered(
    loadgen: IssuingLoadGen,
) -> None:
    def generate(stream: Stream) -> None:
        stream.complete([0, 1], echo(stream.indices[:2]))
        raise RuntimeError("half way")

    case = streaming(generate, loadgen)
    case.issue(4)
    assert case.finish() == [10, 20, None, None]
    assert case.codes == {"raised": 2}


@pytest.mark.parametrize("positions", [[4], [-1], [0.5], ["0"], None, [[0], [1, 2]]], ids=repr)
def test_positions_outside_the_batch_never_reach_another_batch(
    positions: Any, loadgen: IssuingLoadGen
) -> None:
    case = streaming(lambda stream: stream.complete(positions, Outputs(np.arange(1))), loadgen)
    case.issue(4)
    case.finish()
    assert case.codes == {"raised": 4}


def test_positions_of_a_batch_with_gaps_are_its_own(loadgen: IssuingLoadGen) -> None:
    responder = Responder()
    responder.open(loadgen.issue(4))
    stream = Stream(responder, Query(np.array([3, 0]), np.array([30, 0])))
    stream.complete(0, Outputs(np.array([7])))
    assert loadgen.payloads(left_open=[0, 1, 2]) == [b"", b"", b"", *as_bytes([7])]


def test_closing_ends_the_workers(loadgen: IssuingLoadGen) -> None:
    before = set(threading.enumerate())
    case = harness("two workers", echo, loadgen)
    case.issue(4)
    case.finish()
    assert set(threading.enumerate()) <= before


def test_workers_compute_on_the_processors_they_are_given(loadgen: IssuingLoadGen) -> None:
    first, last = (sorted(os.sched_getaffinity(0))[n] for n in (0, -1))
    seen: dict[str, set[int]] = {}
    both = threading.Barrier(2, timeout=60)

    def infer(indices: np.ndarray[Any, Any]) -> Outputs:
        seen[threading.current_thread().name] = os.sched_getaffinity(0)
        both.wait()
        return echo(indices)

    settings = attrs.evolve(ONE, workers=2, worker_cpus=(str(first), str(last)))
    responder = Responder(dtype=np.int64)
    case = Harness(loadgen, responder, BatchingSut(responder, infer, settings))
    case.issue(4, 4)
    assert len(case.finish()) == 8
    assert seen == {"sut-worker-0": {first}, "sut-worker-1": {last}}


def test_a_worker_of_processors_that_are_not_there_is_refused_before_any_query() -> None:
    settings = attrs.evolve(ONE, worker_cpus=("60000",))
    with pytest.raises(ConfigurationError, match="60000") as caught:
        BatchingSut(Responder(dtype=np.int64), echo, settings)
    assert caught.value.where == "sut.worker_cpus"
