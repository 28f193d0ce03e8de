"""The SUT for engines that have many samples on their way at once and finish them one by one.

An engine of this kind (a client of a server, an asynchronous engine in process, a simulator) runs a
loop of its own. It takes samples from a :class:`Desk` as it has room for them, and hands in first
tokens and answers as they come; the desk tells LoadGen of them in batches, once a turn of the loop.
A sample that waits is a slot and an index in two arrays, however many there are.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.protocols import Outputs

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_core.protocols import Query, Slots

log = logging.getLogger(__name__)

_CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing waits for the engine's loop."""


class Engine(Protocol):
    """What answers samples asynchronously."""

    def run(self, desk: Desk) -> None:
        """Answer what comes to the desk until it is closed.

        Called once, in a thread of its own, which is the one that speaks to the desk: LoadGen keeps
        a log a thread, and both the first token and the completion of a sample must come from the
        same one. When :attr:`Desk.stopped` becomes true, what is on its way is to be dropped.
        """

    def wake(self) -> None:
        """There is something new at the desk: samples, or the end. Called from any thread."""


class Answered(Protocol):
    """What a desk tells of answers: the Responder, or what stands in for it in a warm-up."""

    @property
    def least_tokens(self) -> int:
        """Fewest tokens of an answer."""

    @property
    def aborted(self) -> bool:
        """Whether nobody wants answers any more."""

    def first_token(self, slots: Slots, tokens: npt.NDArray[Any] | None = None) -> None:
        """The first tokens of these samples have come, and are these where that is known."""

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        """These samples are finished."""

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        """These samples cannot be answered."""

    def abort(self, reason: Failure | BaseException | str) -> None:
        """No sample can be answered any more."""


class Desk:
    """Where an engine takes samples and hands answers in. Slots name samples.

    All methods but :meth:`put`, :meth:`wait` and :meth:`close` belong to the engine's thread.
    """

    def __init__(self, responder: Answered) -> None:
        """An empty desk.

        Args:
            responder: of the run.
        """
        self._responder = responder
        self.least_tokens = responder.least_tokens
        """Fewest tokens that LoadGen takes in an answer."""
        self._lock = threading.Lock()
        self._settled_all = threading.Condition(self._lock)
        self._queries: deque[Query] = deque()
        self._position = 0  # in the first of the queries
        self._waiting = 0
        self._open = 0
        self.closed = False
        """Nothing follows: the engine returns when all it has taken is answered."""
        self._first: list[int] = []
        self._first_ids: list[int | None] = []
        self._slots: list[int] = []
        self._answers: list[npt.NDArray[np.int32]] = []
        self._failed: dict[Failure, list[int]] = defaultdict(list)

    # -- the SUT's side --------------------------------------------------------------------------

    def put(self, query: Query) -> None:
        """Samples have been issued."""
        with self._lock:
            self._queries.append(query)
            self._waiting += len(query)
            self._open += len(query)

    def wait(self) -> None:
        """Return when every sample that was put here has been answered, or none will be."""
        with self._lock:
            while self._open and not self.closed:
                self._settled_all.wait()

    def close(self) -> None:
        """Nothing follows."""
        with self._lock:
            self.closed = True
            self._settled_all.notify_all()

    # -- the engine's side -----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Samples that have not been taken."""
        return self._waiting

    @property
    def stopped(self) -> bool:
        """Whether the test was aborted: every sample has been answered by others."""
        return self._responder.aborted

    def take(self, most: int) -> list[tuple[int, int]]:
        """The next samples, as pairs of slot and index in the data set; at most ``most``."""
        taken: list[tuple[int, int]] = []
        with self._lock:
            while self._queries and len(taken) < most:
                query = self._queries[0]
                part = slice(self._position, self._position + most - len(taken))
                slots = query.slots[part]
                taken += zip(
                    slots if isinstance(slots, range) else slots.tolist(),
                    query.indices[part].tolist(),
                    strict=True,
                )
                self._position += len(slots)
                if self._position >= len(query):
                    self._queries.popleft()
                    self._position = 0
            self._waiting -= len(taken)
        return taken

    def first_token(self, slot: int, token: int | None = None) -> None:
        """A sample's first token has come; TEST06 fails where it is not said which it is."""
        self._first.append(slot)
        self._first_ids.append(token)

    def answer(self, slot: int, ids: npt.NDArray[np.int32]) -> None:
        """A sample is finished: its tokens, int32 [n]."""
        if len(ids) < self.least_tokens:
            least = self.least_tokens
            what = f"an answer has {len(ids)} tokens, and LoadGen takes {least} or more"
            self.fail(slot, Failure("tokens", what))
            return
        self._slots.append(slot)
        self._answers.append(ids)

    def fail(self, slot: int, reason: Failure | BaseException | str) -> None:
        """A sample cannot be answered."""
        self._failed[Failure.of(reason)].append(slot)

    def report(self) -> None:
        """Tell LoadGen of what has been handed in since the last time."""
        settled = len(self._slots)
        if self._first:
            first, ids, self._first, self._first_ids = self._first, self._first_ids, [], []
            tokens = None if None in ids else np.array(ids, dtype=np.int32)
            self._responder.first_token(np.array(first, dtype=np.int64), tokens)
        if self._slots:
            slots, answers = self._slots, self._answers
            self._slots, self._answers = [], []
            counts = np.array([len(answer) for answer in answers], dtype=np.int64)
            self._responder.complete(np.array(slots, dtype=np.int64), Outputs(answers, counts))
        if self._failed:
            failed = dict(self._failed)
            self._failed.clear()
            for reason, slots in failed.items():
                self._responder.fail(np.array(slots, dtype=np.int64), reason)
                settled += len(slots)
        if settled:
            self._settle(settled)

    def drop(self) -> None:
        """Forget everything: the test was aborted, and the samples were answered by others."""
        with self._lock:
            self._queries.clear()
            self._position = self._waiting = 0
        self._first, self._first_ids, self._slots, self._answers = [], [], [], []
        self._failed.clear()
        self._settle(None)

    def _settle(self, count: int | None) -> None:
        with self._lock:
            self._open = 0 if count is None else self._open - count
            if self._open <= 0:
                self._settled_all.notify_all()


class AsyncSut:
    """Puts an engine behind a desk, in a thread that lives to the end of the test."""

    def __init__(
        self, responder: Answered, engine: Engine, *, concurrency: int | None = None
    ) -> None:
        """Start the engine's loop.

        Args:
            responder: of the run.
            engine: answers the samples.
            concurrency: most samples that it has on their way at the same time.
        """
        self._responder = responder
        self._engine = engine
        self._desk = Desk(responder)
        self.concurrency = concurrency
        """Most samples that are computed at the same time; None where nobody can tell."""
        self.worker_cpus: tuple[str, ...] = getattr(engine, "worker_cpus", ())
        """Processors of each of the engine's processes. Empty: it has none, or they are free."""
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    def issue(self, query: Query) -> None:
        """Put the query on the desk."""
        self._desk.put(query)
        self._engine.wake()

    def flush(self) -> None:
        """Return when every query has been answered."""
        self._desk.wait()

    def close(self) -> None:
        """End the loop."""
        self._desk.close()
        self._engine.wake()
        self._thread.join(timeout=_CLOSE_PATIENCE)
        if self._thread.is_alive():
            log.warning("the engine's loop is still busy; it ends with the process")

    def _run(self) -> None:
        error: Any = Failure("raised", "the engine's loop ended before the test did")
        try:
            self._engine.run(self._desk)
        except BaseException as raised:
            log.critical("the engine's loop died", exc_info=True)
            error = raised
        if not self._desk.closed:
            self._responder.abort(error)
            self._desk.close()
