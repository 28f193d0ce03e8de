"""Layered neighbour sampling: for each seed the neighbourhood that PyTorch Geometric would draw.

The rules of the draw (source: the reference and PyTorch Geometric's neighbour sampler, one
neighbourhood a seed, ``disjoint=True``):

- a seed draws up to ``fanouts[0]`` edges of each relation into it, without replacement; each node
  found by that draws up to ``fanouts[1]``, and so on;
- each node of a neighbourhood draws once, at its least distance from the seed;
- all edges count in every layer.

**The same answer in every batch.** What a node draws depends on the sampling seed, the relation,
the node and the fan-out alone: its random stream is a hash of those, not a generator that other
nodes advance. And neighbourhoods of different seeds are never merged, because a node that is near
to one seed and far from another draws differently for the two.

**What is shared all the same.** After the first layer a node's state depends on its raw neighbours
alone: on the node and its distance, and on no seed. So the last hop, which has nearly all of the
edges, is drawn and computed once for each node and distance in the batch, and only the few rows
above it belong to a seed. A batch of neighbourhoods costs about what a merged one does.

One code for CPUs and GPUs: only PyTorch operations over the whole batch, sized by what was drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from mlpinf_rgat import drawing
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET, into
from mlpinf_rgat.trees import Drawn, Nodes, Numbering, Shared, Trees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Draw = Callable[[Tensor, Tensor, Tensor, int, int], tuple[Tensor, Tensor]]
    """As :func:`mlpinf_rgat.drawing.draw`."""


@attrs.frozen(eq=False)
class Edges:
    """The drawn edges of one relation, in the order of their destinations' rows.

    Attributes:
        counts: int64 [rows], edges into each row.
        sources: int64 [edges], rows of the source type one level below.
    """

    counts: Tensor
    sources: Tensor


@attrs.frozen(eq=False)
class Block:
    """What one layer computes.

    Attributes:
        own: by node type, int64 [rows]: the row of the same node one level below.
        edges: by relation's number.
    """

    own: Nodes
    edges: dict[int, Edges]


@attrs.frozen(eq=False)
class Sample:
    """The neighbourhoods of a batch.

    Attributes:
        inputs: by node type, the nodes whose features are level 0's rows.
        blocks: one a layer, the first layer's first. The last one's rows are the seeds.
    """

    inputs: Nodes
    blocks: tuple[Block, ...]

    def to(self, device: torch.device) -> Sample:
        """The same on another device; the inputs stay, to be gathered where the features are."""
        blocks = [
            Block(
                {t: rows.to(device) for t, rows in block.own.items()},
                {
                    n: Edges(edges.counts.to(device), edges.sources.to(device))
                    for n, edges in block.edges.items()
                },
            )
            for block in self.blocks
        ]
        return Sample(self.inputs, tuple(blocks))


@attrs.frozen(eq=False)
class CscTensors:
    """A relation's CSC, where sampling happens: int64 [destinations + 1], int32 [edges]."""

    indptr: Tensor
    indices: Tensor


class Sampler:
    """Draws neighbourhoods. One a thread: it owns working memory."""

    def __init__(
        self,
        relations: Sequence[CscTensors],
        nodes: dict[str, int],
        fanouts: Sequence[int],
        seed: int,
        draw: Draw = drawing.draw,
    ) -> None:
        """Make a sampler.

        Args:
            relations: in the order of :data:`RELATIONS`, on one device.
            nodes: by type.
            fanouts: most edges drawn of a relation, nearest hop first; one for each layer, at
                least two.
            seed: of every draw.
            draw: draws for many nodes at once, always the same edges.
        """
        if len(fanouts) < 2:
            raise ValueError("a neighbourhood has two hops or more")
        self._relations = relations
        self._nodes = nodes
        self._fanouts = tuple(fanouts)
        self._seed = seed
        self._draw_edges = draw
        self._device = relations[0].indptr.device
        self._numbering = {t: Numbering(nodes[t], self._device) for t in NODE_TYPES}

    def sample(self, seeds: Tensor) -> Sample:
        """The neighbourhoods of papers, int64 [n]; repeated ones get one each."""
        hops = len(self._fanouts)
        trees = Trees(seeds, self._nodes)
        drawn: list[dict[int, Drawn]] = []
        for depth in range(hops - 1):
            found = self._expand(trees, depth)
            if depth < hops - 2:
                trees.grow(found)
            drawn.append(found)
        shared = Shared(trees, drawn[-1], hops, self._numbering)
        inputs, first = self._first_block(shared)
        upper = [
            _upper_block(trees, drawn, layer, hops, shared if layer == 2 else None)
            for layer in range(2, hops + 1)
        ]
        return Sample(inputs, (first, *upper))

    def _expand(self, trees: Trees, depth: int) -> dict[int, Drawn]:
        """What the nodes at a distance draw: for each relation, in the order of those nodes."""
        found = {}
        for node_type in NODE_TYPES:
            owners, nodes = trees.at(node_type, depth)
            for number in into(node_type) if len(nodes) else ():
                counts, sources = self._draw(number, nodes, self._fanouts[depth])
                owner = torch.repeat_interleave(owners, counts, output_size=len(sources))
                found[number] = Drawn(counts, sources, owner)
        return found

    def _draw(self, number: int, nodes: Tensor, fanout: int) -> tuple[Tensor, Tensor]:
        csc = self._relations[number]
        stream = self._seed * len(RELATIONS) + number
        return self._draw_edges(csc.indptr, csc.indices, nodes, fanout, stream)

    def _first_block(self, shared: Shared) -> tuple[Nodes, Block]:
        """Draw for each node and distance, and number the raw nodes that this leads to."""
        counts: dict[int, list[Tensor]] = {}
        reached: dict[int, list[Tensor]] = {}
        for depth, fanout in enumerate(self._fanouts):
            for node_type in NODE_TYPES:
                nodes = shared.nodes[depth][node_type]
                for number in into(node_type):
                    count, sources = self._draw(number, nodes, fanout)
                    counts.setdefault(number, []).append(count)
                    reached.setdefault(number, []).append(sources)
        inputs: Nodes = {}
        own: Nodes = {}
        rows: dict[int, Tensor] = {}
        for node_type in NODE_TYPES:
            numbers = [n for n, r in enumerate(RELATIONS) if r.source == node_type]
            mine = torch.cat([level[node_type] for level in shared.nodes])
            parts = [mine, *(torch.cat(reached[number]) for number in numbers)]
            unique, inverse = self._numbering[node_type].number(torch.cat(parts))
            inputs[node_type] = unique
            own[node_type], *others = torch.split(inverse, [len(part) for part in parts])
            rows |= dict(zip(numbers, others, strict=True))
        edges = {n: Edges(torch.cat(counts[n]), rows[n]) for n in range(len(RELATIONS))}
        return inputs, Block(own, edges)


def _upper_block(
    trees: Trees, drawn: list[dict[int, Drawn]], layer: int, hops: int, shared: Shared | None
) -> Block:
    """A layer above the first: its rows are the pairs that are near enough to matter.

    Args:
        trees: the pairs.
        drawn: by distance, what they drew.
        layer: from 2.
        hops: layers in all.
        shared: level 1's rows for layer 2, which lies on them; None for the layers above, whose
            level below is made of the pairs themselves.
    """
    deepest = hops - layer
    own: Nodes = {}
    for node_type in NODE_TYPES:
        count = trees.upto(node_type, deepest)
        if shared is not None:
            own[node_type] = shared.of_pairs[node_type][:count]
        else:
            own[node_type] = torch.arange(count, device=trees.nodes[TARGET].device)
    edges = {}
    for number, relation in enumerate(RELATIONS):
        parts = [
            (depth, found[number])
            for depth, found in enumerate(drawn[: deepest + 1])
            if number in found
        ]
        if not parts:
            continue
        sources = []
        for depth, part in parts:
            if shared is not None and depth == hops - 2:
                sources.append(shared.of_sources[number])
                continue
            pair = trees.find(relation.source, part)[1]
            sources.append(shared.of_pairs[relation.source][pair] if shared is not None else pair)
        edges[number] = Edges(torch.cat([p.counts for _, p in parts]), torch.cat(sources))
    return Block(own, edges)
