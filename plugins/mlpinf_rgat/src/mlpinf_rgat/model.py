"""The relational graph attention network, in PyTorch alone.

Source: the reference (``graph/R-GAT``). Each layer has a graph attention of its own for each of the
eleven relations, summed over the relations into a node type; the biases of all of those are added,
also where a node has no edge of one. Between layers there is a leaky ReLU (0.01), and a linear
layer follows on the papers' last states.

For a relation with weights W, head h, attention vectors a and b::

    e(u, v) = leaky_relu_0.2(a_h . W_h x_u  +  b_h . W_h x_v)
    out(v)  = sum over u of softmax(e)(u, v) W_h x_u,  heads side by side, + bias

Two things make it fast, and change nothing but the order of rounding:

- ``a_h . W_h x`` is a product with one vector a head, so scores need no projection;
- the weighted sum is taken of the x_u, and projected afterwards. There are several times fewer
  destinations than sources, so that much fewer projections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn
from torch.nn import functional

from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET, into, out_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mlpinf_rgat.sampler import Block, Edges

ATTENTION_SLOPE: Final = 0.2
HEADS: Final = 4

States = dict[str, "Tensor"]
"""[rows, width] by node type."""


class RelationalAttention(nn.Module):
    """One layer: eleven attentions, stacked in the order of :data:`RELATIONS`.

    Parameters:
        weight: [11, heads * size, width], the projections.
        source, target: [11, heads, size], the attention vectors a and b.
        bias: [11, heads * size].
    """

    def __init__(self, width: int, hidden: int, heads: int = HEADS) -> None:
        """Random parameters (Glorot); ``hidden`` is heads times size."""
        super().__init__()
        count, size = len(RELATIONS), hidden // heads
        self.heads = heads
        self.weight = nn.Parameter(torch.empty(count, hidden, width))
        self.source = nn.Parameter(torch.empty(count, heads, size))
        self.target = nn.Parameter(torch.empty(count, heads, size))
        self.bias = nn.Parameter(torch.zeros(count, hidden))
        for number in range(count):
            for parameter in (self.weight, self.source, self.target):
                nn.init.xavier_uniform_(parameter[number])

    def forward(self, states: States, block: Block) -> States:
        """The next level's states.

        Args:
            states: of the level below, by node type.
            block: rows and edges.
        """
        per_head = self.weight.view(
            len(RELATIONS), self.heads, -1, self.weight.shape[2]
        )  # [11, heads, size, width]
        score_source = torch.einsum("rhd,rhdw->rwh", self.source, per_head)
        score_target = torch.einsum("rhd,rhdw->rwh", self.target, per_head)
        sent = _scores(states, score_source, out_of)
        own = {t: states[t].index_select(0, rows) for t, rows in block.own.items() if len(rows)}
        received = _scores(own, score_target, into)
        out: States = {}
        for node_type, rows in own.items():
            total = self.bias[list(into(node_type))].sum(0).expand(len(rows), -1)
            for number in into(node_type):
                edges = block.edges.get(number)
                if edges is None or not len(edges.sources):
                    continue
                source = RELATIONS[number].source
                total = total + _attend(
                    states[source], sent[number], received[number], edges, per_head[number]
                )
            out[node_type] = total
        return out


class Rgat(nn.Module):
    """The whole network: from features to the scores of each class."""

    def __init__(
        self, width: int, hidden: int, classes: int, *, layers: int = 3, heads: int = HEADS
    ) -> None:
        """Random parameters.

        Args:
            width: features of a node.
            hidden: width of the states, all heads together.
            classes: of papers.
            layers: attentions one after the other.
            heads: of each attention.
        """
        super().__init__()
        widths = [width] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(RelationalAttention(w, hidden, heads) for w in widths)
        self.linear = nn.Linear(hidden, classes)

    def forward(self, features: States, blocks: tuple[Block, ...], dropout: float = 0.0) -> Tensor:
        """[seeds, classes].

        Args:
            features: level 0, by node type.
            blocks: one a layer.
            dropout: share of the states' numbers that training zeroes between layers.
        """
        states = features
        for layer, block in zip(self.layers, blocks, strict=True):
            states = layer(states, block)
            if layer is not self.layers[-1]:
                for node_type in states:
                    active = functional.leaky_relu(states[node_type])
                    states[node_type] = functional.dropout(active, dropout, self.training)
        scores: Tensor = self.linear(states[TARGET])
        return scores


def _scores(
    states: States, vectors: Tensor, relations_of: Callable[[str], tuple[int, ...]]
) -> dict[int, Tensor]:
    """By relation, [rows, heads]: one product a node type for all of its relations."""
    found: dict[int, Tensor] = {}
    for node_type in NODE_TYPES:
        if node_type in states and len(states[node_type]):
            numbers = relations_of(node_type)
            stacked = torch.cat([vectors[number] for number in numbers], dim=1)
            parts = torch.split(states[node_type] @ stacked, vectors.shape[2], dim=1)
            found |= dict(zip(numbers, parts, strict=True))
    return found


def _attend(states: Tensor, sent: Tensor, received: Tensor, edges: Edges, weight: Tensor) -> Tensor:
    """What one relation adds to its destinations: [rows, heads * size].

    Args:
        states: [source rows, width].
        sent: [source rows, heads], the sources' share of the scores.
        received: [rows, heads], the destinations'.
        edges: from sources to rows.
        weight: [heads, size, width], the projections.
    """
    counts, sources = edges.counts, edges.sources
    scores = sent.index_select(0, sources)
    scores = scores + torch.repeat_interleave(received, counts, dim=0, output_size=len(sources))
    scores = functional.leaky_relu(scores, ATTENTION_SLOPE).float()
    highest = torch.segment_reduce(scores.detach(), "max", lengths=counts, initial=-torch.inf)
    scores = scores - torch.repeat_interleave(highest, counts, dim=0, output_size=len(sources))
    shares = scores.exp()
    whole = torch.segment_reduce(shares, "sum", lengths=counts, initial=0)
    # The highest counts 1, so that only a row without an edge has less, and its sums are 0.
    whole = whole.clamp_min(1.0).to(states.dtype)
    shares = shares.to(states.dtype).t().contiguous()
    starts = counts.cumsum(0) - counts
    messages = [
        functional.embedding_bag(sources, states, starts, mode="sum", per_sample_weights=share)
        @ projection.t()
        for share, projection in zip(shares, weight, strict=True)
    ]
    return (torch.stack(messages, dim=1) / whole.unsqueeze(2)).flatten(1)
