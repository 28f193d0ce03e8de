"""A graph with IGBH's relations, made on the device: as much of IGBH-full as fits there.

IGBH-full has 2.2 TB of features and cannot be had here. What a batch costs depends on how many
edges its papers draw and how many nodes those lead to, so the node types have IGBH's proportions,
the small ones their true sizes, and degrees are lognormal with the means below. 5.81 thousand
million edges are published for all relations and 4.0 thousand million for citations; how the rest
divides is an estimate. Neighbours are drawn evenly, so nothing is nearer than in the true graph,
and each direction of a relation has edges of its own, which costs the same.
"""

from __future__ import annotations

import math
from typing import Final

import attrs
import torch

from mlpinf_rgat.layout import FULL_CLASSES, FULL_NODES, FULL_WIDTH
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET
from mlpinf_rgat.sampler import CscTensors

ASKED: Final = 788_379
"""Papers that are asked for, as in the true benchmark."""
_CHUNK: Final = 1 << 30


@attrs.frozen
class Degrees:
    """Edges into a node of a relation.

    Attributes:
        mean: edges; below 1 it is the share of nodes that have one.
        spread: deviation of the logarithm.
        least: edges of every node.
    """

    mean: float
    spread: float = 1.2
    least: int = 0


DEGREES: Final = {
    "cites": Degrees(30.0, 1.3, 1),  # both directions and a loop
    "written_by": Degrees(2.5, least=1),
    "rev_written_by": Degrees(2.6, least=1),
    "rev_affiliated_to": Degrees(0.17),
    "rev_topic": Degrees(3.9, least=1),
    "rev_published": Degrees(0.3),
    "rev_venue": Degrees(0.1),
}
"""Of papers and authors; the small types have the edges of the opposite direction."""
_OPPOSITE: Final = {
    "affiliated_to": ("author", "rev_affiliated_to"),
    "topic": (TARGET, "rev_topic"),
    "published": (TARGET, "rev_published"),
    "venue": (TARGET, "rev_venue"),
}


@attrs.frozen(eq=False)
class RandomGraph:
    """The graph on its device.

    Attributes:
        nodes: by type.
        relations: CSC, in the order of :data:`RELATIONS`.
        features: by type, uint8 [n, 1024], bits of e4m3.
        asked: int64 [788379], papers.
    """

    nodes: dict[str, int]
    relations: list[CscTensors]
    features: dict[str, torch.Tensor]
    asked: torch.Tensor

    @property
    def edges(self) -> int:
        """Edges of all relations."""
        return sum(len(csc.indices) for csc in self.relations)

    @classmethod
    def make(cls, papers: int, device: torch.device, width: int = FULL_WIDTH) -> RandomGraph:
        """A graph with so many papers."""
        share = papers / FULL_NODES[TARGET]
        nodes = {t: FULL_NODES[t] for t in NODE_TYPES}
        nodes[TARGET], nodes["author"] = papers, int(FULL_NODES["author"] * share)
        if papers < 1_000_000:  # a toy: the small types shrink as well
            nodes |= {t: max(8, papers // 50) for t in NODE_TYPES if t not in (TARGET, "author")}
        generator = torch.Generator(device).manual_seed(1)
        relations = [
            _csc(nodes[r.destination], nodes[r.source], _degrees(r.name, nodes), generator)
            for r in RELATIONS
        ]
        features = {t: _bits((nodes[t], width), generator) for t in NODE_TYPES}
        asked = torch.randint(papers, (ASKED,), generator=generator, device=device)
        return cls(nodes, relations, features, asked)


def classes(papers: int) -> int:
    """Of papers; fewer in a toy."""
    return FULL_CLASSES if papers >= 1_000_000 else 19


def _degrees(relation: str, nodes: dict[str, int]) -> Degrees:
    if relation in DEGREES:
        return DEGREES[relation]
    node_type, opposite = _OPPOSITE[relation]
    destination = next(r.destination for r in RELATIONS if r.name == relation)
    return Degrees(DEGREES[opposite].mean * nodes[node_type] / nodes[destination], least=1)


def _csc(
    destinations: int, sources: int, degrees: Degrees, generator: torch.Generator
) -> CscTensors:
    device = generator.device
    if degrees.mean < 1:
        counts = torch.rand(destinations, generator=generator, device=device) < degrees.mean
    else:
        middle = math.log(degrees.mean - degrees.least / 2) - degrees.spread**2 / 2
        normal = torch.randn(destinations, generator=generator, device=device)
        counts = (normal * degrees.spread + middle).exp_()
        counts = counts.clamp_(degrees.least, sources)
    indptr = torch.zeros(destinations + 1, dtype=torch.int64, device=device)
    indptr[1:] = counts.long().cumsum(0)
    edges = int(indptr[-1])
    indices = torch.randint(
        sources, (edges,), generator=generator, device=device, dtype=torch.int32
    )
    return CscTensors(indptr, indices)


def _bits(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Random e4m3 numbers below 2, none of which is no number."""
    bits = torch.empty(shape, dtype=torch.uint8, device=generator.device)
    flat = bits.view(-1)
    for first in range(0, len(flat), _CHUNK):
        part = flat[first : first + _CHUNK]
        part.random_(0, 256, generator=generator).bitwise_and_(0xBF)
    return bits
