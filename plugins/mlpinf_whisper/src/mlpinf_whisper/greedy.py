"""Batched greedy decoding: a fixed prompt, the likeliest token each time, until a clip ends.

A batch costs what its unfinished clips cost: every few steps the rows that have not ended are moved
to the front, and a smaller batch goes on. On CUDA a step is recorded once for each batch size and
replayed, and nothing between two looks at the ends waits for the device.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import torch

from mlpinf_whisper.torch_stream import SideStream
from mlpinf_whisper.torch_whisper import Cache, Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

_GRAPH_SIZES: Final = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Batch sizes that a step is recorded for, up to the largest batch."""
_LENGTH_MULTIPLE: Final = 64
"""Tokens; a step looks at a multiple of so many places of the cache."""


@attrs.frozen
class Decoding:
    """What is decoded, and how.

    Attributes:
        prompt: token ids before the text, such as ``<|startoftranscript|><|notimestamps|>``.
        end_token: ends a clip's text; not part of it.
        suppress: tokens that are never chosen.
        suppress_first: tokens that are not chosen as a text's first.
        max_tokens: most tokens of a text; the end token is not counted.
        max_batch_size: most clips in a batch.
        encoder_batch_size: clips that are encoded at a time.
        cuda_graphs: record steps on CUDA.
        stop_check_steps: steps between two looks at which clips have ended, on CUDA.
    """

    prompt: tuple[int, ...]
    end_token: int
    suppress: tuple[int, ...] = ()
    suppress_first: tuple[int, ...] = ()
    max_tokens: int = 200
    max_batch_size: int = 32
    encoder_batch_size: int = 16
    cuda_graphs: bool = True
    stop_check_steps: int = 8

    @property
    def length(self) -> int:
        """Most tokens of a sequence: prompt and text."""
        return len(self.prompt) + self.max_tokens


class GreedyDecoder:
    """Decodes a batch at a time; several share a model's weights, each with a cache of its own."""

    def __init__(self, encoder: Encoder, decoder: Decoder, decoding: Decoding) -> None:
        """Makes room for the largest batch, on the decoder's device and in its type.

        Raises:
            ValueError: prompt and text are longer than the model's positions.
        """
        if decoding.length > decoder.max_positions:
            raise ValueError(
                f"{decoding.length} tokens of prompt and text are more than the model's "
                f"{decoder.max_positions} positions"
            )
        self._encoder = encoder
        self._decoder = decoder
        self._decoding = decoding
        self._lock = threading.Lock()
        self._stream = SideStream(decoder.device)
        cuda = decoder.device.type == "cuda"
        self._sizes = _sizes(decoding.max_batch_size) if cuda else ()
        self._check_steps = decoding.stop_check_steps if cuda else 1
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        with torch.inference_mode():
            self._suppress = decoder.suppression(decoding.suppress)
            self._suppress_first = decoder.suppression(decoding.suppress + decoding.suppress_first)
            self._state = _State.empty(decoder, decoding)
        if cuda:
            torch.cuda.synchronize()  # weights and cache are there, whatever stream reads them

    def record(self) -> None:
        """Record the steps of all batch sizes and lengths as CUDA graphs; nothing on a CPU."""
        if self._decoder.device.type != "cuda" or not self._decoding.cuda_graphs:
            return
        prompt = self._decoding.prompt
        lengths = range(_up(len(prompt) + 1), self._state.cache.length + 1, _LENGTH_MULTIPLE)
        pool = torch.cuda.graph_pool_handle()
        with torch.inference_mode(), self._lock, self._stream.current():
            for length in lengths:
                for rows in reversed(self._sizes):
                    self._state.begin(prompt, self._decoding.end_token, rows)
                    step = functools.partial(self._eager_step, rows, length)
                    self._graphs[rows, length] = _record(step, pool, self._stream.stream)

    def generate(self, features: torch.Tensor) -> list[npt.NDArray[np.int32]]:
        """Decode clips.

        Args:
            features: float [clips, mels, frames], on any device, computed already.

        Returns:
            The text's tokens of each clip, int32: neither prompt nor end token is among them.
        """
        found: list[npt.NDArray[np.int32]] = []
        with torch.inference_mode(), self._lock, self._stream.current():
            for batch in _pieces(features, self._decoding.max_batch_size):
                self._encode(batch)
                found += self._decode(len(batch))
        return found

    def _encode(self, features: torch.Tensor) -> None:
        first = 0
        for piece in _pieces(features, self._decoding.encoder_batch_size):
            encoded = self._encoder(piece.to(self._decoder.device, self._decoder.dtype))
            self._decoder.attend_to(encoded, self._state.cache, first)
            first += len(piece)

    def _decode(self, clips: int) -> list[npt.NDArray[np.int32]]:
        """Decode the batch that has been encoded."""
        state, prompt = self._state, self._decoding.prompt
        rows = self._fit(clips)
        state.begin(prompt, self._decoding.end_token, clips)
        order = np.arange(state.rows)
        self._first_step(rows)
        for step in range(1, self._decoding.max_tokens):
            if step % self._check_steps == 0:
                active = np.flatnonzero(~state.ended(rows))
                if not len(active):
                    break
                if self._fit(len(active)) < rows:
                    rows = self._fit(len(active))
                    order = order[state.compact(active, rows)]
            self._step(rows, _up(len(prompt) + step))
        sequences = np.empty((state.rows, self._decoding.max_tokens), dtype=np.int32)
        sequences[order] = state.sequences[:, len(prompt) :].cpu().numpy()
        return _texts(sequences[:clips], self._decoding.end_token)

    def _first_step(self, rows: int) -> None:
        """Read the prompt, and choose each text's first token."""
        state, length = self._state, len(self._decoding.prompt)
        logits = self._decoder(
            state.sequences[:rows, :length],
            torch.arange(length, device=self._decoder.device),
            state.cache,
            length,
            self._suppress_first,
        )
        state.append(logits, self._decoding.end_token)

    def _step(self, rows: int, length: int) -> None:
        """Choose the next token, looking at ``length`` places of the cache."""
        graph = self._graphs.get((rows, length))
        if graph is None:
            self._eager_step(rows, length)
        else:
            graph.replay()

    def _eager_step(self, rows: int, length: int) -> None:
        """Reads and writes tensors of fixed addresses only, and waits for none of them."""
        state = self._state
        tokens = state.sequences[:rows].index_select(1, state.position)
        logits = self._decoder(tokens, state.position, state.cache, length, self._suppress)
        state.append(logits, self._decoding.end_token)

    def _fit(self, clips: int) -> int:
        """The smallest batch that clips are decoded in: any on a CPU, a recorded one on CUDA."""
        return next((size for size in self._sizes if size >= clips), clips)


@attrs.frozen(eq=False)
class _State:
    """A batch while it is decoded; tensors that stay where they are, as graphs need it.

    Attributes:
        cache: of the decoder.
        sequences: int64 [rows, tokens], prompt and text; end tokens where nothing is yet.
        finished: bool [rows].
        position: int64 [1], of the last token that is known, the same in all rows.
    """

    cache: Cache
    sequences: torch.Tensor
    finished: torch.Tensor
    position: torch.Tensor

    @classmethod
    def empty(cls, decoder: Decoder, decoding: Decoding) -> _State:
        device = decoder.device
        rows, length = decoding.max_batch_size, decoding.length
        return cls(
            cache=decoder.cache(rows, _up(length)),
            sequences=torch.full((rows, length), decoding.end_token, device=device),
            finished=torch.ones(rows, dtype=torch.bool, device=device),
            position=torch.zeros(1, dtype=torch.int64, device=device),
        )

    @property
    def rows(self) -> int:
        return len(self.sequences)

    def begin(self, prompt: tuple[int, ...], end_token: int, clips: int) -> None:
        """A new batch, in the first rows; the others have ended already."""
        self.finished.fill_(True)
        self.finished[:clips] = False
        self.position.fill_(len(prompt) - 1)
        self.sequences.fill_(end_token)
        self.sequences[:, : len(prompt)] = self.sequences.new_tensor(prompt)

    def append(self, logits: torch.Tensor, end_token: int) -> None:
        """Choose the likeliest tokens of the first rows; rows that have ended get end tokens."""
        rows = len(logits)
        finished = self.finished[:rows]
        tokens = logits.argmax(-1).masked_fill_(finished, end_token)
        finished |= tokens == end_token
        self.position.add_(1)
        self.sequences[:rows].index_copy_(1, self.position, tokens[:, None])

    def ended(self, rows: int) -> npt.NDArray[np.bool_]:
        """Which of the first rows have ended; waits for the device."""
        ended: npt.NDArray[np.bool_] = self.finished[:rows].cpu().numpy()
        return ended

    def compact(self, active: npt.NDArray[np.int64], rows: int) -> npt.NDArray[np.int64]:
        """Swap rows so that the active ones are among the first ``rows``.

        Returns:
            For each row, the row whose content it has now.
        """
        moved = active[active >= rows]
        holes = np.setdiff1d(np.arange(rows), active)[: len(moved)]
        came_from = np.arange(self.rows)
        came_from[holes], came_from[moved] = moved, holes
        if len(moved):
            device = self.position.device
            order = torch.from_numpy(came_from).to(device)
            self.sequences.copy_(self.sequences[order])
            self.finished.copy_(self.finished[order])
            self.cache.move(order[holes], torch.from_numpy(holes).to(device))
        return came_from


def _record(step: Callable[[], None], pool: Any, stream: Any) -> torch.cuda.CUDAGraph:
    """Record a step, after one that is not recorded, in which libraries set themselves up.

    Other threads may use the device meanwhile, for features say. It is recorded in the decoder's
    own stream: matrix products keep intermediate sums in a workspace for each stream, and graphs
    recorded in one stream would share it, although several decoders replay theirs at once.
    """
    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        step()
    return graph


def _pieces(tensor: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    return (tensor[first : first + size] for first in range(0, len(tensor), size))


def _sizes(largest: int) -> tuple[int, ...]:
    return (*(size for size in _GRAPH_SIZES if size < largest), largest)


def _up(length: int) -> int:
    """The next multiple of the lengths that steps have."""
    return -(-length // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE


def _texts(sequences: npt.NDArray[np.int32], end_token: int) -> list[npt.NDArray[np.int32]]:
    """Rows up to their end token."""
    ends = sequences == end_token
    lengths = np.where(ends.any(axis=1), ends.argmax(axis=1), sequences.shape[1])
    return [row[:length].copy() for row, length in zip(sequences, lengths, strict=True)]
