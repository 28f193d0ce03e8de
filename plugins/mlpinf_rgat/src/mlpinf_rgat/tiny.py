"""The tiny variant: its graph, how it is split and sampled, and its weights."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from mlpinf_rgat.synthetic import SyntheticGraph

GRAPH: Final = SyntheticGraph(papers=20_000)
"""The graph that the weights were trained on; one of another size has the same classes."""

VALIDATION_SHARE: Final = 0.1
"""Of the papers; the official share of so small a graph would be a hundred papers."""

FANOUTS: Final = (15, 10, 5)
SAMPLING_SEED: Final = 42


def weights() -> Path:
    """The checkpoint that ships with the package."""
    return Path(str(resources.files("mlpinf_rgat") / "tiny_data" / "rgat-tiny.pt"))
