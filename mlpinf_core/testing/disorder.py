"""The SUT and the Responder of a run whose queries and answers come in another order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlpinf_core.protocols import Outputs, Query
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.protocols import Slots, Sut

_SEED: Final = 20260214
_PIECES: Final = 3
"""Into how many pieces the answers of a batch are split."""


class LateResponder:
    """Splits the answers of a batch, and tells them in another order.

    In Offline they are all kept until the SUT has been flushed, as those of a backend that answers
    at the very end. In the other scenarios LoadGen may be waiting for them, so they are told at
    once.
    """

    def __init__(self, inner: Responder, scenario: Scenario) -> None:
        """Stand in for ``inner``."""
        self._inner = inner
        self._keeps = scenario is Scenario.OFFLINE
        self._random = np.random.default_rng(_SEED)
        self._lock = threading.Lock()
        self._kept: list[tuple[npt.NDArray[np.int64], Outputs]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        """Split, and keep."""
        if not isinstance(outputs, Outputs) or len(outputs) != len(slots) or self._inner.aborted:
            self._inner.complete(slots, outputs)  # it is the Responder that says what is wrong
            return
        with self._lock:
            order = self._random.permutation(len(slots))
            self._kept += [
                _at(np.asarray(slots, dtype=np.int64), outputs, positions)
                for positions in np.array_split(order, _PIECES)
                if len(positions)
            ]
        if not self._keeps:
            self.release()

    def release(self) -> None:
        """Tell what is kept."""
        with self._lock:
            kept, self._kept = self._kept, []
            order = self._random.permutation(len(kept))
        for position in order:
            self._inner.complete(*kept[position])


def _at(
    slots: npt.NDArray[np.int64], outputs: Outputs, positions: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.int64], Outputs]:
    """Some of a batch's answers, copied: a backend may use its buffers again after ``complete``."""
    data = outputs.data
    some = (
        data[positions].copy()
        if isinstance(data, np.ndarray)
        else [np.array(data[position]) for position in positions]
    )
    counts = None if outputs.n_tokens is None else np.asarray(outputs.n_tokens)[positions]
    return slots[positions], Outputs(some, counts)


class ObservedSut:
    """The plugin's SUT; tells when it is closed."""

    def __init__(self, inner: Sut, observe: Callable[[Callable[[], None]], None]) -> None:
        """Wrap a SUT; ``observe`` calls its ``close``."""
        self._inner = inner
        self._observe = observe

    def issue(self, query: Query) -> None:
        """Hand on."""
        self._inner.issue(query)

    def flush(self) -> None:
        """Hand on."""
        self._inner.flush()

    def close(self) -> None:
        """Close the SUT, and tell."""
        self._observe(self._inner.close)


class ShufflingSut:
    """Issues each batch's samples in another order.

    Batches keep their samples, because what an engine computes in floating point may depend on
    what it computes together.
    """

    def __init__(self, inner: ObservedSut, responder: LateResponder, batch_size: int) -> None:
        """Wrap a SUT; ``responder`` is let go of its answers when it has been flushed."""
        self._inner = inner
        self._responder = responder
        self._batch_size = batch_size
        self._random = np.random.default_rng(_SEED)
        self.close = inner.close

    def issue(self, query: Query) -> None:
        """Hand on, shuffled."""
        order = np.arange(len(query))
        for start in range(0, len(query), self._batch_size):
            self._random.shuffle(order[start : start + self._batch_size])
        slots = np.asarray(query.slots, dtype=np.int64)
        self._inner.issue(Query(slots[order], query.indices[order]))

    def flush(self) -> None:
        """Flush the SUT; only then do its answers arrive."""
        self._inner.flush()
        self._responder.release()
