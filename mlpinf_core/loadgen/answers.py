"""What a backend returned for a batch, checked and laid out the way LoadGen wants to be told.

Everything that can be wrong with it is found here, before any sample counts as answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.protocols import Outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

Column: TypeAlias = npt.NDArray[np.uint64] | npt.NDArray[np.int64] | int
"""A value for each sample, or one for all of them."""

_BYTES: Final = frozenset("biufcSV")
"""Kinds of dtype whose memory is the value: no Python objects, no text, no dates."""


class UnfitError(Exception):
    """Outputs cannot answer their batch."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code, message)


@attrs.define(eq=False)  # frozen costs a microsecond a query
class Answers:
    """Where the responses of a batch are.

    Attributes:
        addresses: of the responses.
        sizes: their lengths in bytes.
        n_tokens: their lengths in tokens.
        memory: what keeps the addresses valid; has to live until LoadGen has copied the responses.
    """

    addresses: Column = 0
    sizes: Column = 0
    n_tokens: Column = 0
    memory: Any = None

    def at(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> Answers:
        """The answers at some of the positions."""

        def some(column: Column) -> Column:
            return column if isinstance(column, int) else column[positions]

        return Answers(some(self.addresses), some(self.sizes), some(self.n_tokens), self.memory)

    def token_count(self, count: int) -> int:
        """Tokens in all responses, of which there are ``count``."""
        if isinstance(self.n_tokens, int):
            return self.n_tokens * count
        return int(self.n_tokens.sum())


def lay_out(
    outputs: object,
    count: int,
    dtype: np.dtype[Any] | None,
    *,
    tokens: bool,
    least_tokens: int = 0,
) -> Answers:
    """Check outputs and find their memory.

    Args:
        outputs: what the backend returned, whatever it is; None stands for empty responses.
        count: samples in the batch, at least 1.
        dtype: that responses must have; None admits any.
        tokens: whether every response needs a token count.
        least_tokens: fewest tokens that LoadGen takes in a response.

    Raises:
        UnfitError: they do not fit, or are nothing that outputs may be.
    """
    if outputs is None:
        if tokens:
            raise UnfitError("tokens", "the backend returned no outputs, and tokens are tracked")
        if dtype is not None:
            raise UnfitError("outputs", "the backend returned None, not Outputs")
        return Answers()
    if not isinstance(outputs, Outputs):
        raise UnfitError("outputs", f"the backend returned {_name(outputs)}, not Outputs")
    data = outputs.data
    try:
        if len(data) != count:
            _refuse_count(len(data), count)
        n_tokens: Column = 0
        if tokens or outputs.n_tokens is not None:
            n_tokens = _token_counts(outputs.n_tokens, count, least_tokens)
        if isinstance(data, np.ndarray):
            block = np.ascontiguousarray(data)
            if block.dtype is not dtype:
                _check(block.dtype, dtype)
            size = block.nbytes // count
            start = block.__array_interface__["data"][0]
            if count == 1:  # SingleStream's and Server's every query: no arrays
                return Answers(start, size, n_tokens, block)
            addresses = np.arange(count, dtype=np.uint64)
            addresses *= np.uint64(size)
            addresses += np.uint64(start)
            return Answers(addresses, size, n_tokens, block)
        rows = [np.ascontiguousarray(row) for row in data]
        for found in {row.dtype for row in rows}:
            _check(found, dtype)
        return Answers(_addresses(rows), _sizes(rows), n_tokens, rows)
    except UnfitError:
        raise
    except Exception as error:
        what = f"outputs of {_name(data)} cannot be read: {error}"
        raise UnfitError("outputs", what) from error


def _addresses(rows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.uint64]:
    return np.array([row.__array_interface__["data"][0] for row in rows], dtype=np.uint64)


def _sizes(rows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.uint64]:
    return np.array([row.nbytes for row in rows], dtype=np.uint64)


def _check(found: np.dtype[Any], wanted: np.dtype[Any] | None) -> None:
    if found.hasobject or found.kind not in _BYTES:
        raise UnfitError("dtype", f"the backend returned {found}, which has no bytes to log")
    if wanted is not None and found != wanted:
        raise UnfitError("dtype", f"the backend returned {found}, and responses are {wanted}")


def _refuse_count(found: int, count: int) -> NoReturn:
    raise UnfitError("count", f"the backend answered {found} of {count} samples")


def _token_counts(given: object, count: int, least: int) -> npt.NDArray[np.int64] | int:
    if given is None:
        raise UnfitError("tokens", "the backend returned no token counts")
    counts = np.asarray(given)
    if counts.shape != (count,):
        raise UnfitError(
            "tokens", f"the backend counted tokens of {counts.size} of {count} samples"
        )
    if counts.dtype.kind not in "iu":
        raise UnfitError("tokens", f"the backend counted tokens in {counts.dtype}, not in integers")
    counts = np.ascontiguousarray(counts, dtype=np.int64)
    if counts.min() < least:
        what = f"the backend counted {counts.min()} tokens in a response"
        raise UnfitError("tokens", what + (f", and LoadGen takes {least} or more" if least else ""))
    return int(counts[0]) if count == 1 else counts


def _name(thing: object) -> str:
    return f"a {type(thing).__name__}"
