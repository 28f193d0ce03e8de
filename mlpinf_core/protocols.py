"""What the five hooks hand to each other: data set, samples, backend, outputs, SUT, scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import attrs
import numpy as np
import numpy.typing as npt

Slots: TypeAlias = range | npt.NDArray[np.int64]
"""Open queries' samples, by the numbers that the Responder gave them; a range where they adjoin."""


@runtime_checkable
class Samples(Protocol):
    """The data set in the form that the backend takes, indexed as LoadGen indexes it.

    The order of samples is part of the benchmark: the same on every machine and in every run.
    """

    def __len__(self) -> int:
        """The number of samples."""

    def load(self, indices: npt.NDArray[np.int64]) -> None:
        """Bring samples to memory; outside the timed part. int64 [n]."""

    def unload(self, indices: npt.NDArray[np.int64]) -> None:
        """Let go of samples that :meth:`load` brought."""


@attrs.frozen(eq=False)
class Outputs:
    """What a backend computed for a batch, in the batch's order.

    Attributes:
        data: the responses as LoadGen logs them. An array [n, ...] whose row *i* answers sample
            *i*, or a sequence of n one-dimensional arrays where lengths differ.
        n_tokens: int64 [n], tokens in each response; None for a benchmark without token counts.
    """

    data: npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
    n_tokens: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """How many samples are answered."""
        return len(self.data)


@runtime_checkable
class Backend(Protocol):
    """What computes. Made by ``build_backend``; used in the child process only.

    How a batch is computed is between a benchmark's SUT and its backends; the building blocks of
    :mod:`mlpinf_core.suts` take the method as an argument.
    """

    def load(self) -> None:
        """Load the engine; untimed. Raises whatever is wrong with it."""

    def warm_up(self) -> None:
        """Run once or twice on representative input; untimed."""

    def close(self) -> None:
        """Free everything; called once, also after a failure."""


@attrs.frozen(eq=False)
class Query:
    """Samples that were issued together, or that were batched.

    Attributes:
        slots: their numbers at the Responder, in order.
        indices: int64 [n], their indices in the data set, in the same order.
    """

    slots: Slots
    indices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """How many samples."""
        return len(self.slots)


@runtime_checkable
class Sut(Protocol):
    """The system under test: takes queries, and completes them at the Responder."""

    def issue(self, query: Query) -> None:
        """Take a query. Called on LoadGen's thread; must not wait for other queries."""

    def flush(self) -> None:
        """No query follows for now: return when all that were issued have been completed.

        A sample that is still open when this returns counts as missing.
        """

    def close(self) -> None:
        """Stop threads and free resources; called once, also after a failure."""


NOT_GRADED: Final = "not_graded"
"""The key of the plain form of a :class:`NotGraded`."""


@attrs.frozen
class NotGraded:
    """What a scorer gives in place of a score that it did not work out.

    A metric that has a limit and was not graded has not passed, so neither has the run. Some
    graders have to be asked for, one that executes generated programs above all.

    Attributes:
        reason: why, and what to do to have it graded.
    """

    reason: str

    def to_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return {NOT_GRADED: self.reason}
