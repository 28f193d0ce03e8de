"""What LoadGen issues: the papers of the validation set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_rgat.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@attrs.frozen(eq=False)
class RgatSamples:
    """Papers to classify, in the order of the official validation set.

    Attributes:
        graph: they belong to.
    """

    graph: Graph

    def __len__(self) -> int:
        """The number of papers that are asked for."""
        return len(self.graph.validation)

    @property
    def papers(self) -> npt.NDArray[np.int64]:
        """int64 [n], their numbers in the graph."""
        return self.graph.validation

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [n], their classes."""
        return self.graph.labels

    def load(self, indices: npt.NDArray[np.int64]) -> None:
        """Nothing: a sample is a number, and its neighbourhood may be anywhere in the graph."""

    def unload(self, indices: npt.NDArray[np.int64]) -> None:
        """Nothing."""
