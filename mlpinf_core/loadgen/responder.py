"""The one way to answer LoadGen: completes each sample exactly once, and notices when not.

LoadGen trusts its caller: a response id is a raw pointer that nothing checks, a sample that is
dropped makes the test hang for ever, one completed twice corrupts its records. So plugins never see
ids. A query that LoadGen issues gets *slots* (:mod:`mlpinf_core.loadgen.slots`), what a backend
returns is checked and laid out (:mod:`mlpinf_core.loadgen.answers`) before any of them is closed,
and closed slots are told to LoadGen (:mod:`mlpinf_core.loadgen.responses`) at once.
"""

from __future__ import annotations

import logging
import threading
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.loadgen.answers import Answers, UnfitError, lay_out
from mlpinf_core.loadgen.failures import Failure, Tally
from mlpinf_core.loadgen.responses import ResponsePool
from mlpinf_core.loadgen.slots import Ids, SlotTable, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from mlpinf_core.loadgen.answers import Column
    from mlpinf_core.protocols import Outputs, Slots

log = logging.getLogger(__name__)

_SMALL: Final = 8
"""Up to so many samples, plain Python is faster than array operations."""

_EMPTY: Final = Answers()

_NO_FIRST_TOKENS: Final = Failure(
    "tokens", "the first tokens that were told are not one number for each sample"
)


@attrs.frozen
class Progress:
    """How far a test is. ``issued`` counts samples; ``completed`` includes the failed ones."""

    issued: int
    completed: int
    failed: int
    tokens: int


class Responder:
    """Owns the open samples of a test. Thread-safe; every method may be called from any thread.

    No method raises for what a backend or a SUT did: it becomes a :class:`Failure`.
    """

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
            on_failure: called outside the lock at the first failure of each kind, and when the
                test is aborted.
        """
        import mlperf_loadgen as lg

        self._lg = lg
        self._token_latencies = token_latencies
        self._first_tokens = first_tokens
        # Offline tells no time per output token of a single one, and LoadGen refuses it.
        self._least_tokens = 0 if not token_latencies else 1 if first_tokens else 2
        self._dtype = None if dtype is None else np.dtype(dtype)
        self._token_size = 0 if self._dtype is None else self._dtype.itemsize
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._pools = threading.local()
        self._table = SlotTable()
        self._tally = Tally()
        self._failed = 0
        self._tokens = 0
        self._aborted: Failure | None = None

    # -- issuing ---------------------------------------------------------------------------------

    def open(self, ids: Sequence[int]) -> range:
        """Take response ids from LoadGen; returns their slots."""
        with self._lock:
            slots = self._table.open(ids)
        if self._aborted is not None:
            self.fail(slots, self._aborted)
        return slots

    # -- answering -------------------------------------------------------------------------------

    def first_token(self, slots: Slots, tokens: npt.NDArray[Any] | None = None) -> None:
        """Report that the first token of each sample has been produced, now.

        Ignored where LoadGen does not track first tokens, and for samples already reported.

        Args:
            slots: which.
            tokens: what they are, [n] of the responses' dtype, in the same order: TEST06 compares
                them with the answers, and fails without. Where they are not one a sample, it is a
                failure, and the samples are told without.
        """
        if not self._first_tokens:
            return
        some = self._readable(slots)
        if some is None:
            return
        told = None if tokens is None else _tokens(tokens, len(some), self._dtype)
        if tokens is not None and told is None:
            self._note(_NO_FIRST_TOKENS, len(some))
        with self._lock:
            # LoadGen is told under the lock, so that no completion is told before it. It keeps a
            # log for each thread, though: one thread should tell both of a sample.
            fresh, ids = self._table.unstarted(some)
            if len(fresh):
                if told is None:
                    self._pool().complete(ids, first_token=True)
                else:
                    told = told[_positions(some, fresh)]
                    where = np.arange(len(told), dtype=np.uint64) * np.uint64(told.itemsize)
                    where += np.uint64(told.__array_interface__["data"][0])
                    self._pool().complete(ids, where, told.itemsize, first_token=True)
                self._table.start(fresh)

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        """Answer samples.

        Args:
            slots: which.
            outputs: their responses in the same order; None answers with empty responses, which
                only a benchmark without a payload may do.

        Outputs that do not fit (count, dtype, token counts) fail all of ``slots``; slots that are
        not open are failures too, and the others are answered all the same.
        """
        some = slots if isinstance(slots, range) else self._readable(slots)
        count = 0 if some is None else len(some)
        if some is None or not count:
            return
        try:
            answers = lay_out(
                outputs,
                count,
                self._dtype,
                tokens=self._token_latencies,
                least_tokens=self._least_tokens,
            )
        except UnfitError as error:
            self.fail(some, error.failure)
            return
        with self._lock:
            taken = self._table.take_few(some) if count <= _SMALL else self._table.take(some)
            strays = taken.positions is not None
            if taken.positions is not None:
                answers = answers.at(taken.positions)
            self._tokens += answers.token_count(len(taken.ids))
        self._tell(taken, answers)
        # Of an aborted test every sample has been answered, whatever its backend goes on doing.
        if strays and self._aborted is None:
            self._note_strays(taken)

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        """Answer samples with nothing, and make the run INVALID.

        Args:
            slots: which; those already answered are left alone.
            reason: what went wrong.
        """
        some = self._readable(slots)
        if some is not None:
            self._fail(some, reason)

    def abort(self, reason: Failure | BaseException | str) -> None:
        """Nothing can be answered any more: fail what is open, and all that is still to come."""
        with self._lock:
            if self._aborted is not None:
                return
            self._aborted = Failure.of(reason)
            slots = self._table.every()
        self._fail(slots, reason, always_tell=True)

    def close_open(self, slots: Slots | None = None) -> int:
        """Fail what is still open although it should have been answered; returns how many.

        Args:
            slots: which should have been; None means every one that was issued.
        """
        with self._lock:
            among = self._table.every() if slots is None else slots
            missing = self._table.count_open(among)
        if missing:
            self.fail(among, Failure("missing", "the SUT finished without completing every sample"))
        return missing

    # -- reading ---------------------------------------------------------------------------------

    @property
    def least_tokens(self) -> int:
        """Fewest tokens that LoadGen takes in a response; 0 where it tracks none."""
        return self._least_tokens

    @property
    def aborted(self) -> bool:
        """Whether the test was aborted: every query is answered with a failure at once."""
        return self._aborted is not None

    def progress(self) -> Progress:
        """How far the test is."""
        with self._lock:
            issued = self._table.issued
            return Progress(issued, issued - self._table.open_count, self._failed, self._tokens)

    def failures(self) -> dict[Failure, int]:
        """Every kind of failure so far, with the number of samples it happened to."""
        with self._lock:
            return self._tally.to_dict()

    # -- inside ----------------------------------------------------------------------------------

    def _readable(self, slots: Any) -> Slots | None:
        """The slots, if they are any; None, and a failure, if the SUT made something else of them.

        Whatever it meant, those samples are still open, and will be found missing.
        """
        if isinstance(slots, range):
            return slots
        try:
            array = np.asarray(slots)
        except ValueError:
            array = np.empty((0, 0))  # ragged: as wrong as anything of two dimensions
        if array.ndim == 1 and (array.dtype.kind in "iu" or not array.size):
            return array.astype(np.int64, copy=False)
        what = f"the SUT named samples by {type(slots).__name__} {array.dtype}, not by slots"
        self._note(Failure("unknown", what), 1)
        return None

    def _fail(
        self, slots: Slots, reason: Failure | BaseException | str, *, always_tell: bool = False
    ) -> None:
        with self._lock:
            taken = self._table.take(slots)
            self._failed += len(taken.ids)
        self._tell(taken, _EMPTY)
        self._note(reason, len(taken.ids), always_tell=always_tell)

    def _tell(self, taken: Taken, answers: Answers) -> None:
        """Tell LoadGen of slots that were closed: from here on nobody else will."""
        if not len(taken.ids):
            return
        try:
            if len(taken.ids) <= _SMALL:
                self._tell_few(taken.ids, taken.unstarted, answers)
            else:
                self._tell_many(taken.ids, taken.unstarted, answers)
        except BaseException as error:
            # Memory has run out, say. What LoadGen was told of cannot be known.
            log.critical("LoadGen could not be told of answers", exc_info=True)
            what = f"LoadGen could not be told of answers: {Failure.of(error).message}"
            self.abort(Failure("lost", what))
            if not isinstance(error, Exception):
                raise

    def _tell_few(self, ids: Ids, unstarted: Ids, answers: Answers) -> None:
        """Plain Python for a handful of samples, as Server and SingleStream issue them."""
        new = self._lg.QuerySampleResponse
        n_tokens = answers.n_tokens if self._token_latencies else 0
        address, size = answers.addresses, answers.sizes
        if len(unstarted) and self._first_tokens:
            if isinstance(address, int) and isinstance(size, int):
                first = min(size, self._token_size)
                responses = [new(int(id_), address, first, 0) for id_ in unstarted]
                self._lg.FirstTokenComplete(responses)
            else:
                self._tell_first(ids, unstarted, answers)
        if isinstance(address, int) and isinstance(size, int) and isinstance(n_tokens, int):
            responses = [new(int(id_), address, size, n_tokens) for id_ in ids]
        else:
            columns = [
                repeat(column) if isinstance(column, int) else column.tolist()
                for column in (address, size, n_tokens)
            ]
            responses = list(map(new, map(int, ids), *columns))
        self._lg.QuerySamplesComplete(responses)

    def _tell_many(self, ids: Ids, unstarted: Ids, answers: Answers) -> None:
        """Array operations for a batch."""
        if len(unstarted) and self._first_tokens:
            self._tell_first(ids, unstarted, answers)
        n_tokens = answers.n_tokens if self._token_latencies else 0
        self._pool().complete(np.asarray(ids), answers.addresses, answers.sizes, n_tokens)

    def _tell_first(self, ids: Ids, unstarted: Ids, answers: Answers) -> None:
        """First tokens of samples whose backend told of none: their answers begin with them."""
        if len(unstarted) != len(ids):
            answers = answers.at(_positions(ids, unstarted))
        if isinstance(answers.sizes, int):
            sizes: Column = min(self._token_size, answers.sizes)
        else:
            sizes = np.minimum(answers.sizes, np.uint64(self._token_size))
        self._pool().complete(np.asarray(unstarted), answers.addresses, sizes, first_token=True)

    def _pool(self) -> ResponsePool:
        pool: ResponsePool | None = getattr(self._pools, "pool", None)
        if pool is None:
            pool = self._pools.pool = ResponsePool()
        return pool

    def _note_strays(self, taken: Taken) -> None:
        """Record completions of slots that were not open."""
        if taken.duplicates:
            what = Failure("duplicate", "a sample was completed more than once")
            self._note(what, taken.duplicates)
        if taken.unknown:
            what = Failure("unknown", "a sample was completed that was never issued")
            self._note(what, taken.unknown)

    def _note(
        self, reason: Failure | BaseException | str, count: int, *, always_tell: bool = False
    ) -> None:
        """Count a failure, and tell of it when it is the first of its kind."""
        with self._lock:
            failure, new = self._tally.add(Failure.of(reason), count)
        if self._on_failure is None or not (new or always_tell):
            return
        try:
            self._on_failure(failure, reason if isinstance(reason, BaseException) else None)
        except Exception:
            log.exception("a failure could not be told: %s", failure.message)


def _positions(among: Slots | Ids, some: Slots | Ids) -> npt.NDArray[np.int64]:
    """Where each of ``some`` is in ``among``, all of which are distinct."""
    if len(some) == len(among):
        return np.arange(len(some))  # what is taken of some keeps their order
    every = np.asarray(among)
    order = np.argsort(every, kind="stable")
    return order[np.searchsorted(every, np.asarray(some), sorter=order)]


def _tokens(
    tokens: npt.NDArray[Any], count: int, dtype: np.dtype[Any] | None
) -> npt.NDArray[Any] | None:
    """First tokens in the form of the responses; None where they are not one a sample."""
    try:
        found = np.ascontiguousarray(tokens, dtype=dtype)
    except (TypeError, ValueError, OverflowError):
        return None
    fits = found.shape == (count,) and not found.dtype.hasobject
    return found if fits else None
