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

from mlpinf_rgat.drawing import draw
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET, into

if TYPE_CHECKING:
    from collections.abc import Sequence

Nodes = dict[str, Tensor]
"""int64 [n] by node type."""


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
    ) -> None:
        """Make a sampler.

        Args:
            relations: in the order of :data:`RELATIONS`, on one device.
            nodes: by type.
            fanouts: most edges drawn of a relation, nearest hop first; one for each layer, at
                least two.
            seed: of every draw.
        """
        if len(fanouts) < 2:
            raise ValueError("a neighbourhood has two hops or more")
        self._relations = relations
        self._nodes = nodes
        self._fanouts = tuple(fanouts)
        self._seed = seed
        self._device = relations[0].indptr.device
        self._numbering = {t: _Numbering(nodes[t], self._device) for t in NODE_TYPES}

    def sample(self, seeds: Tensor) -> Sample:
        """The neighbourhoods of papers, int64 [n]; repeated ones get one each."""
        hops = len(self._fanouts)
        trees = _Trees(seeds, self._nodes)
        drawn: list[dict[int, _Drawn]] = []
        for depth in range(hops - 1):
            found = self._expand(trees, depth)
            if depth < hops - 2:
                trees.grow(found)
            drawn.append(found)
        shared = _Shared(trees, drawn[-1], hops, self._numbering)
        inputs, first = self._first_block(shared)
        upper = [
            _upper_block(trees, drawn, layer, hops, shared if layer == 2 else None)
            for layer in range(2, hops + 1)
        ]
        return Sample(inputs, (first, *upper))

    def _expand(self, trees: _Trees, depth: int) -> dict[int, _Drawn]:
        """What the nodes at a distance draw: for each relation, in the order of those nodes."""
        found = {}
        for node_type in NODE_TYPES:
            owners, nodes = trees.at(node_type, depth)
            for number in into(node_type) if len(nodes) else ():
                counts, sources = self._draw(number, nodes, self._fanouts[depth])
                found[number] = _Drawn(counts, sources, torch.repeat_interleave(owners, counts))
        return found

    def _draw(self, number: int, nodes: Tensor, fanout: int) -> tuple[Tensor, Tensor]:
        csc = self._relations[number]
        stream = self._seed * len(RELATIONS) + number
        return draw(csc.indptr, csc.indices, nodes, fanout, stream)

    def _first_block(self, shared: _Shared) -> tuple[Nodes, Block]:
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


@attrs.frozen(eq=False)
class _Drawn:
    """What was drawn of one relation for the nodes at one distance.

    Attributes:
        counts: int64 [nodes], edges of each.
        sources: int64 [edges], the nodes that they come from.
        owners: int64 [edges], the positions of the seeds whose neighbourhoods they belong to.
    """

    counts: Tensor
    sources: Tensor
    owners: Tensor


class _Trees:
    """The nodes of each seed's neighbourhood up to the last hop but one, as (owner, node) pairs.

    A type's pairs are in the order of their distance from the seed.
    """

    def __init__(self, seeds: Tensor, nodes: dict[str, int]) -> None:
        self._sizes = nodes
        none = seeds.new_empty(0)
        self.owners: Nodes = dict.fromkeys(NODE_TYPES, none)
        self.nodes: Nodes = dict.fromkeys(NODE_TYPES, none)
        self.counts: list[dict[str, int]] = []
        """Pairs of each type, by distance."""
        self._sorted: Nodes = {}
        self._order: Nodes = {}
        self.owners[TARGET] = torch.arange(len(seeds), device=seeds.device)
        self.nodes[TARGET] = seeds
        self.counts.append({t: len(self.nodes[t]) for t in NODE_TYPES})
        self._sort()

    def at(self, node_type: str, depth: int) -> tuple[Tensor, Tensor]:
        """Owners and nodes of the pairs at a distance."""
        start = self.upto(node_type, depth - 1)
        stop = start + self.counts[depth][node_type]
        return self.owners[node_type][start:stop], self.nodes[node_type][start:stop]

    def upto(self, node_type: str, depth: int) -> int:
        """How many pairs of a type are at most so far from their seed."""
        return sum(level[node_type] for level in self.counts[: depth + 1])

    def grow(self, found: dict[int, _Drawn]) -> None:
        """Add the pairs that were drawn and are not there yet, one hop farther away."""
        added = {}
        for node_type in NODE_TYPES:
            drawn = [
                found[n] for n, r in enumerate(RELATIONS) if r.source == node_type and n in found
            ]
            keys = self.nodes[node_type].new_empty(0)
            if drawn:
                keys = torch.unique(torch.cat([self._keys(node_type, d) for d in drawn]))
                keys = keys[~self._known(node_type, keys)[0]]
            size = self._sizes[node_type]
            self.owners[node_type] = torch.cat([self.owners[node_type], keys // size])
            self.nodes[node_type] = torch.cat([self.nodes[node_type], keys % size])
            added[node_type] = len(keys)
        self.counts.append(added)
        self._sort()

    def find(self, node_type: str, drawn: _Drawn) -> tuple[Tensor, Tensor]:
        """For each source: whether it is a pair, and which (anything where it is none)."""
        return self._known(node_type, self._keys(node_type, drawn))

    def _keys(self, node_type: str, drawn: _Drawn) -> Tensor:
        return drawn.owners * self._sizes[node_type] + drawn.sources

    def _known(self, node_type: str, keys: Tensor) -> tuple[Tensor, Tensor]:
        known = self._sorted[node_type]
        if not len(known):
            return torch.zeros_like(keys, dtype=torch.bool), torch.zeros_like(keys)
        place = torch.searchsorted(known, keys).clamp_(max=len(known) - 1)
        return known[place] == keys, self._order[node_type][place]

    def _sort(self) -> None:
        for node_type in NODE_TYPES:
            keys = self.owners[node_type] * self._sizes[node_type] + self.nodes[node_type]
            self._sorted[node_type], self._order[node_type] = torch.sort(keys)


class _Shared:
    """The rows of level 1: each node once for each distance that it has from some seed.

    Attributes:
        nodes: by distance and type, the nodes; a type's rows are those of distance 0, then of 1, …
        of_pairs: by type, the row of each pair of the trees.
        of_sources: by relation, the row of each source that the last but one hop has drawn.
    """

    def __init__(
        self,
        trees: _Trees,
        last: dict[int, _Drawn],
        hops: int,
        numbering: dict[str, _Numbering],
    ) -> None:
        self.nodes: list[Nodes] = [{} for _ in range(hops)]
        self.of_pairs: Nodes = {}
        self.of_sources: dict[int, Tensor] = {}
        self._trees = trees
        for node_type in NODE_TYPES:
            rows, parts = 0, []
            for depth in range(hops - 1):
                unique, inverse = numbering[node_type].number(trees.at(node_type, depth)[1])
                self.nodes[depth][node_type] = unique
                parts.append(inverse + rows)
                rows += len(unique)
            self.of_pairs[node_type] = torch.cat(parts)
            self._farthest(node_type, last, rows, numbering[node_type])

    def _farthest(
        self, node_type: str, last: dict[int, _Drawn], rows: int, numbering: _Numbering
    ) -> None:
        """Sources that are no pairs are at the greatest distance that still draws."""
        places, fresh = {}, [self.of_pairs[node_type].new_empty(0)]
        for number, drawn in last.items():
            if RELATIONS[number].source == node_type:
                known, pair = self._trees.find(node_type, drawn)
                places[number] = known
                row = torch.zeros_like(pair)
                row[known] = self.of_pairs[node_type][pair[known]]
                self.of_sources[number] = row
                fresh.append(drawn.sources[~known])
        unique, inverse = numbering.number(torch.cat(fresh))
        self.nodes[-1][node_type] = unique
        parts = torch.split(inverse + rows, [len(part) for part in fresh[1:]])
        for (number, known), part in zip(places.items(), parts, strict=True):
            self.of_sources[number][~known] = part


def _upper_block(
    trees: _Trees, drawn: list[dict[int, _Drawn]], layer: int, hops: int, shared: _Shared | None
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


class _Numbering:
    """Numbers distinct nodes in a batch, without sorting.

    A node's entry of the table says where it stood in the batch at hand; entries of other nodes are
    never read, so the table is neither cleared nor walked through. It takes 4 bytes a node.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._last = torch.empty(size, dtype=torch.int32, device=device)

    def number(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct nodes, and the position among them of each one given."""
        positions = torch.arange(len(nodes), dtype=torch.int32, device=nodes.device)
        self._last.scatter_(0, nodes, positions)
        stands_for = self._last.gather(0, nodes)
        chosen = stands_for == positions
        numbers = chosen.cumsum(0) - 1
        return nodes[chosen], numbers.index_select(0, stands_for)
