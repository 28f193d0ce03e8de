"""The network of :mod:`mlpinf_rgat.model`, on the kernels of this package.

The same sums in the same order of operations: scores without projections, weighted sums before
they are projected. What is different is what is never written to memory: no gathered features, no
score of an edge. All relations into a node type are projected by one matrix product, which adds
them up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import attrs
import torch
from torch import Tensor
from torch.nn import functional

from mlpinf_rgat.cuda import attending, scoring
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET, into, out_of
from mlpinf_rgat.store import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_rgat.model import RelationalAttention, Rgat
    from mlpinf_rgat.sampler import Block

_CHUNK: Final = 1 << 15
"""Rows whose sums are in memory at the same time; 40 kB each of papers."""


class Network:
    """A network's weights as the kernels take them."""

    def __init__(self, model: Rgat, fanouts: Sequence[int]) -> None:
        """Takes the weights of a model on a CUDA device.

        Args:
            model: with :data:`attending.HEADS` heads.
            fanouts: most edges that a node draws of a relation.
        """
        with torch.inference_mode():
            layers = cast("list[RelationalAttention]", list(model.layers))
            self._layers = [_Layer(layer, max(fanouts)) for layer in layers]
        self._linear = model.linear

    def __call__(self, tables: Mapping[str, Table], blocks: Sequence[Block]) -> Tensor:
        """[seeds, classes], from features and what was drawn."""
        for layer, block in zip(self._layers, blocks, strict=True):
            states = layer(tables, block)
            if layer is not self._layers[-1]:
                states = {t: functional.leaky_relu_(state) for t, state in states.items()}
            tables = {t: Table(state) for t, state in states.items()}
        scores: Tensor = self._linear(states[TARGET])
        return scores


@attrs.frozen(eq=False)
class _Vectors:
    """Score vectors of a node type's relations, side by side.

    Attributes:
        matrix: [width, columns], padded.
        first: by relation, its first column.
    """

    matrix: Tensor
    first: dict[int, int]

    @classmethod
    def of(cls, vectors: Tensor, numbers: Sequence[int]) -> _Vectors:
        """From [11, width, heads]."""
        heads = vectors.shape[2]
        columns = scoring.columns(heads * len(numbers))
        matrix = vectors.new_zeros((vectors.shape[1], columns))
        for place, number in enumerate(numbers):
            matrix[:, place * heads : (place + 1) * heads] = vectors[number]
        return cls(matrix, {n: place * heads for place, n in enumerate(numbers)})


class _Layer:
    """One layer."""

    def __init__(self, layer: RelationalAttention, most: int) -> None:
        self._most = most
        self._hidden, self._width = layer.weight.shape[1:]
        per_head = layer.weight.view(len(RELATIONS), layer.heads, -1, self._width).float()
        sent = torch.einsum("rhd,rhdw->rwh", layer.source.float(), per_head)
        received = torch.einsum("rhd,rhdw->rwh", layer.target.float(), per_head)
        dtype = layer.weight.dtype
        self._sent = {t: _Vectors.of(sent.to(dtype), out_of(t)) for t in NODE_TYPES}
        self._received = {t: _Vectors.of(received.to(dtype), into(t)) for t in NODE_TYPES}
        # [heads, width, size] by relation
        self._projections = per_head.transpose(2, 3).to(dtype)
        self._bias = {t: layer.bias[list(into(t))].sum(0) for t in NODE_TYPES}

    def __call__(self, tables: Mapping[str, Table], block: Block) -> dict[str, Tensor]:
        """The next level's states."""
        sent = {t: scoring.scores(table, self._sent[t].matrix) for t, table in tables.items()}
        return {
            node_type: self._states(node_type, tables, sent, block)
            for node_type, rows in block.own.items()
            if len(rows)
        }

    def _states(
        self, node_type: str, tables: Mapping[str, Table], sent: Mapping[str, Tensor], block: Block
    ) -> Tensor:
        """[rows, hidden] of one node type."""
        own = block.own[node_type]
        vectors = self._received[node_type]
        received = scoring.scores(tables[node_type].chosen(own), vectors.matrix)
        numbers = [n for n in into(node_type) if n in block.edges and len(block.edges[n].sources)]
        weights = self._projections[numbers]
        heads, _, size = weights.shape[1:]
        weights = weights.transpose(0, 1).reshape(heads, len(numbers) * self._width, size)
        starts = {n: block.edges[n].counts.cumsum(0) - block.edges[n].counts for n in numbers}
        out = self._bias[node_type].repeat(len(own), 1)
        for first in range(0, len(own) if numbers else 0, _CHUNK):
            rows = slice(first, min(first + _CHUNK, len(own)))
            count = rows.stop - first
            sums = weights.new_empty((heads, count, len(numbers), self._width))
            for place, number in enumerate(numbers):
                source = RELATIONS[number].source
                columns, edges = self._sent[source].first[number], block.edges[number]
                attending.attend(
                    tables[source],
                    edges.sources,
                    starts[number][rows],
                    edges.counts[rows],
                    sent[source][:, columns : columns + heads],
                    received[rows, vectors.first[number] : vectors.first[number] + heads],
                    sums[:, :, place],
                    most=self._most,
                )
            projected = torch.bmm(sums.flatten(2), weights)
            out[rows].view(count, heads, size).add_(projected.transpose(0, 1))
        return out
