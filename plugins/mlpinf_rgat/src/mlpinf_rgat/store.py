"""The graph where PyTorch works with it: CSC for the sampler, features for the model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from mlpinf_rgat.relations import NODE_TYPES
from mlpinf_rgat.sampler import CscTensors

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

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

    def _gathered(self, node_type: str, ids: Tensor) -> Tensor:
        rows = self._features[node_type].index_select(0, ids.to(self._held))
        rows = rows.to(self._device)
        if not self._bits:
            return rows.to(self._dtype)
        values = rows.view(torch.float8_e4m3fn).to(self._dtype)
        return values / self._scales[node_type]
