"""Real LoadGen tests in this process, whose samples a test answers as it likes."""

from __future__ import annotations

import queue
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import mlperf_loadgen as lg
import numpy as np
import pytest

from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.protocols import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mlpinf_core.loadgen.responder import Responder

PATIENCE: Final = 60.0
"""Seconds after which LoadGen is given up; it issues and ends in milliseconds."""

SPARE: Final = 256
"""Samples that are issued beyond the first ones asked for."""

TWICE: Final = "Attempted to complete a sample twice."
NO_TOKENS: Final = "n_tokens argument missing or attempted to record 0 as number of tokens"
BEFORE_FIRST_TOKEN: Final = "Attempted to record a sample latency before it's first token latency"
FIRST_TOKEN_TOO_LATE: Final = "Attempted to record token latency after sample was completed"


class IssuingLoadGen:
    """One accuracy test of LoadGen. Samples are numbered from 0, in the order of their issue.

    LoadGen frees everything it knows of a test with the test's last sample. More are issued than
    the test takes, and the others are answered here, after all else: so LoadGen is there to log an
    error for whatever it is told too often or too late. The calls to it are watched, and go on to
    it; only ids that it never issued are kept away, for they are addresses that it would follow.
    """

    stuck = False
    """Whether a test before this one never ended; there is one LoadGen in a process."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, int]] = []
        """``("first", sample)`` and ``("complete", sample)``, in the order of the calls."""
        self.strangers = 0
        """Ids that LoadGen was to be told of and never issued."""
        self._directory = directory
        self._ids: list[int] = []
        self._numbers: dict[int, int] = {}
        self._taken = 0
        self._issued: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._first_tokens = self._ended = False
        self._helpers: dict[int, threading.Thread] = {}
        self._ending = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._first_token_complete = lg.FirstTokenComplete
        self._samples_complete = lg.QuerySamplesComplete
        monkeypatch.setattr(lg, "FirstTokenComplete", self._watch_first_tokens)
        monkeypatch.setattr(lg, "QuerySamplesComplete", self._watch_completions)

    # -- before and while the samples are answered -------------------------------------------------

    def issue(self, count: int, *, tokens: bool = False, first_tokens: bool = False) -> list[int]:
        """The response ids of that many samples, which nobody has got before.

        Args:
            count: how many; at most ``SPARE`` in all after the first call, which starts LoadGen.
            tokens: LoadGen tracks tokens: the Offline scenario with token latencies.
            first_tokens: and wants to hear of first tokens: the MultiStream scenario.
        """
        if self._thread is None:
            self._start(count + SPARE, tokens=tokens or first_tokens, first_tokens=first_tokens)
        start, self._taken = self._taken, self._taken + count
        assert self._taken < len(self._ids), "more samples than the test was started with"
        return self._ids[start : self._taken]

    def _start(self, count: int, *, tokens: bool, first_tokens: bool) -> None:
        assert not IssuingLoadGen.stuck, "a LoadGen test before this one never ended"
        settings = lg.TestSettings()
        settings.mode = lg.TestMode.AccuracyOnly
        settings.scenario = lg.TestScenario.Offline
        settings.use_token_latencies = tokens
        if first_tokens:
            settings.scenario = lg.TestScenario.MultiStream
            settings.multi_stream_samples_per_query = count
        logs = lg.LogSettings()
        logs.enable_trace = False
        logs.log_output.outdir = str(self._directory)
        logs.log_output.copy_summary_to_stdout = False
        sut = lg.ConstructFastSUT(lambda ids, _: self._issued.put(ids), lambda: None)
        library = lg.ConstructQSL(count, count, lambda _: None, lambda _: None)
        audit = str(self._directory / "audit.config")

        def run() -> None:
            lg.StartTestWithLogSettings(sut, library, settings, logs, audit)
            self._issued.put([])  # heard of where LoadGen returns without a query
            lg.DestroyQSL(library)
            lg.DestroyFastSUT(sut)

        self._first_tokens = first_tokens
        self._thread = threading.Thread(target=run, name="loadgen", daemon=True)
        self._thread.start()
        try:
            self._ids = self._issued.get(timeout=PATIENCE)
        except queue.Empty:
            self._give_up("LoadGen issued nothing")
        assert len(self._ids) == count, "LoadGen did not issue its samples in one query"
        self._numbers = {id_: number for number, id_ in enumerate(self._ids)}
        if first_tokens:
            # Where a first token is missing LoadGen logs what is in its place, which is nothing up
            # to the last sample that it has heard of.
            self._first_token_complete([self._response(self._last)])

    def _watch_first_tokens(self, responses: list[Any]) -> None:
        known, numbers = self._known(responses)
        self._first_token_complete(known)
        with self._lock:
            self.told += [("first", number) for number in numbers]

    def _watch_completions(self, responses: list[Any]) -> None:
        known, numbers = self._known(responses)
        with self._lock:
            self.told += [("complete", number) for number in numbers]
        self._samples_complete(known)

    def _known(self, responses: list[Any]) -> tuple[list[Any], list[int]]:
        if self._ended:
            raise RuntimeError("LoadGen's test is over")
        known = [response for response in responses if response.id in self._numbers]
        self.strangers += len(responses) - len(known)
        return known, [self._numbers[response.id] for response in known]

    def run_together(self, *jobs: Callable[[], None]) -> None:
        """Run jobs at once, each in a thread of its own, and return when all are done.

        LoadGen keeps a log a thread, and reads them when it gets to it. So each thread answers one
        of the test's last samples: when LoadGen ends, it has read what the thread told it before.
        And the threads outlive the test, as a SUT's do: LoadGen crashes where one ends soon after
        it has answered more than a thousand samples.
        """
        start = threading.Barrier(len(jobs))
        done = threading.Semaphore(0)

        def run(job: Callable[[], None], last: int) -> None:
            try:
                start.wait(PATIENCE)
                job()
            finally:
                done.release()
                self._ending.wait()
                self._answer([last])
                self._over.wait()

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # so that the jobs get in each other's way
        for job in jobs:
            last = self._last - 1 - len(self._helpers)
            helper = threading.Thread(target=run, args=(job, last), daemon=True)
            self._helpers[last] = helper
            helper.start()
        heard = [done.acquire(timeout=PATIENCE) for _ in jobs]
        sys.setswitchinterval(before)
        assert all(heard)

    @property
    def completed(self) -> list[int]:
        """The samples that LoadGen was told are complete, in that order."""
        with self._lock:
            return [number for what, number in self.told if what == "complete"]

    # -- afterwards ------------------------------------------------------------------------------

    def answers(
        self, *, errors: dict[str, int] | None = None, left_open: Sequence[int] = ()
    ) -> list[tuple[bytes, int]]:
        """The payload and the number of tokens that LoadGen logged of each sample; ends the test.

        And so says that each was completed once and LoadGen found nothing wrong, except for:

        Args:
            errors: what it logs as errors, and how often.
            left_open: samples that nobody has answered.
        """
        assert sorted([*self.completed, *left_open]) == list(range(self._taken))
        assert self.errors() == (errors or {})
        log = AccuracyLog.read(self._directory / "mlperf_log_accuracy.json")
        assert sorted(log.sequence_ids) == list(range(len(self._ids)))
        entries = zip(log.sequence_ids, log.payloads(), log.token_counts, strict=True)
        found = {number: (payload, int(count)) for number, payload, count in entries}
        return [found[number] for number in range(self._taken)]

    def payloads(self, **exceptions: Any) -> list[bytes]:
        """The payload that LoadGen logged of each sample; otherwise like :meth:`answers`."""
        return [payload for payload, _ in self.answers(**exceptions)]

    def errors(self) -> Counter[str]:
        """What LoadGen found wrong, and how often; ends the test."""
        self.end()
        detail = DetailLog.read(self._directory / "mlperf_log_detail.txt")
        return Counter(line.message for line in detail.errors)

    def end(self) -> None:
        """Answer whatever is open, and wait for LoadGen to end."""
        if self._thread is None or self._ended:
            return
        self._ended = True
        self._ending.set()
        others = {*self.completed, *self._helpers}
        self._answer([number for number in range(len(self._ids)) if number not in others])
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._give_up("LoadGen has not ended, although all of its samples were answered")
        self._over.set()
        for helper in self._helpers.values():
            helper.join()
        assert not self.strangers

    def _answer(self, numbers: Sequence[int]) -> None:
        """Tell LoadGen of samples that nobody has told it are complete."""
        if self._first_tokens:
            first = {number for what, number in self.told if what == "first"}
            self._first_token_complete(
                [self._response(n) for n in numbers if n not in first and n != self._last]
            )
        self._samples_complete([self._response(number) for number in numbers])

    def _response(self, number: int) -> Any:
        return lg.QuerySampleResponse(self._ids[number], 0, 0, 2)

    @property
    def _last(self) -> int:
        return len(self._ids) - 1

    def _give_up(self, what: str) -> NoReturn:
        IssuingLoadGen.stuck = self._ended = True
        pytest.fail(what)


def index_outputs(count: int, **more: Any) -> Outputs:
    """The answers 0, 1, 2, ..."""
    return Outputs(np.arange(count, dtype=np.int64)[:, np.newaxis], **more)


def as_bytes(numbers: Iterable[int]) -> list[bytes]:
    """Each as the payload of an answer."""
    return [np.int64(number).tobytes() for number in numbers]


def codes(responder: Responder) -> dict[str, int]:
    """The failures by code, and how many samples they happened to."""
    found: Counter[str] = Counter()
    for failure, count in responder.failures().items():
        found[failure.code] += count
    return found
