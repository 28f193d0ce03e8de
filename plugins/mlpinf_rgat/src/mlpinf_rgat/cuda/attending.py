"""One relation's attention: softmax over a row's edges, and the weighted sums of their sources.

A row's edges are read once: the shares are worked out from the scores, which are few numbers, and
the sources' rows are then summed under the shares of all heads at the same time, straight from
where they lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import triton
import triton.language as tl

from mlpinf_rgat.model import ATTENTION_SLOPE

if TYPE_CHECKING:
    from torch import Tensor

    from mlpinf_rgat.store import Table

HEADS: Final = 4
"""The kernel is written for so many."""
_AT_ONCE: Final = 5
"""Sources whose rows are on their way at the same time."""
_SLOPE: Any = tl.constexpr(ATTENTION_SLOPE)


def attend(
    table: Table, sources: Tensor, starts: Tensor, counts: Tensor,
    sent: Tensor, received: Tensor, out: Tensor, *, most: int,
) -> None:  # fmt: skip
    """Write what rows gather from their sources, not projected yet.

    Args:
        table: the sources' features or states.
        sources: int64 [edges], rows of the table.
        starts: int64 [rows], each row's first edge.
        counts: int64 [rows], its edges, ``most`` at most; a row without one gets zeros.
        sent: float32 [table's rows, 4], the sources' share of the scores; a view is enough.
        received: float32 [rows, 4], the destinations'.
        out: [4, rows, width], written; its last dimension is contiguous.
        most: edges of a row.
    """
    rows, width = out.shape[1:]
    block = triton.next_power_of_2(width)
    _attend[(rows,)](
        table.values, table.rows, sources, starts, counts, sent, received, out,
        sent.stride(0), received.stride(0), out.stride(0), out.stride(1), table.inverse_scale,
        WIDTH=width, BLOCK=block, EDGES=triton.next_power_of_2(most), AT_ONCE=_AT_ONCE,
        GATHERED=table.ids is not None, num_warps=max(1, min(4, block // 256)),
    )  # fmt: skip


@triton.jit(
    do_not_specialize_on_alignment=["sources", "starts", "counts"]  # views of larger arrays
)
def _attend(
    values, ids, sources, starts, counts, sent, received, out,
    sent_stride, received_stride, head_stride, row_stride, inverse_scale,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr, AT_ONCE: tl.constexpr,
    GATHERED: tl.constexpr,
):  # fmt: skip
    """A program computes one row, all heads."""
    row = tl.program_id(0).to(tl.int64)
    begin = tl.load(starts + row)
    count = tl.load(counts + row).to(tl.int32)
    column = tl.arange(0, BLOCK)
    known = column < WIDTH
    received += row * received_stride
    best0, scale0 = _softmax(sources + begin, count, sent, sent_stride, received, 0, EDGES)
    best1, scale1 = _softmax(sources + begin, count, sent, sent_stride, received, 1, EDGES)
    best2, scale2 = _softmax(sources + begin, count, sent, sent_stride, received, 2, EDGES)
    best3, scale3 = _softmax(sources + begin, count, sent, sent_stride, received, 3, EDGES)
    own0 = tl.load(received)
    own1 = tl.load(received + 1)
    own2 = tl.load(received + 2)
    own3 = tl.load(received + 3)
    sum0 = tl.zeros([BLOCK], dtype=tl.float32)
    sum1 = tl.zeros([BLOCK], dtype=tl.float32)
    sum2 = tl.zeros([BLOCK], dtype=tl.float32)
    sum3 = tl.zeros([BLOCK], dtype=tl.float32)
    first = 0
    while first < count:
        for more in tl.static_range(AT_ONCE):
            there = first + more < count
            source = tl.load(sources + begin + first + more, mask=there, other=0)
            place = tl.load(ids + source, mask=there, other=0) if GATHERED else source
            x = tl.load(values + place * WIDTH + column, mask=known & there, other=0.0)
            x = x.to(tl.float32)
            score = sent + source * sent_stride
            sum0 += _share(score, own0, best0, there) * x
            sum1 += _share(score + 1, own1, best1, there) * x
            sum2 += _share(score + 2, own2, best2, there) * x
            sum3 += _share(score + 3, own3, best3, there) * x
        first += AT_ONCE
    out += row * row_stride + column
    kind = out.dtype.element_ty
    tl.store(out, (sum0 * (scale0 * inverse_scale)).to(kind), mask=known)
    tl.store(out + head_stride, (sum1 * (scale1 * inverse_scale)).to(kind), mask=known)
    tl.store(out + 2 * head_stride, (sum2 * (scale2 * inverse_scale)).to(kind), mask=known)
    tl.store(out + 3 * head_stride, (sum3 * (scale3 * inverse_scale)).to(kind), mask=known)


@triton.jit
def _softmax(sources, count, sent, stride, received, HEAD: tl.constexpr, EDGES: tl.constexpr):
    """A row's greatest score of a head, and one over the sum of its shares."""
    edge = tl.arange(0, EDGES)
    there = edge < count
    source = tl.load(sources + edge, mask=there, other=0)
    score = tl.load(sent + source * stride + HEAD, mask=there, other=0.0)
    score += tl.load(received + HEAD)
    score = tl.where(there, tl.where(score > 0, score, score * _SLOPE), -float("inf"))
    best = tl.where(count > 0, tl.max(score, 0), 0.0)
    whole = tl.sum(tl.exp(score - best), 0)
    return best, 1.0 / tl.maximum(whole, 1.0)


@triton.jit
def _share(score, own, best, there):
    """A source's share, before the division by the sum of all."""
    value = tl.load(score, mask=there, other=0.0) + own
    value = tl.where(value > 0, value, value * _SLOPE)
    return tl.where(there, tl.exp(value - best), 0.0)
