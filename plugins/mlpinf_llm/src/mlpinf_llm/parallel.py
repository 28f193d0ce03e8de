"""Work that takes minutes for a full data set, spread over the cores."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from mlpinf_core.machine import usable_processors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

_WORTH_A_PROCESS: Final = 200
"""Items below which starting processes takes longer than the work."""
_CHUNK: Final = 64


def spread(
    function: Callable[[T], R], items: Sequence[T], *, processes: int | None = None
) -> list[R]:
    """``function`` of each item, in their order.

    Args:
        function: of a module, since it is imported by name in every process; its result depends on
            the item alone.
        items: what can be pickled.
        processes: how many; None is one a core, and none for few items.
    """
    if processes is None:
        processes = usable_processors() if len(items) >= _WORTH_A_PROCESS else 1
    if processes <= 1:
        return [function(item) for item in items]
    # A fresh interpreter: a fork would take the engine's threads' locks along.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        return list(pool.map(function, items, chunksize=_CHUNK))
