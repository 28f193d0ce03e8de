"""Attention of one query a row on a CUDA device: keys and values are read once, and little else.

And how they get to where they are read from: each head's together.

A decoder's step asks with one query a row and head, so what it costs is the reading of keys and
values. Kernels for many queries read them through tiles that are nearly empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

_KEYS: Final = 32
"""Keys that a program of the kernel looks at at a time; with 4 warps the fastest on an H200."""
_WARPS: Final = 4
_TOKENS: Final = 64
"""Tokens that a program copies."""
_LEAST: Any = tl.constexpr(-1.0e30)
_LOG2_E: Any = tl.constexpr(1.4426950408889634)


def attend(query: Tensor, key: Tensor, value: Tensor, last: Tensor | None = None) -> Tensor:
    """Attention of scaled queries; softmax and sums in float32.

    Args:
        query: [rows, heads, 1, width], scaled already; a view of larger rows is enough.
        key: [rows, heads, keys, width]; the last two dimensions lie without gaps. ``value`` too.
        value: as ``key``, and with its strides.
        last: int64 [1], the last key that is looked at; None for all of them.

    Returns:
        [rows, 1, heads * width].
    """
    rows, heads, keys, width = key.shape
    out = torch.empty((rows, 1, heads * width), dtype=query.dtype, device=query.device)
    _attend[(heads, rows)](
        query, key, value, out, keys if last is None else last,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1),
        WIDTH=width, BLOCK=triton.next_power_of_2(width), KEYS=_KEYS, READ_LAST=last is not None,
        num_warps=_WARPS,
    )  # fmt: skip
    return out


def split(joined: Tensor, keys: Tensor, values: Tensor) -> None:
    """Take keys and values apart, and into heads.

    Args:
        joined: [rows, length, 2 * heads * width], of each token its keys and then its values.
        keys: [rows, heads, length, width], written; each row lies without gaps. ``values`` too.
        values: as ``keys``.
    """
    rows, heads, length, width = keys.shape
    _split[(triton.cdiv(length, _TOKENS), 2 * heads, rows)](
        joined, keys, values, length, heads, keys.stride(0),
        WIDTH=width, BLOCK=triton.next_power_of_2(width), TOKENS=_TOKENS,
    )  # fmt: skip


@triton.jit
def _split(
    joined, keys, values, length, heads, row_stride,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """A program copies TOKENS tokens of one head's keys or values."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    part = tl.program_id(1)
    row = tl.program_id(2).to(tl.int64)
    column = tl.arange(0, BLOCK)
    wanted = (token < length)[:, None] & (column < WIDTH)[None, :]
    source = (row * length + token[:, None]) * (2 * heads * WIDTH) + part * WIDTH
    found = tl.load(joined + source + column[None, :], mask=wanted, other=0.0)
    head = part % heads
    target = row * row_stride + (head * length + token[:, None]) * WIDTH + column[None, :]
    if part < heads:
        tl.store(keys + target, found, mask=wanted)
    else:
        tl.store(values + target, found, mask=wanted)


@triton.jit
def _attend(
    query, key, value, out, last,
    query_row, query_head, key_row, key_head,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, KEYS: tl.constexpr, READ_LAST: tl.constexpr,
):  # fmt: skip
    """A program computes one row of one head.

    It has KEYS lanes, each with a softmax and a sum of its own over every KEYS-th key; only after
    the last key do threads exchange anything but a product's parts.
    """
    head = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    heads = tl.num_programs(0)
    count = (tl.load(last) + 1).to(tl.int32) if READ_LAST else last
    column = tl.arange(0, BLOCK)
    known = column < WIDTH
    q = tl.load(query + row * query_row + head * query_head + column, mask=known, other=0.0)
    q = q.to(tl.float32) * _LOG2_E
    offset = row * key_row + head * key_head
    lane = tl.arange(0, KEYS)
    best = tl.full([KEYS], _LEAST, dtype=tl.float32)
    whole = tl.zeros([KEYS], dtype=tl.float32)
    mixed = tl.zeros([KEYS, BLOCK], dtype=tl.float32)
    first = 0
    while first < count:
        there = first + lane < count
        at = offset + (first + lane)[:, None] * WIDTH + column[None, :]
        wanted = there[:, None] & known[None, :]
        k = tl.load(key + at, mask=wanted, other=0.0).to(tl.float32)
        v = tl.load(value + at, mask=wanted, other=0.0).to(tl.float32)
        score = tl.where(there, tl.sum(k * q[None, :], 1), _LEAST)
        higher = tl.maximum(best, score)
        share = tl.where(there, tl.exp2(score - higher), 0.0)
        shrink = tl.exp2(best - higher)
        whole = whole * shrink + share
        mixed = mixed * shrink[:, None] + share[:, None] * v
        best = higher
        first += KEYS
    scale = tl.exp2(best - tl.max(best, 0))
    result = tl.sum(mixed * scale[:, None], 0) / tl.sum(whole * scale, 0)
    result = result.to(out.dtype.element_ty)
    tl.store(out + (row * heads + head) * WIDTH + column, result, mask=known)
