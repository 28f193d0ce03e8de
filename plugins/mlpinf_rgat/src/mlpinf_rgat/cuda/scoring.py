"""Products of many rows with a few vectors, the rows gathered from a table as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

    from mlpinf_rgat.store import Table

_ROWS: Final = 64
_WIDTH: Final = 128
"""Rows and features that a program of the kernel multiplies at a time."""
_LEAST: Final = 16
"""Columns of the smallest product that the matrix units do."""


def columns(count: int) -> int:
    """To how many columns the vectors have to be padded."""
    return max(_LEAST, int(triton.next_power_of_2(count)))


def scores(table: Table, vectors: Tensor) -> Tensor:
    """float32 [rows, columns]: each row of a table times each vector.

    Args:
        table: of features or states.
        vectors: [width, columns], padded to :func:`columns`, in the type to compute in.
    """
    width, count = vectors.shape
    out = torch.empty((len(table), count), dtype=torch.float32, device=vectors.device)
    if len(table):
        _scores[(triton.cdiv(len(table), _ROWS),)](
            table.values, table.rows, vectors, out, len(table), table.inverse_scale,
            WIDTH=width, COLUMNS=count, ROWS=_ROWS, PART=_WIDTH,
            GATHERED=table.ids is not None, EXACT=vectors.dtype == torch.float32,
        )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["ids"])
def _scores(
    values, ids, vectors, out, count, inverse_scale,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, PART: tl.constexpr,
    GATHERED: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """A program multiplies ROWS rows."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < count
    place = tl.load(ids + row, mask=inside, other=0) if GATHERED else row
    column = tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
    for first in range(0, WIDTH, PART):
        part = first + tl.arange(0, PART)
        known = part < WIDTH
        x = tl.load(
            values + place[:, None] * WIDTH + part[None, :],
            mask=inside[:, None] & known[None, :],
            other=0.0,
        )
        vector = tl.load(
            vectors + part[:, None] * COLUMNS + column[None, :], mask=known[:, None], other=0.0
        )
        x = x.to(vectors.dtype.element_ty)
        if EXACT:
            total = tl.dot(x, vector, total, input_precision="ieee")
        else:
            total = tl.dot(x, vector, total)
    at = row[:, None] * COLUMNS + column[None, :]
    tl.store(out + at, total * inverse_scale, mask=inside[:, None])
