"""The graph plugin's backend with random weights, on a graph made on the device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpu_parts.random_graph import ASKED, RandomGraph, classes
from mlpinf_rgat.graph import Description, Graph
from mlpinf_rgat.layout import FULL_WIDTH
from mlpinf_rgat.model import Rgat
from mlpinf_rgat.relations import NODE_TYPES
from mlpinf_rgat.samples import RgatSamples
from mlpinf_rgat.store import FeatureStore
from mlpinf_rgat.torch_backend import TorchBackend

if TYPE_CHECKING:
    from mlpinf_rgat.benchmarks import RgatSettings, TorchSettings
    from mlpinf_rgat.sampler import CscTensors
    from mlpinf_rgat.sharing import Share

FULL_PAPERS = 32_000_000
"""Papers of the graph on a card of 141 GB; its features take 67 GB."""
HIDDEN = 512


class RandomRgat(TorchBackend):
    """Everything is made when it is loaded."""

    def __init__(
        self,
        papers: int,
        benchmark: RgatSettings,
        settings: TorchSettings,
        share: Share,
        batch: int,
        width: int = FULL_WIDTH,
    ) -> None:
        """A graph of so many papers."""
        self._papers_made, self._width = papers, width
        super().__init__(samples().graph, Path(), benchmark, settings, share, batch=batch)

    def load(self) -> None:
        """Make graph and weights."""
        super().load()
        self._papers = self.made.asked.cpu()

    def _read_model(self) -> Any:
        torch.manual_seed(1)
        hidden = HIDDEN if self._width == FULL_WIDTH else 32
        return Rgat(self._width, hidden, classes(self._papers_made))

    def _place_edges(self, where: torch.device) -> list[CscTensors]:
        self.made = RandomGraph.make(self._papers_made, where, self._width)
        self._graph.description.nodes.update(self.made.nodes)
        return self.made.relations

    def _place_features(self, held: torch.device, dtype: torch.dtype) -> FeatureStore:
        return _OnDevice(self.made, held, dtype)

    def close(self) -> None:
        """Let go of everything."""
        super().close()
        del self.made


class _OnDevice(FeatureStore):
    """Features that are on the device already."""

    def __init__(self, graph: RandomGraph, device: torch.device, dtype: torch.dtype) -> None:
        self._held = self._device = device
        self._dtype = dtype
        self._bits = True
        self._scales = dict.fromkeys(NODE_TYPES, 1.0)
        self._features = graph.features


def samples() -> RgatSamples:
    """As many as the true benchmark asks for; there are neither features nor labels."""
    nodes = dict.fromkeys(NODE_TYPES, 1)
    scales = dict.fromkeys(NODE_TYPES, 1.0)
    about = Description(nodes, 1, FULL_WIDTH, "float8_e4m3", scales, 1, 0.005)
    asked = np.zeros(ASKED, dtype=np.int64)
    return RgatSamples(Graph(Path(), about, (), {}, asked, asked))
