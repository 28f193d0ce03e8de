"""Prompts as the engines take them, and what their answers are scored against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_llm import dataset
from mlpinf_llm.dataset import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from mlpinf_core.context import Run
    from mlpinf_llm.dataset import DataFile


@attrs.frozen(eq=False)
class TokenSamples:
    """The samples of a benchmark, memory-mapped.

    Attributes:
        store: prompts, references, and how each is judged.
    """

    store: Store

    def __len__(self) -> int:
        """The number of prompts."""
        return len(self.store.prompts)

    def prompt(self, index: int) -> npt.NDArray[np.int32]:
        """The ids of one prompt, int32 [length]."""
        return self.store.prompts[index]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [prompts], tokens of each."""
        return self.store.prompts.lengths

    @property
    def references(self) -> Sequence[str]:
        """What each answer is scored against."""
        return self.store.references

    @property
    def kinds(self) -> Sequence[str]:
        """How each answer is judged; ``rouge`` where the data set does not say."""
        return self.store.kinds or ["rouge"] * len(self)

    def load(self, indices: npt.NDArray[np.int64]) -> None:
        """Touch the prompts, so that the timed part reads them from memory."""
        for index in indices:
            self.prompt(int(index)).sum()

    def unload(self, indices: npt.NDArray[np.int64]) -> None:
        """The system drops mapped pages by itself."""


def preprocessed(run: Run, file: DataFile) -> TokenSamples:
    """The samples of a data set's file, written once.

    Raises:
        IntegrityError: the file does not hold what it must.
    """
    name = run.benchmark.name
    return TokenSamples(dataset.stored(run.store, name, file, run.events.step))
