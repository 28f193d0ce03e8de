"""The draw of :mod:`mlpinf_rgat.drawing` as one kernel: the same edges, and a few launches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
import triton
import triton.language as tl

from mlpinf_rgat import drawing

if TYPE_CHECKING:
    from torch import Tensor

_NODES: Final = 64
"""Nodes that a program of the kernel draws for."""

_GAMMA: Any = tl.constexpr(drawing.GAMMA)
_MIX_1: Any = tl.constexpr(drawing.MIX_1)
_MIX_2: Any = tl.constexpr(drawing.MIX_2)


def draw(
    indptr: Tensor, indices: Tensor, nodes: Tensor, fanout: int, stream: int
) -> tuple[Tensor, Tensor]:
    """As :func:`mlpinf_rgat.drawing.draw`, on a CUDA device."""
    begins = indptr[nodes]
    degrees = indptr[nodes + 1] - begins
    counts = degrees.clamp(max=fanout)
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    sources = torch.empty(total, dtype=torch.int64, device=nodes.device)
    if total:
        _draw[(triton.cdiv(len(nodes), _NODES),)](
            nodes, begins, degrees, ends, indices, sources, len(nodes),
            stream, drawing.scalar_mix(stream),
            FANOUT=fanout, SLOTS=triton.next_power_of_2(fanout), NODES=_NODES,
        )  # fmt: skip
    return counts, sources


@triton.jit(
    do_not_specialize=["count", "stream", "mixed_stream"],  # or each would be compiled for anew
    do_not_specialize_on_alignment=["nodes"],
)
def _draw(
    nodes, begins, degrees, ends, indices, sources, count, stream, mixed_stream,
    FANOUT: tl.constexpr, SLOTS: tl.constexpr, NODES: tl.constexpr,
):  # fmt: skip
    """A program draws for NODES nodes, in SLOTS places each of which FANOUT at most are used."""
    row = tl.program_id(0).to(tl.int64) * NODES + tl.arange(0, NODES)
    inside = row < count
    node = tl.load(nodes + row, mask=inside, other=0)
    degree = tl.load(degrees + row, mask=inside, other=0)
    slot = tl.arange(0, SLOTS)[None, :]
    places = tl.zeros([NODES, SLOTS], dtype=tl.int64) + slot
    many = degree > FANOUT
    if tl.max(many.to(tl.int32), 0) > 0:
        state = _mix(_mix(node * _GAMMA + stream) ^ mixed_stream)
        chosen = tl.full([NODES, SLOTS], -1, tl.int64)
        for step in tl.static_range(FANOUT):  # Floyd's algorithm
            state += _GAMMA
            last = degree - FANOUT + step
            uniform = ((_mix(state) >> 11) & 0x1FFFFFFFFFFFFF).to(tl.float64) * (2.0**-53)
            drawn = (uniform * (last + 1).to(tl.float64)).to(tl.int64)
            drawn = tl.minimum(drawn, last)
            clash = tl.max((chosen == drawn[:, None]).to(tl.int32), 1) > 0
            drawn = tl.where(clash, last, drawn)
            chosen = tl.where(slot == step, drawn[:, None], chosen)
        places = tl.where(many[:, None], chosen, places)
    drawing_ = tl.minimum(degree, FANOUT)
    first = tl.load(ends + row, mask=inside, other=0) - drawing_
    begin = tl.load(begins + row, mask=inside, other=0)
    wanted = inside[:, None] & (slot < drawing_[:, None])
    source = tl.load(indices + begin[:, None] + places, mask=wanted, other=0)
    tl.store(sources + first[:, None] + slot, source.to(tl.int64), mask=wanted)


@triton.jit
def _mix(x):
    """splitmix64's finaliser; shifts are made logical."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MIX_1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
