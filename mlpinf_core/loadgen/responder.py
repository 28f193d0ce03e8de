"""The one way to answer LoadGen: completes each sample exactly once, and notices when not.

LoadGen trusts its caller: a response id is a raw pointer that nothing checks, a sample that is
dropped makes the test hang for ever, one completed twice corrupts its records. So plugins never see
ids. A query that LoadGen issues gets *slots*, consecutive numbers, and the Responder keeps for each
slot whether it is open. Completing checks and marks a whole batch with a few array operations.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import BackendError
from mlpinf_core.loadgen.responses import ResponsePool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from mlpinf_core.protocols import Outputs, Slots

log = logging.getLogger(__name__)

_FREE: Final = 0
_OPEN: Final = 1
_STARTED: Final = 2
"""Open, and its first token has been reported."""
_DONE: Final = 3

_LEAST_ROOM: Final = 4096
"""Slots that the arrays hold at least."""

_SMALL: Final = 8
"""Up to so many samples, plain Python is faster than array operations."""


@attrs.frozen
class Failure:
    """Samples that were not answered as they should have been.

    Attributes:
        code: ``raised``, ``missing``, ``duplicate``, ``unknown``, ``count``, ``dtype``, ``tokens``
            or ``aborted``.
        message: what happened, once for all samples it happened to.
    """

    code: str
    message: str


@attrs.frozen
class Progress:
    """How far a test is. ``issued`` counts samples; ``completed`` includes the failed ones."""

    issued: int
    completed: int
    failed: int
    tokens: int


class Responder:
    """Owns the open samples of a test. Thread-safe; every method may be called from any thread."""

    def __init__(
        self,
        *,
        token_latencies: bool = False,
        first_tokens: bool = False,
        dtype: npt.DTypeLike | None = None,
        on_failure: Callable[[Failure, BaseException | None], None] | None = None,
    ) -> None:
        """Make a Responder for one test.

        Args:
            token_latencies: LoadGen tracks tokens, so every response needs its count.
            first_tokens: LoadGen wants first tokens reported before completions; a sample whose
                backend reported none gets it with its completion, which is when it was seen.
            dtype: the dtype of response data; None admits any.
            on_failure: called at the first failure of each kind, outside the lock.
        """
        import mlperf_loadgen as lg

        self._lg = lg
        self._token_latencies = token_latencies
        self._first_tokens = first_tokens
        self._dtype = None if dtype is None else np.dtype(dtype)
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._pools = threading.local()
        self._base = 0  # the slot that index 0 of the arrays stands for
        self._next = 0  # the next slot to give out
        self._open = 0
        self._failed = 0
        self._tokens = 0
        self._failures: Counter[Failure] = Counter()
        self._aborted: Failure | None = None
        self._allocate(_LEAST_ROOM)

    # -- issuing ---------------------------------------------------------------------------------

    def open(self, ids: Sequence[int]) -> range:
        """Take response ids from LoadGen; returns their slots."""
        count = len(ids)
        with self._lock:
            if self._next + count - self._base > len(self._state):
                self._make_room(count)
            first = self._next - self._base
            if count == 1:
                self._ids[first] = ids[0]
                self._state[first] = _OPEN
            else:
                self._ids_view[first : first + count] = ids
                self._state_view[first : first + count] = _OPEN
            slots = range(self._next, self._next + count)
            self._next += count
            self._open += count
            aborted = self._aborted
        if aborted is not None:
            self.fail(slots, aborted)
        return slots

    # -- answering -------------------------------------------------------------------------------

    def first_token(self, slots: Slots) -> None:
        """Report that the first token of each sample has been produced, now.

        Ignored where LoadGen does not track first tokens, and for samples already reported.
        """
        if not self._first_tokens:
            return
        with self._lock:
            ids = self._start(slots)
        if len(ids):
            self._pool().complete(ids, first_token=True)

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        """Answer samples.

        Args:
            slots: which.
            outputs: their responses in the same order; None answers with empty responses, which
                only a benchmark without a payload may do.

        Outputs that do not fit (count, dtype, token counts) fail all of ``slots``; slots that are
        not open are failures too, and the others are answered all the same. Never raises for
        what a backend did.
        """
        problem = self._check(len(slots), outputs)
        if problem is not None:
            self.fail(slots, problem)
            return
        if len(slots) <= _SMALL:
            self._complete_few(slots, outputs)
        else:
            self._complete_many(slots, outputs)

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        """Answer samples with nothing, and make the run INVALID.

        Args:
            slots: which; those already answered are left alone.
            reason: what went wrong.
        """
        failure = _as_failure(reason)
        with self._lock:
            keep = self._open_among(slots)
            ids, unstarted = self._take(keep)
            self._failed += len(keep)
            first_of_kind = failure not in self._failures
            self._failures[failure] += len(keep)
        self._answer(ids, unstarted)
        self._tell(failure, reason, first_of_kind)

    def abort(self, reason: Failure | BaseException | str) -> None:
        """Nothing can be answered any more: fail what is open, and all that is still to come."""
        failure = _as_failure(reason)
        with self._lock:
            if self._aborted is not None:
                return
            self._aborted = failure
            slots = range(self._base, self._next)
        self.fail(slots, reason)

    def close_open(self, slots: Slots | None = None) -> int:
        """Fail what is still open although it should have been answered; returns how many.

        Args:
            slots: which should have been; None means every one that was issued.
        """
        with self._lock:
            among = range(self._base, self._next) if slots is None else slots
            missing = len(self._open_among(among)) if self._open else 0
        if missing:
            self.fail(among, Failure("missing", "the SUT finished without completing every sample"))
        return missing

    # -- reading ---------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """How far the test is."""
        with self._lock:
            return Progress(self._next, self._next - self._open, self._failed, self._tokens)

    def failures(self) -> dict[Failure, int]:
        """Every kind of failure so far, with the number of samples it happened to."""
        with self._lock:
            return dict(self._failures)

    # -- inside ----------------------------------------------------------------------------------

    def _allocate(self, size: int) -> None:
        """New arrays; each is written through its buffer (one item) or its view (many)."""
        self._ids = array("Q", bytes(8 * size))
        self._state = bytearray(size)
        self._ids_view = np.frombuffer(self._ids, dtype=np.uint64)
        self._state_view = np.frombuffer(self._state, dtype=np.uint8)

    def _make_room(self, count: int) -> None:
        """Drop the slots before the oldest open one, and grow when that is not enough."""
        used = self._next - self._base
        if self._open == 0:
            first = used
        else:
            state = self._state_view[:used]
            first = int(np.argmax((state == _OPEN) | (state == _STARTED)))
        ids, state = self._ids_view[first:used], self._state_view[first:used]
        kept = used - first
        self._allocate(max(_LEAST_ROOM, kept + count, 2 * kept))
        self._ids_view[:kept] = ids
        self._state_view[:kept] = state
        self._base += first

    def _pool(self) -> ResponsePool:
        pool: ResponsePool | None = getattr(self._pools, "pool", None)
        if pool is None:
            pool = self._pools.pool = ResponsePool()
        return pool

    def _check(self, count: int, outputs: Outputs | None) -> Failure | None:
        """What is wrong with outputs for ``count`` samples, if anything."""
        if outputs is None:
            if self._token_latencies:
                return Failure("tokens", "the backend returned no outputs, and tokens are tracked")
            return None
        if len(outputs) != count:
            return Failure("count", f"the backend answered {len(outputs)} of {count} samples")
        if self._dtype is not None:
            found = _dtypes(outputs.data)
            if found - {self._dtype}:
                wrong = ", ".join(sorted(str(dtype) for dtype in found - {self._dtype}))
                return Failure("dtype", f"the backend returned {wrong} for {self._dtype} responses")
        if self._token_latencies:
            if outputs.n_tokens is None:
                return Failure("tokens", "the backend returned no token counts")
            if len(outputs.n_tokens) != count:
                return Failure(
                    "tokens", f"the backend counted tokens of {len(outputs.n_tokens)} of {count}"
                )
        return None

    def _complete_few(self, slots: Slots, outputs: Outputs | None) -> None:
        """Plain Python for a handful of samples, as Server and SingleStream issue them."""
        wrong: list[tuple[int, Failure]] = []
        answered: list[tuple[int, int]] = []  # position, id
        starting: list[Any] = []
        new = self._lg.QuerySampleResponse
        with self._lock:
            for position, slot in enumerate(slots):
                at = slot - self._base
                state = self._state[at] if 0 <= at < self._next - self._base else _FREE
                if state in (_OPEN, _STARTED):
                    self._state[at] = _DONE
                    answered.append((position, self._ids[at]))
                    if state == _OPEN and self._first_tokens:
                        starting.append(new(self._ids[at], 0, 0, 0))
                else:
                    wrong.append((int(slot), self._misfit(int(slot))))
            self._open -= len(answered)
            if outputs is not None and outputs.n_tokens is not None:
                self._tokens += sum(int(outputs.n_tokens[position]) for position, _ in answered)
        responses, rows = [], []
        for position, identity in answered:
            address, size, tokens = 0, 0, 0
            if outputs is not None:
                row = np.ascontiguousarray(outputs.data[position])
                rows.append(row)  # keeps the memory alive until LoadGen has copied it
                address, size = row.__array_interface__["data"][0], row.nbytes
                if self._token_latencies and outputs.n_tokens is not None:
                    tokens = int(outputs.n_tokens[position])
            responses.append(new(identity, address, size, tokens))
        if starting:
            self._lg.FirstTokenComplete(starting)
        if responses:
            self._lg.QuerySamplesComplete(responses)
        for _, failure in wrong:
            self._note(failure, 1)

    def _complete_many(self, slots: Slots, outputs: Outputs | None) -> None:
        """Array operations for a batch."""
        with self._lock:
            whole = isinstance(slots, range) and self._all_open(slots)
            positions = None if whole else self._open_positions(slots)
            whole = positions is None or len(positions) == len(slots)
            good = slots if whole else np.asarray(slots, dtype=np.int64)[positions]
            strays = [] if whole else self._strays(slots, positions)
            ids, unstarted = self._take(good)
            counts = None
            if outputs is not None and outputs.n_tokens is not None and self._token_latencies:
                counts = np.ascontiguousarray(outputs.n_tokens, dtype=np.int64)
                counts = counts if whole else counts[positions]
                self._tokens += int(counts.sum())
        addresses, sizes, keep = _payload(outputs)
        if not whole and not isinstance(addresses, int):
            addresses = addresses[positions]
        if not whole and not isinstance(sizes, int):
            sizes = sizes[positions]
        self._answer(ids, unstarted, addresses, sizes, 0 if counts is None else counts)
        del keep  # the payload has to live until LoadGen has copied it
        for failure, number in Counter(strays).items():
            self._note(failure, number)

    def _answer(
        self,
        ids: npt.NDArray[np.uint64],
        unstarted: npt.NDArray[np.uint64],
        addresses: npt.NDArray[np.uint64] | int = 0,
        sizes: npt.NDArray[np.uint64] | int = 0,
        n_tokens: npt.NDArray[np.int64] | int = 0,
    ) -> None:
        if not len(ids):
            return
        pool = self._pool()
        if self._first_tokens and len(unstarted):
            pool.complete(unstarted, first_token=True)
        pool.complete(ids, addresses, sizes, n_tokens)

    def _all_open(self, slots: range) -> bool:
        """Whether every slot of a range is open: two counts over bytes, and no array."""
        start, stop = slots.start - self._base, slots.stop - self._base
        if slots.step != 1 or start < 0 or slots.stop > self._next:
            return False
        state = self._state
        count = state.count(_OPEN, start, stop)
        return count == len(slots) or count + state.count(_STARTED, start, stop) == len(slots)

    def _open_positions(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Positions in ``slots`` that name an open sample for the first time."""
        used = self._next - self._base
        if isinstance(slots, range) and slots.step == 1:
            at = np.arange(slots.start - self._base, slots.stop - self._base)
            inside = slots.start >= self._base and slots.stop <= self._next
        else:
            at = np.asarray(slots, dtype=np.int64) - self._base
            inside = bool(len(at) == 0 or (at.min() >= 0 and at.max() < used))
        if inside:
            state = self._state_view[at]
            good = (state == _OPEN) | (state == _STARTED)
        else:
            good = (at >= 0) & (at < used)
            state = self._state_view[np.where(good, at, 0)]
            good &= (state == _OPEN) | (state == _STARTED)
        if not isinstance(slots, range):
            # Of a slot that is named twice, the last mention wins the write and the others lose.
            mark = np.empty(used, dtype=np.int64)
            mark[at[good]] = np.flatnonzero(good)
            last = np.zeros(len(at), dtype=bool)
            last[mark[at[good]]] = True
            good &= last
        return np.flatnonzero(good)

    def _open_among(self, slots: Slots) -> npt.NDArray[np.int64]:
        """The slots that are open."""
        every = np.asarray(slots, dtype=np.int64)
        return every[self._open_positions(slots)]

    def _strays(self, slots: Slots, positions: npt.NDArray[np.int64] | None) -> list[Failure]:
        """Why each of the other positions could not be answered."""
        every = np.asarray(slots, dtype=np.int64)
        others = every if positions is None else np.delete(every, positions)
        return [self._misfit(int(slot)) for slot in others]

    def _misfit(self, slot: int) -> Failure:
        """Why a slot that is not open is not."""
        if 0 <= slot < self._next:
            return Failure("duplicate", "a sample was completed more than once")
        return Failure("unknown", "a sample was completed that was never issued")

    def _start(self, slots: Slots) -> npt.NDArray[np.uint64]:
        """Mark first tokens; the ids of those that had none yet."""
        at = self._open_among(slots) - self._base
        at = at[self._state_view[at] == _OPEN]
        self._state_view[at] = _STARTED
        ids: npt.NDArray[np.uint64] = self._ids_view[at]
        return ids

    def _take(self, slots: Slots) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Mark open slots done; their ids, and the ids of those whose first token is unreported."""
        if isinstance(slots, range):
            at: Any = slice(slots.start - self._base, slots.stop - self._base)
        else:
            at = slots - self._base
        ids = self._ids_view[at].copy()
        unstarted = ids[self._state_view[at] == _OPEN] if self._first_tokens else ids[:0]
        self._state_view[at] = _DONE
        self._open -= len(ids)
        return ids, unstarted

    def _note(self, failure: Failure, count: int) -> None:
        """Record a failure that has no open sample to answer."""
        with self._lock:
            first_of_kind = failure not in self._failures
            self._failures[failure] += count
        self._tell(failure, failure, first_of_kind)

    def _tell(self, failure: Failure, reason: object, first_of_kind: bool) -> None:
        if first_of_kind and self._on_failure is not None:
            self._on_failure(failure, reason if isinstance(reason, BaseException) else None)


def _as_failure(reason: Failure | BaseException | str) -> Failure:
    if isinstance(reason, Failure):
        return reason
    if isinstance(reason, BaseException):
        text = reason.what if isinstance(reason, BackendError) else str(reason)
        return Failure("raised", f"{type(reason).__name__}: {text}".rstrip(": "))
    return Failure("raised", reason)


def _dtypes(data: npt.NDArray[Any] | Sequence[npt.NDArray[Any]]) -> set[np.dtype[Any]]:
    if isinstance(data, np.ndarray):
        return {data.dtype}
    return {np.asarray(row).dtype for row in data}


def _payload(
    outputs: Outputs | None,
) -> tuple[npt.NDArray[np.uint64] | int, npt.NDArray[np.uint64] | int, object]:
    """Addresses and sizes of a batch's responses, and what has to be kept alive for them."""
    if outputs is None:
        return 0, 0, None
    if isinstance(outputs.data, np.ndarray):
        block = np.ascontiguousarray(outputs.data)
        stride = block.nbytes // len(block)
        start = block.__array_interface__["data"][0]
        addresses = np.uint64(start) + np.arange(len(block), dtype=np.uint64) * np.uint64(stride)
        return addresses, stride, block
    rows = [np.ascontiguousarray(row).reshape(-1).view(np.uint8) for row in outputs.data]
    sizes = np.array([len(row) for row in rows], dtype=np.uint64)
    flat = np.concatenate(rows) if rows else np.empty(0, np.uint8)
    start = flat.__array_interface__["data"][0]
    addresses = np.uint64(start) + np.cumsum(sizes, dtype=np.uint64) - sizes
    return addresses, sizes, flat
