"""The nodes of a batch's neighbourhoods: which belong to one seed, and which all seeds share."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET

Nodes = dict[str, Tensor]
"""int64 [n] by node type."""


@attrs.frozen(eq=False)
class Drawn:
    """What was drawn of one relation for the nodes at one distance.

    Attributes:
        counts: int64 [nodes], edges of each.
        sources: int64 [edges], the nodes that they come from.
        owners: int64 [edges], the positions of the seeds whose neighbourhoods they belong to.
    """

    counts: Tensor
    sources: Tensor
    owners: Tensor


class Trees:
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

    def grow(self, found: dict[int, Drawn]) -> None:
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

    def find(self, node_type: str, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """For each source: whether it is a pair, and which (anything where it is none)."""
        return self._known(node_type, self._keys(node_type, drawn))

    def _keys(self, node_type: str, drawn: Drawn) -> Tensor:
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


class Shared:
    """The rows of level 1: each node once for each distance that it has from some seed.

    Attributes:
        nodes: by distance and type, the nodes; a type's rows are those of distance 0, then of 1, …
        of_pairs: by type, the row of each pair of the trees.
        of_sources: by relation, the row of each source that the last but one hop has drawn.
    """

    def __init__(
        self,
        trees: Trees,
        last: dict[int, Drawn],
        hops: int,
        numbering: dict[str, Numbering],
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
        self, node_type: str, last: dict[int, Drawn], rows: int, numbering: Numbering
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


class Numbering:
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
