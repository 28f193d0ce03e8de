"""The order in which a query's samples are computed, where the scenario leaves it to the system."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mlpinf_core.protocols import Query

if TYPE_CHECKING:
    import numpy.typing as npt

Order: TypeAlias = Callable[[Query], Query]
"""Rearranges a query: the same samples, each with its own slot."""


def longest_first(lengths: npt.NDArray[np.int64]) -> Order:
    """Samples of nearly one length together, the longest first, so that no long batch comes last.

    A static batch takes as long as its longest sample, so batches of one length waste nothing.
    Offline hands over everything in one query and leaves the order to the system; a sample's
    length is known before the test.

    Args:
        lengths: int64 [samples], what each sample of the data set costs, in any unit.
    """

    def order(query: Query) -> Query:
        positions = np.argsort(-lengths[query.indices], kind="stable")
        slots = np.asarray(query.slots, dtype=np.int64)
        return Query(slots[positions], query.indices[positions])

    return order
