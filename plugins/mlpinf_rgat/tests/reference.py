"""A neighbourhood sampler written the slow and plain way, one seed at a time.

It follows PyTorch Geometric's documented rules: breadth first; each node of a neighbourhood draws
once, when it is first reached; edges accumulate. What one node draws it asks the code under test,
because there the randomness is; everything else is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from mlpinf_rgat.drawing import draw
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET, into

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_rgat.sampler import CscTensors


@attrs.define
class Neighbourhood:
    """One seed's subgraph: nodes by type in the order in which they were found, and edges."""

    nodes: dict[str, list[int]]
    depth: dict[tuple[str, int], int]
    edges: dict[int, list[tuple[int, int]]]
    """By relation: (source, destination), as positions in ``nodes``."""

    def edge_index(self, number: int) -> torch.Tensor:
        pairs = self.edges[number]
        return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t()


def neighbourhood(
    csc: Sequence[CscTensors], seed_node: int, fanouts: Sequence[int], seed: int
) -> Neighbourhood:
    found = Neighbourhood(
        {t: [] for t in NODE_TYPES}, {}, {number: [] for number in range(len(RELATIONS))}
    )
    position: dict[tuple[str, int], int] = {}

    def place(node_type: str, node: int, depth: int) -> int:
        key = (node_type, node)
        if key not in position:
            position[key] = len(found.nodes[node_type])
            found.nodes[node_type].append(node)
            found.depth[key] = depth
        return position[key]

    place(TARGET, seed_node, 0)
    for depth, fanout in enumerate(fanouts):
        frontier = [key for key, at in found.depth.items() if at == depth]
        for node_type, node in frontier:
            for number in into(node_type):
                for source in drawn(csc, number, node, fanout, seed):
                    row = place(RELATIONS[number].source, source, depth + 1)
                    found.edges[number].append((row, position[node_type, node]))
    return found


def drawn(csc: Sequence[CscTensors], number: int, node: int, fanout: int, seed: int) -> list[int]:
    stream = seed * len(RELATIONS) + number
    one = torch.tensor([node])
    return draw(csc[number].indptr, csc[number].indices, one, fanout, stream)[1].tolist()
