"""Whisper's encoder and decoder as a few functions on tensors, for batched decoding.

The weights are those of Hugging Face's ``WhisperForConditionalGeneration``; its decoder modules are
not used, because their caches and masks are built in Python at every step, wait for the device, and
cannot be recorded as a CUDA graph. Here a step touches nothing but tensors of fixed addresses.
Queries, keys and values are one matrix product, and the queries' scale is part of their weights.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

import attrs
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from mlpinf_core.benchmark import is_installed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import WhisperForConditionalGeneration

_Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
_ENCODER_KERNELS: Final = [
    SDPBackend.CUDNN_ATTENTION,  # the fastest on an H200, where PyTorch does not choose it
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
_VOCABULARY_MULTIPLE: Final = 64
"""The vocabulary is padded to it: matrix products of odd widths take slower kernels."""


def _preferring_kernels(x: torch.Tensor) -> AbstractContextManager[None]:
    """Prefer the encoder's kernels on a device; a CPU has one, and the choice is the process's."""
    if x.is_cuda:
        return sdpa_kernel(_ENCODER_KERNELS, set_priority=True)
    return contextlib.nullcontext()


@attrs.frozen(eq=False)
class _Affine:
    """Weights of a linear layer or a layer norm."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def named(cls, weights: Mapping[str, torch.Tensor], name: str) -> _Affine:
        return cls(weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    @classmethod
    def stacked(cls, parts: Sequence[_Affine]) -> _Affine:
        """Linear layers of the same input as one; a bias that one lacks is zero."""
        biases = [
            torch.zeros_like(part.weight[:, 0]) if part.bias is None else part.bias
            for part in parts
        ]
        return cls(torch.cat([part.weight for part in parts]), torch.cat(biases))

    def scaled(self, factor: float) -> _Affine:
        return _Affine(self.weight * factor, None if self.bias is None else self.bias * factor)

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight, self.bias)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias)


@attrs.frozen(eq=False)
class _Attention:
    """Weights of an attention, the norm before it included."""

    norm: _Affine
    query: _Affine
    key: _Affine
    value: _Affine
    out: _Affine

    @classmethod
    def named(cls, weights: Mapping[str, torch.Tensor], name: str, heads: int) -> _Attention:
        query = _Affine.named(weights, f"{name}.q_proj")
        return cls(
            norm=_Affine.named(weights, f"{name}_layer_norm"),
            query=query.scaled((query.weight.shape[0] // heads) ** -0.5),
            key=_Affine.named(weights, f"{name}.k_proj"),
            value=_Affine.named(weights, f"{name}.v_proj"),
            out=_Affine.named(weights, f"{name}.out_proj"),
        )


@attrs.frozen(eq=False)
class _FeedForward:
    norm: _Affine
    inner: _Affine
    outer: _Affine

    @classmethod
    def named(cls, weights: Mapping[str, torch.Tensor], name: str) -> _FeedForward:
        return cls(
            norm=_Affine.named(weights, f"{name}.final_layer_norm"),
            inner=_Affine.named(weights, f"{name}.fc1"),
            outer=_Affine.named(weights, f"{name}.fc2"),
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.outer.linear(functional.gelu(self.inner.linear(self.norm.norm(x))))


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[rows, length, width] as [rows, heads, length, width of a head], a view."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of scaled queries, [rows, heads, length, width of a head] each.

    Returns:
        [rows, length of the queries, width].
    """
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    return mixed.transpose(1, 2).flatten(-2)


def _split(joined: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
    """Take keys and values apart, and into heads.

    Args:
        joined: [rows, length, 2 * width], of each token its keys and then its values.
        keys: [rows, heads, length, width of a head], written; ``values`` too.
        values: as ``keys``.
    """
    for part, into in zip(joined.chunk(2, -1), (keys, values), strict=True):
        into.copy_(_heads(part, keys.shape[1]))


class Encoder:
    """From spectrograms to what the decoder attends to."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        """Takes the model's weights; only those that have to be combined are copied."""
        config = model.config
        weights = dict(model.model.encoder.named_parameters())
        self._heads = config.encoder_attention_heads
        self._convolutions = [_Affine.named(weights, name) for name in ("conv1", "conv2")]
        self._positions = weights["embed_positions.weight"]
        self._norm = _Affine.named(weights, "layer_norm")
        self._layers = [
            self._layer(weights, f"layers.{index}") for index in range(config.encoder_layers)
        ]

    def _layer(
        self, weights: Mapping[str, torch.Tensor], name: str
    ) -> tuple[_Affine, _Affine, _Affine, _FeedForward]:
        attention = _Attention.named(weights, f"{name}.self_attn", self._heads)
        joined = _Affine.stacked([attention.query, attention.key, attention.value])
        return attention.norm, joined, attention.out, _FeedForward.named(weights, name)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """[clips, mels, frames] to [clips, frames / 2, width], in the weights' type."""
        first, second = self._convolutions
        x = functional.gelu(functional.conv1d(features, first.weight, first.bias, padding=1))
        x = functional.conv1d(x, second.weight, second.bias, stride=2, padding=1)
        # Without this, all that follows would inherit the convolution's order of dimensions.
        x = functional.gelu(x).transpose(1, 2).contiguous() + self._positions
        for norm, joined, out, feed_forward in self._layers:
            query, key, value = (
                _heads(part, self._heads) for part in joined.linear(norm.norm(x)).chunk(3, -1)
            )
            with _preferring_kernels(x):
                mixed = _attend(query, key, value)
            x = feed_forward(x + out.linear(mixed))
        return self._norm.norm(x)


@attrs.frozen(eq=False)
class Cache:
    """Keys and values of a batch: of the tokens so far, and of the encoded clips.

    Attributes:
        keys: [layers, rows, heads, tokens, width of a head]; ``values`` too.
        cross_keys: [layers, rows, heads, frames / 2, width of a head]; ``cross_values`` too.
    """

    keys: torch.Tensor
    values: torch.Tensor
    cross_keys: torch.Tensor
    cross_values: torch.Tensor

    @property
    def length(self) -> int:
        """Most tokens that it holds."""
        return int(self.keys.shape[3])

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copy rows over others; no row is both. int64 [n] each."""
        for tensor in (self.keys, self.values, self.cross_keys, self.cross_values):
            for layer in tensor:  # one at a time: the copy in between is as large as what moves
                layer.index_copy_(0, targets, layer.index_select(0, sources))


@attrs.frozen(eq=False)
class _DecoderLayer:
    self_norm: _Affine
    self_joined: _Affine
    self_out: _Affine
    cross_norm: _Affine
    cross_query: _Affine
    cross_joined: _Affine
    cross_out: _Affine
    feed_forward: _FeedForward


class Decoder:
    """From tokens and encoded clips to the logits of the next token."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        """Takes the model's weights; only those that have to be combined are copied."""
        config = model.config
        weights = dict(model.model.decoder.named_parameters())
        self._heads = config.decoder_attention_heads
        self._source_length = config.max_source_positions
        self._positions = weights["embed_positions.weight"]
        self._norm = _Affine.named(weights, "layer_norm")
        self._layers = [
            self._layer(weights, f"layers.{index}") for index in range(config.decoder_layers)
        ]
        embeddings = weights["embed_tokens.weight"]
        self.device = embeddings.device
        self.dtype = embeddings.dtype
        self.max_positions = len(self._positions)
        """Most tokens of a sequence, prompt included."""
        self.vocabulary = len(embeddings)
        padding = -self.vocabulary % _VOCABULARY_MULTIPLE
        self._embeddings = functional.pad(embeddings, (0, 0, 0, padding))
        self._attend_one: Callable[..., torch.Tensor] | None = None
        self._split: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None] = _split
        if self.device.type == "cuda" and is_installed("triton"):
            from mlpinf_whisper import one_query

            self._attend_one, self._split = one_query.attend, one_query.split

    def _layer(self, weights: Mapping[str, torch.Tensor], name: str) -> _DecoderLayer:
        own = _Attention.named(weights, f"{name}.self_attn", self._heads)
        cross = _Attention.named(weights, f"{name}.encoder_attn", self._heads)
        return _DecoderLayer(
            self_norm=own.norm,
            self_joined=_Affine.stacked([own.query, own.key, own.value]),
            self_out=own.out,
            cross_norm=cross.norm,
            cross_query=cross.query,
            cross_joined=_Affine.stacked([cross.key, cross.value]),
            cross_out=cross.out,
            feed_forward=_FeedForward.named(weights, name),
        )

    def cache(self, rows: int, tokens: int) -> Cache:
        """Room for a batch; zeros, so that rows that nobody fills are finite."""
        width = self._embeddings.shape[1] // self._heads
        sizes = [tokens, tokens, self._source_length, self._source_length]
        return Cache(
            *(
                self._embeddings.new_zeros((len(self._layers), rows, self._heads, size, width))
                for size in sizes
            )
        )

    def attend_to(self, encoded: torch.Tensor, cache: Cache, first_row: int) -> None:
        """Keep the keys and values of encoded clips, [clips, frames / 2, width]."""
        rows = slice(first_row, first_row + len(encoded))
        for index, layer in enumerate(self._layers):
            joined = layer.cross_joined.linear(encoded)
            self._split(joined, cache.cross_keys[index, rows], cache.cross_values[index, rows])

    def suppression(self, tokens: Sequence[int]) -> torch.Tensor:
        """What is added to the logits so that tokens, and the padding, are never chosen."""
        bias = self._embeddings.new_zeros(len(self._embeddings))
        bias[list(tokens)] = -torch.inf
        bias[self.vocabulary :] = -torch.inf
        return bias

    def __call__(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        cache: Cache,
        length: int,
        suppression: torch.Tensor,
    ) -> torch.Tensor:
        """One pass over one or more tokens of each row.

        Args:
            tokens: int64 [rows, n], for the first rows of the cache.
            positions: int64 [n], their positions, the same in all rows.
            cache: holds the tokens before these; these are added.
            length: how much of the cache is looked at, more than the last position.
            suppression: from :meth:`suppression`.

        Returns:
            [rows, padded vocabulary], logits of the token that follows the last.
        """
        rows = len(tokens)
        x = functional.embedding(tokens, self._embeddings) + self._positions[positions]
        attend, attend_to_clips = self._attentions(x, positions, length)
        for index, layer in enumerate(self._layers):
            keys, values = cache.keys[index, :rows], cache.values[index, :rows]
            query, key, value = (
                _heads(part, self._heads)
                for part in layer.self_joined.linear(layer.self_norm.norm(x)).chunk(3, -1)
            )
            keys.index_copy_(2, positions, key)
            values.index_copy_(2, positions, value)
            mixed = attend(query, keys[:, :, :length], values[:, :, :length])
            x = x + layer.self_out.linear(mixed)
            query = _heads(layer.cross_query.linear(layer.cross_norm.norm(x)), self._heads)
            mixed = attend_to_clips(
                query, cache.cross_keys[index, :rows], cache.cross_values[index, :rows]
            )
            x = layer.feed_forward(x + layer.cross_out.linear(mixed))
        return functional.linear(self._norm.norm(x[:, -1]), self._embeddings, suppression)

    def _attentions(
        self, x: torch.Tensor, positions: torch.Tensor, length: int
    ) -> tuple[_Attend, _Attend]:
        """How a pass attends to the tokens before, and to encoded clips.

        Args:
            x: [rows, n, width], of the tokens that are passed over.
            positions: int64 [n], theirs.
            length: of the cache that is looked at.
        """
        if self._attend_one is not None and x.shape[1] == 1:
            return functools.partial(self._attend_one, last=positions), self._attend_one
        later = torch.arange(length, device=x.device) > positions[:, None]
        mask = x.new_zeros(later.shape).masked_fill_(later, -torch.inf)
        return functools.partial(_attend, mask=mask), _attend
