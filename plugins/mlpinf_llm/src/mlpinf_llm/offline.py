"""Offline for static batches: prompts of one length together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpinf_core.protocols import Query
from mlpinf_core.suts.batching import BatchingSut

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_core.config.schema import SutSettings
    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_llm.ct2 import CTranslate2Backend


class LengthSortingSut(BatchingSut):
    """A batching SUT that sorts a query by the length of its prompts.

    CTranslate2 takes a batch of prompts of different lengths token by token from the end of the
    shortest on, so batches of nearly one length are faster (measured: 1.7 times). Offline hands
    over everything in one query and leaves the order to the system.
    """

    def __init__(
        self,
        responder: Responder,
        backend: CTranslate2Backend,
        lengths: npt.NDArray[np.int64],
        settings: SutSettings,
    ) -> None:
        """Start the workers.

        Args:
            responder: of the run.
            backend: answers batches.
            lengths: int64 [samples], of every prompt of the data set.
            settings: batch size, wait and number of workers.
        """
        self._lengths = lengths
        super().__init__(responder, backend.infer, settings)

    def issue(self, query: Query) -> None:
        """Queue the query, the longest prompts first, so that no long batch comes last."""
        order = np.argsort(-self._lengths[query.indices], kind="stable")
        slots = np.asarray(query.slots, dtype=np.int64)
        super().issue(Query(slots[order], query.indices[order]))
