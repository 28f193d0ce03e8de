"""The first requests to an engine, before the timed part, answered for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.protocols import Query
from mlpinf_core.suts.asynchronous import AsyncSut

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_core.protocols import Outputs, Slots
    from mlpinf_core.suts.asynchronous import Engine


class WarmUp:
    """Stands in for the Responder, and counts what it is told.

    Attributes:
        begun: samples whose first token has come.
        failed: failures, and how many samples each happened to.
    """

    least_tokens = 0
    aborted = False

    def __init__(self) -> None:
        """Nothing has happened."""
        self.begun = 0
        self.failed: dict[Failure, int] = {}

    def first_token(self, slots: Slots, tokens: npt.NDArray[Any] | None = None) -> None:
        """The first tokens of these samples have come."""
        del tokens
        self.begun += len(slots)

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        """The engine has checked the answers."""

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        """These samples cannot be answered."""
        failure = Failure.of(reason)
        self.failed[failure] = self.failed.get(failure, 0) + len(slots)

    def abort(self, reason: Failure | BaseException | str) -> None:
        """No sample can be answered any more."""
        self.fail(range(1), reason)


def answer_first(engine: Engine, count: int) -> WarmUp:
    """Have the first ``count`` samples answered at the same time, and say what came of it."""
    found = WarmUp()
    sut = AsyncSut(found, engine)
    try:
        sut.issue(Query(range(count), np.arange(count)))
        sut.flush()
    finally:
        sut.close()
    return found
