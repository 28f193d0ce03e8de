"""The SUT that computes in LoadGen's own thread: no queue, no hand-over, the least latency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.protocols import Outputs, Query

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from mlpinf_core.loadgen.responder import Responder


class InlineSut:
    """Runs ``infer`` while LoadGen waits, at most ``max_batch_size`` samples a call.

    Right for SingleStream and MultiStream, where LoadGen waits anyway, and for engines so fast that
    a queue would cost more than they do. In Server it delays the next query's issue.
    """

    def __init__(
        self,
        responder: Responder,
        infer: Callable[[npt.NDArray[np.int64]], Outputs | None],
        *,
        max_batch_size: int,
    ) -> None:
        """Make the SUT.

        Args:
            responder: of the run.
            infer: sample indices, int64 [n], to their outputs.
            max_batch_size: most samples a call; larger queries are cut.
        """
        self._responder = responder
        self._infer = infer
        self._max = max_batch_size

    def issue(self, query: Query) -> None:
        """Compute and complete the query."""
        if len(query) <= self._max:
            self._answer(query)
            return
        for start in range(0, len(query), self._max):
            if self._responder.aborted:
                return  # the rest has been answered
            part = slice(start, start + self._max)
            self._answer(Query(query.slots[part], query.indices[part]))

    def _answer(self, query: Query) -> None:
        try:
            outputs = self._infer(query.indices)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises ends its queries only
            self._responder.fail(query.slots, error)
        else:
            self._responder.complete(query.slots, outputs)

    def flush(self) -> None:
        """Nothing is ever pending."""

    def close(self) -> None:
        """Nothing to stop."""
