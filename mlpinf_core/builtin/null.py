"""The parts of the ``null`` benchmark that need NumPy."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.protocols import Outputs


@attrs.frozen
class IndexSamples:
    """Samples that are their own indices."""

    count: int

    def __len__(self) -> int:
        """The number of samples."""
        return self.count

    def load(self, indices: npt.NDArray[np.int64]) -> None:
        """Nothing to load."""

    def unload(self, indices: npt.NDArray[np.int64]) -> None:
        """Nothing to unload."""


@attrs.frozen
class NullBackend:
    """Answers each sample with its index, int64."""

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def infer(self, indices: npt.NDArray[np.int64]) -> Outputs:
        """The indices, [n, 1]."""
        return Outputs(indices[:, np.newaxis])

    def close(self) -> None:
        """Nothing to free."""
