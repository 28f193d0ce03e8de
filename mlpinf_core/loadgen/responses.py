"""Response objects for LoadGen, made in bulk.

LoadGen's binding takes a Python list of ``QuerySampleResponse`` objects and copies their values.
Constructing one costs about 350 ns, more than everything else done for a sample of a large Offline
query; setting one attribute of an existing one costs about 100 ns. So a :class:`ResponsePool` keeps
a few thousand objects and sets only what differs from the last call.
"""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mlpinf_core.loadgen.answers import Column

POOL_SIZE: Final = 8192
"""Responses a call: large enough to amortise it, small enough to stay in the cache."""

_WORTH_SETTING: Final = 2
"""Up to so many varying columns, setting attributes is cheaper than constructing."""


class ResponsePool:
    """Completes many samples with few Python operations. One a thread: it is not shared."""

    def __init__(self, size: int = POOL_SIZE) -> None:
        """Make an empty pool; objects are constructed as completions need them."""
        import mlperf_loadgen as lg

        self._lg = lg
        self._size = size
        self._objects: list[Any] = []
        self._constants: dict[str, int] = {}
        response = lg.QuerySampleResponse
        self._setters = {
            name: getattr(response, name).fset for name in ("id", "data", "size", "n_tokens")
        }

    def complete(
        self,
        ids: npt.NDArray[np.uint64],
        data: Column = 0,
        sizes: Column = 0,
        n_tokens: Column = 0,
        *,
        first_token: bool = False,
    ) -> None:
        """Hand responses to LoadGen, ``POOL_SIZE`` a call.

        Args:
            ids: uint64 [n], LoadGen's response ids.
            data: addresses of the payloads, which must live until this returns; uint64 [n], or
                one for all.
            sizes: bytes; uint64 [n], or one for all.
            n_tokens: int64 [n], or one for all; 0 where tokens are not tracked.
            first_token: report first tokens instead of completions.
        """
        call = self._lg.FirstTokenComplete if first_token else self._lg.QuerySamplesComplete
        columns = {"id": ids, "data": data, "size": sizes, "n_tokens": n_tokens}
        varying = {name: column for name, column in columns.items() if not isinstance(column, int)}
        constant = {name: column for name, column in columns.items() if isinstance(column, int)}
        make = self._set if len(varying) <= _WORTH_SETTING else self._construct
        for start in range(0, len(ids), self._size):
            stop = start + self._size
            part = {name: column[start:stop].tolist() for name, column in varying.items()}
            call(make(part, constant))

    def _construct(self, varying: dict[str, list[int]], constant: dict[str, int]) -> list[Any]:
        """New objects."""
        columns = [
            varying[name] if name in varying else repeat(constant[name])
            for name in ("id", "data", "size", "n_tokens")
        ]
        return list(map(self._lg.QuerySampleResponse, *columns))

    def _set(self, varying: dict[str, list[int]], constant: dict[str, int]) -> list[Any]:
        """The pool's objects, with the values that differ from the last call set."""
        count = len(varying["id"])
        for name, value in constant.items():
            if self._constants.get(name) != value:
                self._run(name, self._objects, repeat(value))
                self._constants[name] = value
        if len(self._objects) < count:
            new, constants = self._lg.QuerySampleResponse, self._constants
            values = [constants.get(name, 0) for name in ("id", "data", "size", "n_tokens")]
            self._objects += [new(*values) for _ in range(count - len(self._objects))]
        objects = self._objects if count == len(self._objects) else self._objects[:count]
        for name, values in varying.items():
            self._constants.pop(name, None)
            self._run(name, objects, values)
        return objects

    def _run(self, name: str, objects: list[Any], values: Any) -> None:
        deque(map(self._setters[name], objects, values), maxlen=0)
