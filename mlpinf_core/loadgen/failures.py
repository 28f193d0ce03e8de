"""What can go wrong with samples of a test, counted by kind."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from mlpinf_core.errors import BackendError

MOST_KINDS: Final = 64
"""A backend whose messages all differ must fill neither the memory nor the verdict."""


@attrs.frozen
class Failure:
    """Samples that were not answered as they should have been.

    Attributes:
        code: ``raised``, ``missing``, ``duplicate``, ``unknown``, ``outputs``, ``count``,
            ``dtype``, ``tokens``, ``aborted``, or ``lost``: LoadGen could not be told of an answer,
            and so will not end by itself.
        message: what happened, once for all samples it happened to.
    """

    code: str
    message: str

    @classmethod
    def of(cls, reason: Failure | BaseException | str) -> Failure:
        """Whatever there is to say about a failure, as one."""
        if isinstance(reason, Failure):
            return reason
        if isinstance(reason, BaseException):
            text = reason.what if isinstance(reason, BackendError) else str(reason)
            return cls("raised", f"{type(reason).__name__}: {text}".rstrip(": "))
        return cls("raised", reason)


class Tally:
    """Counts samples by what happened to them. Not thread-safe."""

    def __init__(self) -> None:
        """Nothing has failed."""
        self._counts: Counter[Failure] = Counter()

    def add(self, failure: Failure, count: int) -> tuple[Failure, bool]:
        """Count samples; returns the kind they were counted under, and whether it is new."""
        if failure not in self._counts and len(self._counts) >= MOST_KINDS:
            failure = Failure(failure.code, "more failures, each with another message")
        new = failure not in self._counts
        self._counts[failure] += count
        return failure, new

    def to_dict(self) -> dict[Failure, int]:
        """Every kind in the order of its first appearance, with its count."""
        return dict(self._counts)
