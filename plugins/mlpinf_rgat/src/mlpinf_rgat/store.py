"""The graph where PyTorch works with it: CSC for the sampler, features for the model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

from mlpinf_rgat.relations import NODE_TYPES
from mlpinf_rgat.sampler import CscTensors

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_rgat.graph import Graph
    from mlpinf_rgat.trees import Nodes


def csc_tensors(graph: Graph, device: torch.device) -> list[CscTensors]:
    """The relations of a graph; on the CPU they stay memory-mapped."""
    return [
        CscTensors(tensor_of(csc.indptr).to(device), tensor_of(csc.indices).to(device))
        for csc in graph.relations
    ]


def tensor_of(array: npt.NDArray[Any]) -> Tensor:
    """A tensor on an array's memory, which may be read-only; nothing may write to the tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


@attrs.frozen(eq=False)
class Table:
    """Rows of features or states where they lie, so that a kernel gathers them as it reads them.

    Attributes:
        values: [n, width] of floating point numbers, FP8 among them.
        ids: int64 [rows], which of ``values`` the rows are; None where they are all, in order.
        inverse_scale: what the values are multiplied with.
    """

    values: Tensor
    ids: Tensor | None = None
    inverse_scale: float = 1.0

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    @property
    def rows(self) -> Tensor:
        """The ids, or what has as many rows where there are none."""
        return self.values if self.ids is None else self.ids

    def chosen(self, rows: Tensor) -> Table:
        """Some of the rows, int64 [n]."""
        ids = rows if self.ids is None else self.ids[rows]
        return attrs.evolve(self, ids=ids)


class FeatureStore:
    """Gathers features, in the precision that the model computes in."""

    def __init__(
        self, graph: Graph, held: torch.device, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Open the features.

        Args:
            graph: whose.
            held: where all features are; on the CPU they stay memory-mapped.
            device: where the model is.
            dtype: what the model computes in.
        """
        self._held = held
        self._device = device
        self._dtype = dtype
        self._bits = graph.description.features == "float8_e4m3"
        self._scales = graph.description.scales
        self._features = {t: tensor_of(graph.features[t]).to(held) for t in NODE_TYPES}

    def gather(self, nodes: Nodes) -> dict[str, Tensor]:
        """[n, width] by node type, on the model's device."""
        return {t: self._gathered(t, ids) for t, ids in nodes.items()}

    def tables(self, nodes: Nodes) -> dict[str, Table]:
        """The same without gathering, where the features are on the model's device.

        Features of the host are gathered all the same, in the form that they are stored in.
        """
        return {t: self._table(t, ids) for t, ids in nodes.items() if len(ids)}

    def _table(self, node_type: str, ids: Tensor) -> Table:
        values = self._features[node_type]
        where = ids.to(self._held)
        rows: Tensor | None = where
        if self._held != self._device:
            values, rows = values.index_select(0, where).to(self._device), None
        if not self._bits:
            return Table(values, rows)
        return Table(values.view(torch.float8_e4m3fn), rows, 1.0 / self._scales[node_type])

    def _gathered(self, node_type: str, ids: Tensor) -> Tensor:
        rows = self._features[node_type].index_select(0, ids.to(self._held))
        rows = rows.to(self._device)
        if not self._bits:
            return rows.to(self._dtype)
        values = rows.view(torch.float8_e4m3fn).to(self._dtype)
        return values / self._scales[node_type]
