"""Drawing edges without replacement, for many nodes at once, from a random stream for each node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from torch import Tensor

# splitmix64's constants (Steele, Lea, Flood 2014) as signed integers: PyTorch multiplies those
# modulo 2^64 on every device.
GAMMA: Final = 0x9E3779B97F4A7C15 - (1 << 64)
MIX_1: Final = 0xBF58476D1CE4E5B9 - (1 << 64)
MIX_2: Final = 0x94D049BB133111EB - (1 << 64)


def draw(
    indptr: Tensor, indices: Tensor, nodes: Tensor, fanout: int, stream: int
) -> tuple[Tensor, Tensor]:
    """Up to ``fanout`` edges into each node, every edge as likely as any other.

    What a node draws depends on its own number and ``stream`` alone.

    Args:
        indptr: int64 [destinations + 1].
        indices: integers [edges], sources of each destination.
        nodes: int64 [n], destinations; may be empty.
        fanout: most edges of a node. One with no more edges than that draws all of them.
        stream: tells the draws of one relation from those of another.

    Returns:
        int64 [n], the edges of each node, and int64 [edges], their sources in the same order.
    """
    begins = indptr[nodes]
    degrees = indptr[nodes + 1] - begins
    counts = degrees.clamp(max=fanout)
    ends = counts.cumsum(0)
    firsts = ends - counts
    total = int(ends[-1]) if len(ends) else 0
    # Where each drawn edge lies in the list: counted up from its node's first, to begin with.
    places = torch.repeat_interleave(begins - firsts, counts, output_size=total)
    places += torch.arange(total, device=nodes.device)
    many = (degrees > fanout).nonzero().squeeze(1)
    if len(many):
        chosen = _choose(nodes[many], degrees[many], fanout, stream)
        chosen += begins[many]
        column = torch.arange(fanout, device=nodes.device).unsqueeze(1)
        places[(firsts[many] + column).view(-1)] = chosen.view(-1)
    return counts, indices.index_select(0, places).long()


def _choose(nodes: Tensor, degrees: Tensor, fanout: int, stream: int) -> Tensor:
    """int64 [fanout, n]: different numbers below each node's degree (Floyd's algorithm).

    The i-th is drawn below ``degree - fanout + i + 1``; where it was chosen before, that bound's
    last takes its place.
    """
    steps = torch.arange(fanout, device=nodes.device).unsqueeze(1)
    last = degrees - fanout + steps
    chosen = (_uniform(nodes, steps, stream) * (last + 1)).long()
    chosen = torch.minimum(chosen, last)  # a product may be rounded up to its bound
    for step in range(1, fanout):
        clash = (chosen[:step] == chosen[step]).any(0)
        chosen[step] = torch.where(clash, last[step], chosen[step])
    return chosen


def _uniform(nodes: Tensor, steps: Tensor, stream: int) -> Tensor:
    """float64 [steps, nodes] in [0, 1), a function of the node, the step and the stream."""
    start = _mix(_mix(nodes * GAMMA + stream) ^ scalar_mix(stream))
    return (
        _mix(start + (steps + 1) * GAMMA)
        .bitwise_right_shift_(11)
        .bitwise_and_((1 << 53) - 1)
        .double()
        .mul_(2.0**-53)
    )


def _mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser, element by element; shifts are logical."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * MIX_1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * MIX_2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def scalar_mix(x: int) -> int:
    """The same of one number, as a signed integer."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    x ^= x >> 31
    return x - (1 << 64) if x >> 63 else x
