"""The SUT whose backend reports first tokens, and completes samples of a batch one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpinf_core.suts.batching import QueueSut

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mlpinf_core.config.schema import SutSettings
    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.protocols import Outputs, Query, Slots


class Stream:
    """A batch that is being answered. Positions count within the batch, from 0."""

    def __init__(self, responder: Responder, batch: Query) -> None:
        """Wrap a batch of the SUT's."""
        self._responder = responder
        self._slots = batch.slots
        self.indices = batch.indices
        """int64 [n], the samples to compute."""

    def first_token(self, positions: npt.ArrayLike, tokens: npt.ArrayLike | None = None) -> None:
        """The first tokens of these samples exist now; give them, for TEST06 compares them.

        Say so in the thread that will complete them: LoadGen keeps a log a thread, and where the
        two come from different ones within some 10 ms it may take the completion for the earlier,
        which is an error in its log. Nor may a thread that has answered samples end before the
        test does, for that may crash LoadGen.
        """
        told = None if tokens is None else np.atleast_1d(np.asarray(tokens))
        self._responder.first_token(self._at(positions), told)

    def complete(self, positions: npt.ArrayLike, outputs: Outputs) -> None:
        """These samples are finished."""
        self._responder.complete(self._at(positions), outputs)

    def _at(self, positions: npt.ArrayLike) -> Slots:
        at = np.atleast_1d(np.asarray(positions))
        if at.size and at.dtype.kind not in "iu":
            raise TypeError(f"positions are {at.dtype}, not integers")
        if at.size and not 0 <= at.min() <= at.max() < len(self._slots):
            # Another batch's samples are next to this one's.
            raise IndexError(f"positions {positions!r} in a batch of {len(self._slots)}")
        if isinstance(self._slots, range):
            found: Slots = at.astype(np.int64) + self._slots.start
        else:
            found = self._slots[at.astype(np.intp)]
        return found


class StreamingSut(QueueSut):
    """For backends that generate.

    ``generate`` gets a :class:`Stream`, reports on it what is finished, and may return outputs for
    the whole batch instead. What it has neither completed nor returned fails as missing.
    """

    def __init__(
        self,
        responder: Responder,
        generate: Callable[[Stream], Outputs | None],
        settings: SutSettings,
    ) -> None:
        """Start the workers.

        Args:
            responder: of the run.
            generate: answers a batch; called from several threads at once where
                ``settings.workers`` is more than 1.
            settings: batch size, wait and number of workers.
        """
        self._generate = generate
        super().__init__(responder, settings)

    def answer(self, batch: Query) -> None:
        """Run ``generate`` on the batch."""
        outputs = self._generate(Stream(self._responder, batch))
        if outputs is not None:
            self._responder.complete(batch.slots, outputs)
        else:
            self._responder.close_open(batch.slots)
